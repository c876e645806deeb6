# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import hashlib
import os
import pathlib

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _offsite as offsite
from ansible_collections.stackops.runbook.plugins.module_utils import _offsite_tools as tools
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError
from ansible_collections.stackops.runbook.plugins.module_utils._offsite import Offsite

SET = "20261123T160139Z-7f3a"
RCLONE = Offsite("rclone", "box:backups")


@pytest.fixture
def local(tmp_path):
    top = tmp_path / SET
    (top / "databases").mkdir(parents=True)
    (top / "databases/toc.dat").write_bytes(b"toc")
    (top / "manifest.json").write_text("{}")
    (top / "SHA256SUMS").write_text(f"{hashlib.sha256(b'toc').hexdigest()}  databases/toc.dat\n")
    return top


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A tool that says and does what a test wants; the real ones are tried in tests/live."""

    def write(name, script):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "bin" / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")

    return write


def secret_file(path, text, mode=0o600):
    path.write_text(text)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize(
    "changes, code",
    [
        ({"kind": "scp"}, "unknown-kind"),
        ({"remote": ""}, "bad-remote"),
        ({"remote": "no-colon"}, "bad-remote"),
        ({"remote": "--config=x:"}, "bad-remote"),
        ({"remote": ":sftp,host=h,pass=Canary:dir"}, "secret-argument"),
        ({"remote": ":s3,secret_access_key=Canary:bucket"}, "secret-argument"),
        ({"remote": ":webdav,url='https://me:Canary@host/':dir"}, "secret-argument"),
        ({"options": ("--s3-secret-access-key=Canary",)}, "secret-argument"),
        ({"options": ("--sftp-pass", "Canary")}, "secret-argument"),
        ({"config_file": "/nonexistent/rclone.conf"}, "not-found"),
        ({"password_file": "/nonexistent/password"}, "not-found"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_runs(changes, code, local):
    with pytest.raises(CheckError) as caught:
        offsite.push(dataclasses.replace(RCLONE, **changes), "shop", str(local), SET)
    assert caught.value.code == code
    assert caught.value.hint
    assert "Canary" not in f"{caught.value.source}{caught.value.reason}{caught.value.hint}"


@pytest.mark.parametrize("options", [("--sftp-key-file=/root/key",), ("--s3-access-key-id=AKIA",), ("--bwlimit", "10M"), ("--password-command=pass show x",)])
def test_options_without_secrets_are_taken(options):
    tools.tool_of(dataclasses.replace(RCLONE, options=options), "shop")


@pytest.mark.parametrize("project, set_id", [("../up", SET), ("shop", "../up"), ("a/b", SET), ("shop", "a,b"), ("-x", SET), ("", SET)])
def test_names_lead_nowhere_else(project, set_id, local):
    with pytest.raises(CheckError) as caught:
        offsite.push(RCLONE, project, str(local), set_id)
    assert caught.value.code == "bad-name"


@pytest.mark.parametrize("remote, expected", [("box:", "box:shop/x"), ("box:a/b", "box:a/b/shop/x"), ("box:a/", "box:a/shop/x"), ("box:/", "box:/shop/x")])
def test_where_a_set_goes(remote, expected):
    assert tools.tool_of(dataclasses.replace(RCLONE, remote=remote), "shop").place("x") == expected


@pytest.mark.parametrize("field", ["config_file", "password_file"])
@pytest.mark.parametrize("kind", ["rclone", "restic"])
def test_a_secret_that_everybody_may_read_is_refused(field, kind, tmp_path):
    path = secret_file(tmp_path / "secret", "A=b", 0o644)
    with pytest.raises(CheckError) as caught:
        offsite.list_sets(Offsite(kind, "box:backups", **{field: path}), "shop")
    assert caught.value.hint == f"sudo chmod 600 {path}"


def test_the_environment_of_restic_is_parsed_and_never_run(tmp_path):
    text = "# keys\n\nAWS_ACCESS_KEY_ID=AKIA\n  export AWS_SECRET_ACCESS_KEY = 'a b$(touch /tmp/x)'\nEMPTY=\nURL=a=b\n"
    made = Offsite("restic", "s3:https://s3.example.com/b", secret_file(tmp_path / "env", text), secret_file(tmp_path / "password", "Canary-pass\n"))
    assert tools.tool_of(made, "shop").env == {
        "AWS_ACCESS_KEY_ID": "AKIA",
        "AWS_SECRET_ACCESS_KEY": "a b$(touch /tmp/x)",
        "EMPTY": "",
        "URL": "a=b",
        "RESTIC_REPOSITORY": "s3:https://s3.example.com/b",
        "RESTIC_PASSWORD_FILE": str(tmp_path / "password"),
    }
    for bad in ("just words", "1A=b", "A B=c"):
        with pytest.raises(CheckError, match="line 1 is not NAME=value"):
            tools.tool_of(Offsite("restic", "x", secret_file(tmp_path / "env", bad)), "shop")


def test_secrets_do_not_come_back_in_errors(tmp_path, fake, local):
    made = Offsite("restic", "rest:https://me:Canary-url@host/", secret_file(tmp_path / "env", "B2_ACCOUNT_KEY=Canary-account-key"))
    fake("restic", 'echo "no access with $B2_ACCOUNT_KEY to $RESTIC_REPOSITORY" >&2; exit 1')
    with pytest.raises(CheckError) as caught:
        offsite.push(made, "shop", str(local), SET)
    assert "no access with" in caught.value.reason
    assert "Canary" not in f"{caught.value.source}{caught.value.reason}{caught.value.hint}"


@pytest.mark.parametrize(
    "kind, script, hint",
    [
        ("rclone", "exit 3", "rclone mkdir"),
        ("rclone", "exit 5", "Run it again"),
        ("rclone", "echo why >&2; exit 7", "by hand: rclone copy"),
        ("rclone", "kill -9 $$", "by hand: rclone copy"),
        ("restic", "exit 10", "restic init"),
        ("restic", "echo 'Is there a repository at the following location?' >&2; exit 1", "restic init"),
        ("restic", "exit 11", "restic unlock"),
        ("restic", "exit 12", "password"),
        ("restic", "echo 'Fatal: wrong password or no key found' >&2; exit 1", "password"),
        ("restic", "echo nonsense", "restic version"),
    ],
)
def test_every_failure_has_a_next_step(kind, script, hint, fake, local, tmp_path):
    before = sorted(local.rglob("*"))
    fake(kind, script)
    with pytest.raises(CheckError) as caught:
        offsite.push(Offsite(kind, "box:backups"), "shop", str(local), SET)
    assert hint in caught.value.hint, caught.value.reason
    assert caught.value.code == "offsite-failed"
    assert sorted(local.rglob("*")) == before


@pytest.mark.parametrize("kind", ["rclone", "restic"])
def test_a_missing_tool_says_how_to_install_it(kind, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CheckError) as caught:
        offsite.list_sets(Offsite(kind, "box:backups"), "shop")
    assert caught.value.hint == f"Install it: sudo apt-get install {kind}"


def test_a_tool_that_reports_success_after_nothing_is_not_believed(fake, local):
    fake("rclone", "exit 0")
    with pytest.raises(CheckError):
        offsite.push(RCLONE, "shop", str(local), SET)
    fake("rclone", 'case "$1" in check) echo "= SHA256SUMS"; echo "- databases/toc.dat";; esac')
    with pytest.raises(CheckError, match=r"is not what is here: databases/toc\.dat"):
        offsite.push(RCLONE, "shop", str(local), SET)
    fake("rclone", "exit 0")
    assert offsite.list_sets(RCLONE, "shop") == []


def test_where_hashes_are_not_to_be_had_it_is_read_back(fake, local, tmp_path):
    fake("rclone", f'echo "$@" >>{tmp_path}/calls; case "$*" in *--download*) echo "= x";; check*) echo "= x"; echo "2 hashes could not be checked" >&2;; esac')
    assert offsite.verify(RCLONE, "shop", str(local), SET)["verified_by"] == "read back"
    assert ["--download" in call for call in (tmp_path / "calls").read_text().splitlines()] == [False, True]


def test_only_a_whole_set_is_pushed(local, tmp_path):
    (local / "link").symlink_to("/etc/passwd")
    with pytest.raises(CheckError, match="neither a file nor a directory"):
        offsite.push(RCLONE, "shop", str(local), SET)
    (local / "link").unlink()
    (local / "manifest.json").unlink()
    with pytest.raises(CheckError, match=r"has no manifest\.json"):
        offsite.push(RCLONE, "shop", str(local), SET)
    with pytest.raises(CheckError) as caught:
        offsite.push(RCLONE, "shop", str(tmp_path / "none"), SET)
    assert caught.value.code == "read-failed"


def test_what_comes_back_is_checked(fake, local, tmp_path):
    source = tmp_path / "far"
    os.rename(local, source)
    fake("rclone", f'case "$1" in lsf) echo {SET}/manifest.json;; copy) cp -a {source}/. "$3";; esac')
    assert offsite.fetch(RCLONE, "shop", SET, str(tmp_path / "good")) == str(tmp_path / "good" / SET)
    odd = "a\\b\nc"
    (source / odd).write_bytes(b"odd")
    with pytest.raises(CheckError, match="is damaged: a"):
        offsite.fetch(RCLONE, "shop", SET, str(tmp_path / "extra"))
    with open(source / "SHA256SUMS", "a") as file:
        file.write("\\" + hashlib.sha256(b"odd").hexdigest() + "  a\\\\b\\nc\n")
    offsite.fetch(RCLONE, "shop", SET, str(tmp_path / "odd"))
    (source / "databases/toc.dat").write_bytes(b"tod")
    with pytest.raises(CheckError, match=r"is damaged: databases/toc\.dat"):
        offsite.fetch(RCLONE, "shop", SET, str(tmp_path / "changed"))
    (source / "databases/toc.dat").unlink()
    (source / "databases/toc.dat").symlink_to("/etc/passwd")
    with pytest.raises(CheckError, match="neither a file nor a directory"):
        offsite.fetch(RCLONE, "shop", SET, str(tmp_path / "link"))
    (source / "SHA256SUMS").unlink()
    (source / "databases/toc.dat").unlink()
    with pytest.raises(CheckError, match="no readable SHA256SUMS"):
        offsite.fetch(RCLONE, "shop", SET, str(tmp_path / "none"))
    assert [name for directory in ("extra", "changed", "link", "none") for name in os.listdir(tmp_path / directory)] == []


def test_the_distribution_s_sha256sum_writes_what_is_read(tmp_path):
    import subprocess

    name = "a\\b\nc d"
    (tmp_path / name).write_bytes(b"odd")
    line = subprocess.run(["sha256sum", name], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=True).stdout
    assert offsite._name_and_sum(line) == (name, hashlib.sha256(b"odd").hexdigest())
    assert pathlib.Path(tmp_path / name).exists()
