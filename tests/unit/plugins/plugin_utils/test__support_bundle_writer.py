# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime
import hashlib
import io
import json
import pathlib
import tarfile
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._support_bundle import _write
from ansible_collections.stackops.runbook.plugins.plugin_utils._bundle_redaction import GateError
from ansible_collections.stackops.runbook.plugins.plugin_utils._diagnosis import Diagnosis
from ansible_collections.stackops.runbook.plugins.plugin_utils._private_map import PrivateMap
from ansible_collections.stackops.runbook.plugins.plugin_utils._support_bundle_reader import BundleError, bundle_rows
from ansible_collections.stackops.runbook.plugins.plugin_utils._support_bundle_writer import BundleWriter, Evidence, Settings

ROOT = pathlib.Path(__file__).resolve().parents[4]
NOW = datetime.datetime(2026, 11, 23, 10, 0, 0, tzinfo=datetime.timezone.utc)
SECRET_ONE, SECRET_TWO = "one-Canary-Zx81Qq", "two-Canary-Yw92Pp"
FACTS = {"schema": 1, "host": {"hostname": "web1"}, "facts": {}}
File = tuple[str, str, t.Union[str, bytes]]


def archive(directory: pathlib.Path, files: t.Sequence[File], private: t.Mapping[str, list[str]]) -> pathlib.Path:
    """Return what a host with these *files* would have handed over."""
    directory.mkdir(parents=True)
    entries = [{"path": path, "kind": kind, "source": f"cat /srv/{path}", "duration_ms": 3, "truncated": False} for path, kind, dummy in files]
    missing = [{"path": "cron/crontab.txt", "source": "crontab -l", "duration_ms": 1, "left_out": "crontab: command not found"}]
    index = {"collected_at": "2026-11-23T09:59:00Z", "duration_ms": 900, "engine": True, "projects": ["shop"], "files": entries + missing}
    contents = {path: content.encode() if isinstance(content, str) else content for path, dummy, content in files}
    path, dummy = _write(str(directory), {"private.json": json.dumps(private).encode(), "index.json": json.dumps(index).encode(), **contents})
    return pathlib.Path(path)


def fleet(tmp_path: pathlib.Path, *more: File) -> dict[str, Evidence]:
    one = archive(
        tmp_path / "one",
        [
            ("facts.json", "json", json.dumps(FACTS)),
            ("stacks/shop/files/.env", "variables", f"DB_PASSWORD={SECRET_ONE}\nDEBUG=true\n"),
            ("stacks/shop/logs/web.log", "text", f"web1 asked db7.corp.example.net with {SECRET_TWO}\n"),
            *more,
        ],
        {"secrets": [SECRET_ONE], "hosts": ["web1.corp.example.net"], "users": ["alice"], "kept": ["shop"]},
    )
    two = archive(
        tmp_path / "two",
        [
            ("facts.json", "json", json.dumps({**FACTS, "host": {"hostname": "db7"}})),
            ("stacks/shop/logs/db.log", "text", f"alice came from web1 with {SECRET_ONE}\n"),
            ("core.bin", "text", b"\x7fELF\0\0\1\2\3\4"),
            ("broken.json", "json", '{"password": "'),
        ],
        {"secrets": [SECRET_TWO], "hosts": ["db7.corp.example.net"]},
    )
    return {"web1": Evidence(one), "db7": Evidence(two), "gone": Evidence(None, "no route to web1 10.1.2.3", reachable=False)}


def writer(evidence: dict[str, Evidence], tmp_path: pathlib.Path, private_map: PrivateMap | None = None, **settings: t.Any) -> BundleWriter:
    staging = tmp_path / "staging"
    staging.mkdir(parents=True)
    return BundleWriter(evidence, private_map or PrivateMap(b"s" * 32), Settings("1.0.0", NOW, **settings), staging)


