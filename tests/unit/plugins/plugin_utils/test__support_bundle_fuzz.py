# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whatever one host hands over for a support bundle: it leads nowhere, and the bundle of the others is complete."""

from __future__ import annotations

import datetime
import gzip
import io
import itertools
import json
import pathlib
import tarfile
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.plugin_utils._bundle_redaction import GateError
from ansible_collections.stackops.runbook.plugins.plugin_utils._diagnosis import Diagnosis
from ansible_collections.stackops.runbook.plugins.plugin_utils._host_names import path_name
from ansible_collections.stackops.runbook.plugins.plugin_utils._private_map import PrivateMap
from ansible_collections.stackops.runbook.plugins.plugin_utils._support_bundle_reader import BundleError, bundle_rows
from ansible_collections.stackops.runbook.plugins.plugin_utils._support_bundle_writer import BundleWriter, Evidence, Settings
from ansible_collections.stackops.runbook.tests.support.diagnoses import diagnosis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

NOW = datetime.datetime(2026, 11, 26, 10, 0, 0, tzinfo=datetime.timezone.utc)
GOOD = {"facts.json": b'{"schema": 1, "host": {"hostname": "good"}, "facts": {}}', "logs/web.log": b"all is well\n"}
NAMES = st.sampled_from(
    ["a", "facts.json", "facts.json/x", "a/b", "./a", "../x", "../../../x", "/etc/x", "..", "\n", "\x1b[2J", "n" * 256, "10.1.2.3." * 28, "private.json"]
)
KINDS = st.sampled_from(["json", "yaml", "variables", "text", "other"])
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
)
CONTENT = (
    st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()) | st.sampled_from([b"[" * 90_000, b"a: &a [*a]\n", b"a: [" * 9000, b"\x1f\x8b"])
)
ENTRY = st.fixed_dictionaries({"path": NAMES, "kind": KINDS, "source": st.text(max_size=8)}, optional={"left_out": st.text(max_size=8)}) | JSON
INDEX = st.fixed_dictionaries({"files": st.lists(ENTRY, max_size=4) | JSON, "projects": JSON, "collected_at": JSON}) | JSON
PRIVATE = st.dictionaries(st.sampled_from(["secrets", "kept", "hosts", "domains", "users"]), st.lists(NAMES, max_size=3) | JSON, max_size=5) | JSON
MEMBER_KINDS = st.sampled_from([tarfile.REGTYPE] * 5 + [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
MEMBERS = st.lists(st.tuples(NAMES, MEMBER_KINDS, CONTENT), max_size=5)
_number = itertools.count()


def tar_of(members: t.Iterable[tuple[str, bytes, bytes]]) -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as opened:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, "/etc/passwd", len(content) if kind == tarfile.REGTYPE else 0
            opened.addfile(info, io.BytesIO(content))
    return plain.getvalue()


def bent(data: st.DataObject, content: bytes) -> bytes:
    """Return *content* compressed, and at times cut off or with a wrong byte, within the compression or without."""
    where = data.draw(st.sampled_from(["nowhere"] * 3 + ["inside", "outside", "cut"]))
    packed = content if where == "inside" else gzip.compress(content, 1)
    if where in ("inside", "outside"):
        position = data.draw(st.integers(0, len(packed) - 1))
        packed = packed[:position] + bytes([packed[position] ^ data.draw(st.integers(1, 255))]) + packed[position + 1 :]
    elif where == "cut":
        packed = packed[: data.draw(st.integers(0, len(packed) - 1))]
    return gzip.compress(packed, 1) if where == "inside" else packed


def evidence_of_good(directory: pathlib.Path) -> Evidence:
    entries = [{"path": path, "kind": "json" if path.endswith("json") else "text", "source": path} for path in GOOD]
    own = {"private.json": b"{}", "index.json": json.dumps({"files": entries}).encode(), **GOOD}
    path = directory / "good.tar.gz"
    path.write_bytes(gzip.compress(tar_of((name, tarfile.REGTYPE, content) for name, content in own.items()), 1))
    return Evidence(path)


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Diagnosis:
    return diagnosis(tmp_path_factory.mktemp("judged"), formats=["json"])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_a_bundle_with_a_hostile_host_is_complete_for_the_others(data: st.DataObject, tmp_path: pathlib.Path, judge: Diagnosis) -> None:
    directory = tmp_path / str(next(_number))
    (directory / "in" / "staging").mkdir(parents=True)
    members, index, private = data.draw(MEMBERS), data.draw(INDEX), data.draw(PRIVATE)
    if data.draw(st.booleans()):
        # So far it is in order: what is wrong are names and contents.
        private = {}
        index = {"files": [{"path": name, "kind": data.draw(KINDS), "source": name} for name, dummy, dummy in members]}
    first = [("private.json", tarfile.REGTYPE, json.dumps(private).encode()), ("index.json", tarfile.REGTYPE, json.dumps(index).encode())]
    evil = directory / "evil.tar.gz"
    evil.write_bytes(bent(data, tar_of([*first, *members])))
    host = data.draw(st.sampled_from(["evil", "..", ".", "a/b", "../../evil", "\n", "h" * 300, "\ud800"]))
    evidence = {"good": evidence_of_good(directory), host: Evidence(evil)}
    before = {path for path in directory.rglob("*") if "staging" not in path.parts}
    writer = BundleWriter(evidence, PrivateMap(b"s" * 32), Settings("1.0.0", NOW, pseudonyms=False, secrets=("10.1.2.3.",)), directory / "in" / "staging")
    manifest = writer.redact(None)
    assert {path for path in directory.rglob("*") if "staging" not in path.parts} == before
    assert {path.name for path in (directory / "in" / "staging").iterdir()} <= {"good", path_name(host), "README.txt", "manifest.json"}
    try:
        writer.search()
    except GateError:
        # It named as a secret what is in the files of others: nothing is written at all.
        return
    rows = bundle_rows(writer.pack(directory / "out"))
    assert set(rows) == {"good", path_name(host)} == set(manifest["hosts"])
    if not manifest["hosts"][path_name(host)]["files"]:
        assert rows[path_name(host)].get("reason")
    assert [entry["path"] for entry in manifest["hosts"]["good"]["files"]] == sorted(GOOD)
    assert set(judge.judge(rows, "bundle")["hosts"]) == set(rows)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_any_bundle_is_read_or_refused(data: st.DataObject, tmp_path: pathlib.Path, judge: Diagnosis) -> None:
    hosts = st.dictionaries(NAMES, JSON | st.fixed_dictionaries({"reachable": st.booleans(), "left_out": st.lists(ENTRY, max_size=2)}), max_size=3)
    manifest = data.draw(st.fixed_dictionaries({"schema": st.just(1), "hosts": hosts}) | JSON)
    members = [("b/manifest.json", tarfile.REGTYPE, json.dumps(manifest).encode())]
    members += [(f"b/{name}/facts.json", kind, content) for name, kind, content in data.draw(MEMBERS)]
    path = tmp_path / "bundle.tar.gz"
    path.write_bytes(bent(data, tar_of(members)))
    try:
        rows = bundle_rows(path)
    except BundleError as error:
        assert str(path) in str(error)
    else:
        assert set(judge.judge(rows, "bundle")["hosts"]) == set(rows)


def test_a_header_that_announces_gigabytes_is_refused_without_reading_them(tmp_path: pathlib.Path) -> None:
    info = tarfile.TarInfo("b/manifest.json")
    info.type, info.size = tarfile.XHDTYPE, 8 << 30
    path = tmp_path / "bundle.tar.gz"
    path.write_bytes(gzip.compress(info.tobuf() + bytes(1 << 20), 1))
    with pytest.raises(BundleError, match="announces"):
        bundle_rows(path)


@given(st.lists(st.text(st.characters(exclude_categories=()), max_size=300), min_size=2, max_size=2, unique=True))
def test_every_host_has_a_path_of_its_own_that_leads_nowhere(hosts: list[str]) -> None:
    one, other = map(path_name, hosts)
    assert one != other
    assert "/" not in one and not one.startswith(".") and 0 < len(one) <= 200 and one.isascii() and one.isprintable()