def diagnosis(tmp_path: pathlib.Path) -> Diagnosis:
    arguments = {
        "formats": ["json", "markdown", "html"],
        "fail_on": "never",
        "disabled_rules": [],
        "thresholds": {},
        "silences": [],
        "report_dir": str(tmp_path / "judged"),
        "rule_dirs": [str(ROOT / "roles/diagnose/rules")],
        "language": "en",
    }
    return Diagnosis(arguments, "1.0.0", NOW)


def contents(path: pathlib.Path) -> dict[str, bytes]:
    with tarfile.open(path) as opened:
        return {member.name.partition("/")[2]: opened.extractfile(member).read() for member in opened}  # type: ignore[union-attr]


def test_one_archive_with_a_folder_for_each_host_a_manifest_and_a_report(tmp_path: pathlib.Path) -> None:
    bundle = writer(fleet(tmp_path), tmp_path)
    manifest = bundle.redact(diagnosis(tmp_path))
    bundle.search()
    path = bundle.pack(tmp_path / "out")
    files = contents(path)
    assert path.name == "support-bundle-20261123T100000Z.tar.gz"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == [path.name]
    assert {name.partition("/")[0] for name in files} == {"README.txt", "manifest.json", "report", "host1", "host3"}
    assert json.loads(files["manifest.json"]) == manifest
    assert manifest["hosts"]["host2"] == {"reachable": False, "reason": "no route to host3 100.64.0.2", "files": [], "left_out": []}
    for folder in ("host1", "host3"):
        for entry in manifest["hosts"][folder]["files"]:
            assert hashlib.sha256(files[f"{folder}/{entry['path']}"]).hexdigest() == entry["sha256"]
            assert {"source", "duration_ms", "bytes", "truncated", "redacted"} <= set(entry)
    assert {entry["path"]: entry["left_out"] for entry in manifest["hosts"]["host1"]["left_out"]} == {
        "broken.json": "not redacted: it is no valid JSON",
        "core.bin": "not redacted: it is binary",
        "cron/crontab.txt": "crontab: command not found",
    }
    assert bundle.totals(manifest)["left_out"] == 2
    assert {"report/report.json", "report/report.md", "report/report.html"} <= set(files)
    assert set(json.loads(files["report/report.json"])["hosts"]) == {"host1", "host2", "host3"}


def test_secrets_and_names_of_one_host_go_from_the_files_of_all(tmp_path: pathlib.Path) -> None:
    bundle = writer(fleet(tmp_path), tmp_path, users=("deployer",))
    bundle.redact(diagnosis(tmp_path))
    files = contents(bundle.pack(tmp_path / "out"))
    everything = b"\n".join([*files.values(), *(name.encode() for name in files)])
    for word in (SECRET_ONE, SECRET_TWO, "web1", "db7", "corp.example", "alice", "10.1.2.3"):
        assert word.encode() not in everything, word
    token = files["host3/stacks/shop/files/.env"].decode().partition("=")[2].split()[0]
    assert token.startswith("[secret:")
    assert files["host1/stacks/shop/logs/db.log"].decode() == f"user1 came from host3 with {token}\n"
    assert files["host3/stacks/shop/logs/web.log"].decode().startswith("host3 asked host1.domain1.example with [secret:")
    assert files["host3/stacks/shop/files/.env"].decode().endswith("DEBUG=true\n")


def test_names_can_be_kept_and_secrets_cannot(tmp_path: pathlib.Path) -> None:
    bundle = writer(fleet(tmp_path), tmp_path, pseudonyms=False, secrets=("web1",))
    bundle.redact(None)
    files = contents(bundle.pack(tmp_path / "out"))
    assert files["db7/stacks/shop/logs/db.log"].decode().startswith("alice came from web1 with [secret:")


def test_the_last_search_refuses_the_bundle_and_says_where(tmp_path: pathlib.Path) -> None:
    bundle = writer(fleet(tmp_path), tmp_path)
    bundle.redact(None)
    (tmp_path / "staging/host1/late.txt").write_text(f"fine\nnot fine: {SECRET_TWO}\n")
    with pytest.raises(GateError, match=r"host1/late.txt line 2") as refusal:
        bundle.search()
    assert SECRET_TWO not in str(refusal.value)


def test_the_map_stays_apart_and_gives_the_same_names_again(tmp_path: pathlib.Path) -> None:
    private_map = PrivateMap()
    first = writer(fleet(tmp_path / "a"), tmp_path / "a", private_map)
    first.redact(None)
    private_map.save(tmp_path / "map.json", "x")
    second = writer(fleet(tmp_path / "b"), tmp_path / "b", PrivateMap.load(tmp_path / "map.json"))
    second.redact(None)
    logs = [(tmp_path / run / "staging/host3/stacks/shop/logs/web.log").read_bytes() for run in "ab"]
    assert logs[0] == logs[1]
    assert not list((tmp_path / "a/staging").rglob("*map*"))


def test_a_diagnosis_of_the_bundle_and_of_two_of_them(tmp_path: pathlib.Path) -> None:
    bundle = writer(fleet(tmp_path), tmp_path)
    bundle.redact(None)
    rows = bundle_rows(bundle.pack(tmp_path / "out"))
    assert rows["host2"] == {"reachable": False, "reason": "no route to host3 100.64.0.2"}
    assert rows["host3"]["result"]["host"]["hostname"] == "host3"
    report = diagnosis(tmp_path).judge(rows, "bundle", rows)
    assert report["changes"]["new"] == [] == report["changes"]["resolved"]


@pytest.mark.parametrize("member", ["../outside", "/etc/passwd", "link"])
def test_what_a_host_sends_cannot_lead_out_and_takes_nothing_from_the_others(tmp_path: pathlib.Path, member: str) -> None:
    path = tmp_path / "evil.tar.gz"
    with tarfile.open(path, "w:gz") as opened:
        for name, content in (("private.json", b"{}"), ("index.json", json.dumps({"files": [{"path": member.strip("/."), "kind": "text"}]}).encode())):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            opened.addfile(entry, io.BytesIO(content))
        entry = tarfile.TarInfo(member)
        if member == "link":
            entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        opened.addfile(entry)
    hosts = writer({**fleet(tmp_path), "web2": Evidence(path)}, tmp_path).redact(None)["hosts"]
    assert hosts["host4"]["files"] == [] and "its archive cannot be used: " in hosts["host4"]["reason"]
    assert hosts["host3"]["files"] and hosts["host1"]["files"]


def test_a_file_whose_name_cannot_be_used_is_left_out_with_the_reason(tmp_path: pathlib.Path) -> None:
    files = [("a", "text", "1\n"), ("a/b", "text", "2\n"), (f"Canary-7/{'Canary-7.' * 28}", "text", "3\n"), ("z", "text", "4\n")]
    host = writer({"web1": Evidence(archive(tmp_path / "one", files, {"secrets": ["Canary-7"]}))}, tmp_path).redact(None)["hosts"]["host1"]
    assert [entry["path"] for entry in host["files"]] == ["a", "z"]
    reasons = sorted(entry["left_out"] for entry in host["left_out"])
    assert reasons == ["crontab: command not found"] + ["redacted, its name is too long or that of another file"] * 2


@pytest.mark.parametrize("content", [b"", b"no archive", None])
def test_what_is_no_bundle_is_said_to_be_none(tmp_path: pathlib.Path, content: bytes | None) -> None:
    path = tmp_path / "bundle.tar.gz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BundleError, match="bundle.tar.gz"):
        bundle_rows(path)


def test_two_bundles_of_a_second_do_not_overwrite_each_other(tmp_path: pathlib.Path) -> None:
    paths = []
    for run in ("a", "b"):
        bundle = writer(fleet(tmp_path / run), tmp_path / run)
        bundle.redact(None)
        paths.append(bundle.pack(tmp_path / "out"))
    assert len(set(paths)) == 2
    assert paths[0].read_bytes()
