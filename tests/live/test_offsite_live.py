# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Copies off the host: the distribution's rclone and restic against a real sshd and a real S3 server on this machine."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
import random
import shutil
import socket
import subprocess
import sys
import time

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _offsite as offsite
from ansible_collections.stackops.runbook.plugins.module_utils import _offsite_tools as tools
from ansible_collections.stackops.runbook.plugins.module_utils._backup_manifest import pretty, signed
from ansible_collections.stackops.runbook.plugins.module_utils._backup_manifest import set_id as new_set_id
from ansible_collections.stackops.runbook.plugins.module_utils._backup_store import BackupStore
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError, rfc3339
from ansible_collections.stackops.runbook.plugins.module_utils._offsite import Offsite
from ansible_collections.stackops.runbook.plugins.module_utils._offsite_retention import expire
from ansible_collections.stackops.runbook.plugins.module_utils._retention import Policy
from ansible_collections.stackops.runbook.tests.support.tools import need_tools

pytestmark = pytest.mark.live

SET = "20261123T160139Z-7f3a"
PASSWORD = "Canary-repository-31"
KEY_ID, SECRET_KEY = "CANARYKEYID0000000000", "Canary/secret+access/key/0000000000000000"


def run(*argv, **options):
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True, **options).stdout


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def until_open(port, process):
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert process.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server did not come up"
            time.sleep(0.1)


@pytest.fixture(scope="module", autouse=True)
def no_certificates_of_this_machine():
    """rclone cannot load them through this variable, and nothing here speaks TLS."""
    with pytest.MonkeyPatch.context() as patched:
        patched.delenv("AWS_CA_BUNDLE", raising=False)
        yield


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("offsite")


@pytest.fixture(scope="module")
def sftp(work):
    """An sshd of our own on a free port, with SFTP and commands for one key."""
    need_tools(sshd="openssh-server", ssh="openssh-client")
    if os.geteuid() != 0:
        pytest.skip("a login by sshd needs root")
    port = free_port()
    for name in ("host", "client"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", work / name)
    shutil.copy(work / "client.pub", work / "authorized_keys")
    (work / "known_hosts").write_text(f"[127.0.0.1]:{port} {(work / 'host.pub').read_text()}")
    (work / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {work}/host\nAuthorizedKeysFile {work}/authorized_keys\nPidFile none\nStrictModes no\n"
        "PermitRootLogin prohibit-password\nPasswordAuthentication no\nUsePAM no\nSubsystem sftp internal-sftp\n"
    )
    os.makedirs("/run/sshd", exist_ok=True)
    process = subprocess.Popen([shutil.which("sshd"), "-D", "-e", "-f", work / "sshd_config"], stderr=subprocess.DEVNULL)
    until_open(port, process)
    yield port
    process.terminate()
    process.wait(10)


@pytest.fixture(scope="module")
def s3(work):
    """moto's server: an S3 that keeps its objects in memory."""
    port = free_port()
    environment = {**os.environ, "AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
    command = [pathlib.Path(sys.executable).parent / "moto_server", "-H", "127.0.0.1", "-p", str(port)]
    with open(work / "moto.log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    until_open(port, process)
    yield port
    process.terminate()
    process.wait(10)


@pytest.fixture(scope="module")
def rclone_config(work):
    """The configuration of a person who set up three remotes; secrets are nowhere else."""
    path = work / "rclone.conf"
    path.touch(0o600)

    def add(name, **settings):
        with open(path, "a") as file:
            file.write(f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in settings.items()))
        return str(path)

    return add


def rclone_sftp(request, work, name, **more):
    port, add = request.getfixturevalue("sftp"), request.getfixturevalue("rclone_config")
    common = {"type": "sftp", "host": "127.0.0.1", "port": port, "user": "root", "key_file": work / "client", "known_hosts_file": work / "known_hosts"}
    return add(name, **common, shell_type="unix", **more)


def make_rclone_sftp(request, work):
    need_tools(rclone="rclone")
    return Offsite("rclone", f"sftp-hashes:{work}/remote/rclone", rclone_sftp(request, work, "sftp-hashes"), timeout_seconds=120)


def make_rclone_sftp_without_hashes(request, work):
    """Storage boxes often allow no commands."""
    need_tools(rclone="rclone")
    config = rclone_sftp(request, work, "sftp-plain", disable_hashcheck="true")
    return Offsite("rclone", f"sftp-plain:{work}/remote/plain/", config, timeout_seconds=120)


def make_rclone_s3(request, work):
    need_tools(rclone="rclone")
    port, add = request.getfixturevalue("s3"), request.getfixturevalue("rclone_config")
    keys = {"access_key_id": KEY_ID, "secret_access_key": SECRET_KEY, "region": "us-east-1"}
    config = add("s3", type="s3", provider="Other", endpoint=f"http://127.0.0.1:{port}", **keys)
    run("rclone", "mkdir", "s3:rclone-bucket", env={**os.environ, "RCLONE_CONFIG": config})
    # Parts of 5 MiB, so that a set has a file that goes up in several.
    return Offsite("rclone", "s3:rclone-bucket/backups", config, options=("--s3-chunk-size=5Mi", "--s3-upload-cutoff=5Mi"), timeout_seconds=120)


def password_file(work):
    path = work / "password"
    path.write_text(f"{PASSWORD}\n")
    path.chmod(0o600)
    return str(path)


def restic_init(made):
    environment = {**os.environ, **tools.tool_of(made, "any").env}
    run("restic", "init", *made.options, env=environment)
    return made


def make_restic_sftp(request, work):
    need_tools(restic="restic", ssh="openssh-client")
    port = request.getfixturevalue("sftp")
    command = f"ssh -p {port} -i {work}/client -o UserKnownHostsFile={work}/known_hosts root@127.0.0.1 -s sftp"
    made = Offsite("restic", f"sftp:root@127.0.0.1:{work}/remote/restic", None, password_file(work), ("-o", f"sftp.command={command}"), 120)
    return restic_init(made)


def make_restic_s3(request, work):
    need_tools(restic="restic")
    port = request.getfixturevalue("s3")
    (work / "restic.env").write_text(f"# of the bucket\nAWS_ACCESS_KEY_ID={KEY_ID}\nexport AWS_SECRET_ACCESS_KEY='{SECRET_KEY}'\n")
    (work / "restic.env").chmod(0o600)
    made = Offsite("restic", f"s3:http://127.0.0.1:{port}/restic-bucket", str(work / "restic.env"), password_file(work), (), 120)
    return restic_init(made)


MAKERS = {
    "rclone-sftp": make_rclone_sftp,
    "rclone-sftp-without-hashes": make_rclone_sftp_without_hashes,
    "rclone-s3": make_rclone_s3,
    "restic-sftp": make_restic_sftp,
    "restic-s3": make_restic_s3,
}
VERIFIED_BY = {"rclone-sftp": "hashes", "rclone-s3": "hashes"}


@pytest.fixture(scope="module", params=list(MAKERS))
def remote(request, work):
    return MAKERS[request.param](request, work)


def make_set(directory, set_id=SET, seed=1):
    """A set as the store writes it, with a file larger than what goes up in one piece."""
    top = directory / set_id
    numbers = random.Random(f"{set_id}{seed}")
    files = {
        "databases/db/app/toc.dat": 5000,
        "databases/db/app/3000.dat.zst": 11_000_000,
        "globals/db.sql": 300,
        "config.tar.gz": 900,
        "databases/db/%E5%90%8D/x": 0,
    }
    for name, size in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(numbers.randbytes(size))
    (top / "SHA256SUMS").write_text("".join(f"{hashlib.sha256((top / name).read_bytes()).hexdigest()}  {name}\n" for name in sorted(files)))
    (top / "manifest.json").write_text(f'{{"set_id": "{set_id}"}}')
    return top


def everything(top):
    return {path.relative_to(top).as_posix(): path.read_bytes() for path in top.rglob("*") if path.is_file()}


@pytest.fixture
def project(request):
    """A project of its own for each test; the remote is one for all."""
    return f"p{hashlib.sha256(request.node.name.encode()).hexdigest()[:8]}"


def test_a_set_goes_away_and_comes_back(remote, project, tmp_path, request):
    local = make_set(tmp_path / "sets")
    before = everything(local)
    assert offsite.list_sets(remote, project) == []
    evidence = offsite.push(remote, project, str(local), SET)
    assert evidence["bytes"] == sum(map(len, before.values()))
    assert evidence["files"] == len(before)
    assert evidence["verified_by"] == VERIFIED_BY.get(request.node.callspec.params["remote"], "read back")
    assert (evidence["kind"], evidence["remote"]) == (remote.kind, remote.remote)
    assert offsite.list_sets(remote, project) == [SET]
    (local / "KEEP").write_text("set later, and no part of the copy")
    assert offsite.verify(remote, project, str(local), SET)["verified_by"] == evidence["verified_by"]
    assert offsite.verify(remote, project, str(local), SET, read_back=True)["verified_by"] == "read back"
    # Again changes nothing.
    assert offsite.push(remote, project, str(local), SET)["bytes"] == evidence["bytes"]
    fetched = offsite.fetch(remote, project, SET, str(tmp_path / "back"))
    assert fetched == str(tmp_path / "back" / SET)
    assert everything(pathlib.Path(fetched)) == before
    assert os.listdir(tmp_path / "back") == [SET]
    with pytest.raises(CheckError, match="there already"):
        offsite.fetch(remote, project, SET, str(tmp_path / "back"))


@pytest.mark.parametrize("remote", ["rclone-s3", "restic-s3"], indirect=True)
def test_sets_of_several_projects_stay_apart(remote, project, tmp_path):
    ids = [f"2026112{day}T000000Z-000{day}" for day in (1, 3)]
    for set_id in ids:
        offsite.push(remote, project, str(make_set(tmp_path / "a", set_id)), set_id)
    offsite.push(remote, f"{project}-test", str(make_set(tmp_path / "b")), SET)
    assert offsite.list_sets(remote, project) == sorted(ids, reverse=True)
    assert offsite.list_sets(remote, f"{project}-test") == [SET]
    with pytest.raises(CheckError) as caught:
        offsite.fetch(remote, project, SET, str(tmp_path / "back"))
    assert caught.value.code == "not-found"
    assert f"{ids[1]}, {ids[0]}" in caught.value.hint
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize("remote", ["rclone-sftp-without-hashes", "rclone-s3", "restic-s3"], indirect=True)
def test_a_copy_that_differs_is_noticed(remote, project, tmp_path):
    """The far side cannot be changed alike in all of them; the local file can: what is compared is the same."""
    local = make_set(tmp_path)
    offsite.push(remote, project, str(local), SET)
    path = local / "databases/db/app/3000.dat.zst"
    status, content = path.stat(), bytearray(path.read_bytes())
    content[7_000_000] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    (local / "config.tar.gz").unlink()
    with pytest.raises(CheckError) as caught:
        offsite.verify(remote, project, str(local), SET)
    assert caught.value.code == "offsite-differs"
    assert "config.tar.gz" in caught.value.reason
    assert "databases/db/app/3000.dat.zst" in caught.value.reason
    with pytest.raises(CheckError) as caught:
        offsite.verify(remote, project, str(local), "20200101T000000Z-0000")
    assert caught.value.code in ("not-found", "offsite-differs", "offsite-failed")


@pytest.mark.parametrize("remote", ["rclone-s3", "restic-s3"], indirect=True)
def test_nothing_secret_is_in_an_argument_list_or_an_error(remote, project, tmp_path, monkeypatch):
    seen = []
    for name in ("run_command", "run_streaming"):
        original = getattr(tools, name)
        monkeypatch.setattr(tools, name, lambda argv, *rest, original=original, **options: (seen.extend(argv), original(argv, *rest, **options))[1])
    local = make_set(tmp_path / "sets")
    offsite.push(remote, project, str(local), SET)
    offsite.fetch(remote, project, SET, str(tmp_path / "back"))
    assert len(seen) > 10
    wrong = dataclasses.replace(remote, remote=f"{remote.remote}-missing") if remote.kind == "restic" else dataclasses.replace(remote, remote="nowhere:x")
    with pytest.raises(CheckError) as caught:
        offsite.push(wrong, project, str(local), SET)
    text = f"{seen}{caught.value.source}{caught.value.reason}{caught.value.hint}"
    assert not [secret for secret in (PASSWORD, SECRET_KEY) if secret in text]


@pytest.mark.parametrize("remote", ["rclone-sftp", "rclone-s3", "restic-sftp"], indirect=True)
def test_a_transfer_that_is_cut_off_leaves_no_set_and_the_next_one_completes_it(remote, project, tmp_path, monkeypatch):
    """The tool is killed in the middle: what is there is not taken for a set, and harms neither side."""
    local = make_set(tmp_path)
    before = everything(local)
    (tmp_path / "bin").mkdir()
    tool = tmp_path / "bin" / remote.kind
    verb = {"rclone": "copy", "restic": "backup"}[remote.kind]
    tool.write_text(
        f'#!/bin/sh\n[ "$1" = {verb} ] || exec {shutil.which(remote.kind)} "$@"\n{shutil.which(remote.kind)} "$@" &\nsleep 0.3\nkill -9 $!\nkill -9 $$\n'
    )
    tool.chmod(0o755)
    with monkeypatch.context() as patched:
        patched.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
        with pytest.raises(CheckError) as caught:
            offsite.push(remote, project, str(local), SET)
    assert caught.value.code == "offsite-failed"
    assert "killed by signal 9" in caught.value.reason
    assert offsite.list_sets(remote, project) in ([], [SET] if remote.kind == "restic" else [])
    assert everything(local) == before
    offsite.push(remote, project, str(local), SET)
    assert offsite.list_sets(remote, project) == [SET]


@pytest.mark.parametrize("remote", ["rclone-s3", "restic-s3"], indirect=True)
def test_time_is_limited(remote, project, tmp_path):
    local = make_set(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        if remote.kind == "rclone":
            (tmp_path / "rclone.conf").write_text(
                f"[silent]\ntype = s3\nprovider = Other\nendpoint = http://127.0.0.1:{port}\naccess_key_id = x\nsecret_access_key = y\n"
            )
            (tmp_path / "rclone.conf").chmod(0o600)
            hangs = Offsite("rclone", "silent:bucket", str(tmp_path / "rclone.conf"), timeout_seconds=2)
        else:
            hangs = dataclasses.replace(remote, remote=f"rest:http://127.0.0.1:{port}/", timeout_seconds=2)
        begin = time.monotonic()
        with pytest.raises(CheckError) as caught:
            offsite.push(hangs, project, str(local), SET)
    assert caught.value.code == "timeout"
    assert time.monotonic() - begin < 80


# Retention, over what there is over there.

DAY = 86400.0
NOW = 1795442400.0


@pytest.fixture
def store(tmp_path, project):
    """The store of the project; its identity is on the disk."""
    tmp_path.chmod(0o755)
    made = BackupStore(str(tmp_path / "backups"), project)
    made.prepare()
    return made


def push_old(remote, store, tmp_path, days, *, here=False, project_id=None, **more):
    """Have a small set of so many days ago over there, and on the host only if it is *here*; return its id."""
    moment = NOW - days * DAY
    name = new_set_id(moment, f"{days:04x}")
    top = tmp_path / "old" / name
    top.mkdir(parents=True)
    (top / "config.tar.gz").write_bytes(name.encode())
    manifest = {
        "schema_version": 1, "set_id": name, "created_at": rfc3339(moment), "project": {"id": project_id or store.project_id, "name": store.project},
        "verification": {"level": "decodable"}, "files": [], "totals": {"bytes": 21, "rows": 0}, "databases": [], **more,
    }  # fmt: skip
    (top / "manifest.json").write_bytes(pretty(signed(manifest)))
    (top / "SHA256SUMS").write_text(f"{hashlib.sha256(name.encode()).hexdigest()}  config.tar.gz\n")
    if remote.kind == "rclone":
        offsite.push(remote, store.project, str(top), name)
    else:  # as a push does it, without the comparison
        tool = tools.tool_of(remote, store.project, name)
        tool.run("backup", "--host", "stackops", *(word for tag in tool.tags() for word in ("--tag", tag)), ".", cwd=str(top))
    if here:
        top.rename(pathlib.Path(store.sets_path, name))
    return name


@pytest.mark.parametrize("remote", ["rclone-s3", "restic-s3"], indirect=True)
def test_copies_expire_by_the_plan_of_the_host(remote, store, tmp_path):
    """What is beyond the window goes; what is first beyond it, marked, another's or without a readable manifest stays."""
    ids = {days: push_old(remote, store, tmp_path, days, here=days != 11) for days in (0, 9, 10, 11)}
    foreign = push_old(remote, store, tmp_path, 30, project_id="another host's")
    marked = push_old(remote, store, tmp_path, 31)
    unreadable = push_old(remote, store, tmp_path, 32, schema_version=99)
    neighbour = BackupStore(store.root, f"{store.project}-test")
    neighbour.prepare()
    theirs = push_old(remote, neighbour, tmp_path, 40)
    tool = tools.tool_of(remote, store.project)
    if remote.kind == "rclone":
        tool.run("touch", tool.place(marked, "KEEP"))
    else:
        tool.run("tag", "--add", "KEEP", tool.known_of(marked)[-1])
    everything_there = {*ids.values(), foreign, marked, unreadable}
    policy = Policy(keep_days=7, min_verified=2)
    planned = expire(remote, store, policy, NOW, dry=True)
    assert set(offsite.list_sets(remote, store.project)) == everything_there
    done = expire(remote, store, policy, NOW)
    assert planned.removed == done.removed == (ids[11], ids[10])
    assert set(offsite.list_sets(remote, store.project)) == everything_there - set(done.removed)
    assert done.keep[foreign] == done.keep[unreadable] == "not known to be a set of this project"
    assert done.keep[marked].startswith("KEEP")
    assert [one for one in done.warnings if unreadable in one and "version 99" in one]
    assert offsite.list_sets(remote, neighbour.project) == [theirs]
    offsite.fetch(remote, store.project, ids[9], str(tmp_path / "back"))


def test_some_copies_stay_however_old_and_all_while_the_clock_is_not_believed(rclone, store, tmp_path):
    ids = [push_old(rclone, store, tmp_path, days, here=True) for days in (0, 1, 2)]
    assert expire(rclone, store, Policy(keep_days=0, min_verified=3), NOW).removed == ()
    few = Policy(keep_days=0, min_verified=1)
    assert expire(rclone, store, few, NOW - DAY).frozen.startswith("the clock")
    assert expire(rclone, store, few, NOW).removed == (ids[2], ids[1])
    assert offsite.list_sets(rclone, store.project) == [ids[0]]


def test_rclone_a_removal_that_is_cut_off_leaves_no_set_and_is_finished(rclone, store, work, tmp_path, monkeypatch):
    names = [push_old(rclone, store, tmp_path, days) for days in (0, 20, 21)]
    policy = Policy(keep_days=7, min_verified=1)
    far = work / "remote/rclone" / store.project
    (tmp_path / "bin").mkdir()
    for verb, left in (("delete", {"config.tar.gz", "removed.json", "SHA256SUMS"}), ("purge", {"removed.json"})):
        (tmp_path / "bin/rclone").write_text(f'#!/bin/sh\n[ "$1" != {verb} ] || kill -9 $$\nexec {shutil.which("rclone")} "$@"\n')
        (tmp_path / "bin/rclone").chmod(0o755)
        with monkeypatch.context() as patched:
            patched.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
            with pytest.raises(CheckError, match="killed by signal 9"):
                expire(rclone, store, policy, NOW)
        assert {path.name for path in (far / names[2]).iterdir()} == left
    assert offsite.list_sets(rclone, store.project) == sorted(names[:2], reverse=True)
    # A transfer that was interrupted has no such file: that is left alone.
    (far / "20260101T000000Z-0000").mkdir()
    (far / "20260101T000000Z-0000/config.tar.gz").write_text("half a transfer")
    assert expire(rclone, store, policy, NOW).removed == ()
    assert {path.name for path in far.iterdir()} == {*names[:2], "20260101T000000Z-0000"}


def test_restic_gives_back_space_once_a_week(restic, store, tmp_path):
    def state():
        return json.loads(pathlib.Path(store.path, "offsite.json").read_text())

    names = [push_old(restic, store, tmp_path, days, here=days < 10) for days in (0, 8, 21)]
    assert expire(restic, store, Policy(keep_days=7, min_verified=1), NOW).removed == (names[2],)
    assert state() == {"schema_version": 1, "reclaimed_at": rfc3339(NOW), "pending": False}
    assert expire(restic, store, Policy(keep_days=1, min_verified=1), NOW + 2 * DAY).removed == (names[1],)
    assert state()["pending"] is True
    assert expire(restic, store, Policy(keep_days=1, min_verified=1), NOW + 7 * DAY).removed == ()
    assert state() == {"schema_version": 1, "reclaimed_at": rfc3339(NOW + 7 * DAY), "pending": False}
    assert "no errors were found" in run("restic", "check", env={**os.environ, **tools.tool_of(restic, "any").env})


# What is particular to one of the tools, or needs the files of the far side.


@pytest.fixture(scope="module")
def rclone(request, work):
    return make_rclone_sftp(request, work)


@pytest.fixture(scope="module")
def restic(request, work):
    need_tools(restic="restic")
    return restic_init(Offsite("restic", f"{work}/remote/restic-directory", None, password_file(work), (), 120))


def test_rclone_a_changed_byte_or_a_missing_file_on_the_far_side(rclone, project, work, tmp_path):
    local = make_set(tmp_path / "sets")
    offsite.push(rclone, project, str(local), SET)
    far = work / "remote/rclone" / project / SET / "databases/db/app/toc.dat"
    status, content = far.stat(), bytearray(far.read_bytes())
    content[100] ^= 1
    far.write_bytes(content)
    os.utime(far, ns=(status.st_atime_ns, status.st_mtime_ns))
    for read_back in (False, True):
        with pytest.raises(CheckError, match=r"is not what is here: .*toc\.dat"):
            offsite.verify(rclone, project, str(local), SET, read_back=read_back)
    with pytest.raises(CheckError, match=r"fetched set is damaged: databases/db/app/toc\.dat"):
        offsite.fetch(rclone, project, SET, str(tmp_path / "back"))
    far.unlink()
    with pytest.raises(CheckError, match=r"fetched set is damaged"):
        offsite.fetch(rclone, project, SET, str(tmp_path / "back"))
    assert os.listdir(tmp_path / "back") == []
    offsite.push(rclone, project, str(local), SET)
    assert offsite.verify(rclone, project, str(local), SET)


def test_rclone_a_set_without_manifest_is_none(rclone, project, work, tmp_path):
    local = make_set(tmp_path)
    offsite.push(rclone, project, str(local), SET)
    (work / "remote/rclone" / project / SET / "manifest.json").unlink()
    assert offsite.list_sets(rclone, project) == []
    with pytest.raises(CheckError, match="no complete set"):
        offsite.fetch(rclone, project, SET, str(tmp_path / "back"))


def test_rclone_a_full_disk_on_the_far_side(rclone, project, work, tmp_path):
    local = make_set(tmp_path)
    far = work / "remote/rclone" / project
    far.mkdir(parents=True)
    run("mount", "-t", "tmpfs", "-o", "size=4m", "none", far)
    try:
        with pytest.raises(CheckError) as caught:
            offsite.push(rclone, project, str(local), SET)
        assert caught.value.code == "offsite-failed"
        assert offsite.list_sets(rclone, project) == []
    finally:
        run("umount", far)


def test_rclone_configuration_with_a_password(request, work, project, tmp_path):
    make_rclone_sftp(request, work)
    shutil.copy(work / "rclone.conf", tmp_path / "locked.conf")
    (tmp_path / "locked.conf").chmod(0o600)
    environment = {**os.environ, "RCLONE_CONFIG": str(tmp_path / "locked.conf")}
    process = subprocess.Popen(["rclone", "config"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment)
    for answer in ("s", "a", PASSWORD, PASSWORD, "q", "q"):
        time.sleep(0.3)  # it throws away what comes before it asks
        process.stdin.write(f"{answer}\n")
        process.stdin.flush()
    assert process.wait(30) == 0
    assert "RCLONE_ENCRYPT" in (tmp_path / "locked.conf").read_text()
    locked = Offsite("rclone", f"sftp-hashes:{work}/remote/rclone", str(tmp_path / "locked.conf"), password_file(work), timeout_seconds=120)
    assert offsite.push(locked, project, str(make_set(tmp_path)), SET)["verified_by"] == "hashes"
    with pytest.raises(CheckError) as caught:
        offsite.list_sets(dataclasses.replace(locked, password_file=None), project)
    assert caught.value.code == "offsite-failed"


def test_restic_says_what_is_wrong_with_the_repository(restic, project, tmp_path):
    local = make_set(tmp_path)
    cases = []
    (tmp_path / "wrong").write_text("Canary-wrong-password")
    (tmp_path / "wrong").chmod(0o600)
    cases.append((dataclasses.replace(restic, password_file=str(tmp_path / "wrong")), "another password"))
    cases.append((dataclasses.replace(restic, remote=str(tmp_path / "none")), "restic init"))
    for wrong, hint in cases:
        for call in (lambda wrong=wrong: offsite.push(wrong, project, str(local), SET), lambda wrong=wrong: offsite.list_sets(wrong, project)):
            with pytest.raises(CheckError) as caught:
                call()
            assert hint in caught.value.hint
            assert "Canary" not in f"{caught.value.reason}{caught.value.hint}"


def test_restic_a_locked_repository(restic, project, work, tmp_path):
    """An exclusive lock by another restic, which is alive."""
    environment = {**os.environ, **tools.tool_of(restic, "any").env}
    offsite.push(restic, project, str(make_set(tmp_path / "a")), SET)
    process = subprocess.Popen(["restic", "check", "--read-data"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while not [name for name in os.listdir(work / "remote/restic-directory/locks") if len(name) == 64]:  # others are being written
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.005)
    process.send_signal(19)
    try:
        with pytest.raises(CheckError) as caught:
            offsite.push(restic, project, str(make_set(tmp_path / "b", "20261124T000000Z-0001")), "20261124T000000Z-0001")
        assert "restic unlock" in caught.value.hint
    finally:
        process.send_signal(18)
        process.wait(60)


def test_restic_a_damaged_repository(restic, project, work, tmp_path):
    local = make_set(tmp_path / "sets", seed=77)
    before = set((work / "remote/restic-directory/data").rglob("*"))
    offsite.push(restic, project, str(local), SET)
    packs = [path for path in set((work / "remote/restic-directory/data").rglob("*")) - before if path.is_file()]
    largest = max(packs, key=lambda path: path.stat().st_size)
    original = largest.read_bytes()
    try:
        largest.chmod(0o600)
        largest.write_bytes(original[:100_000] + bytes([original[100_000] ^ 1]) + original[100_001:])
        with pytest.raises(CheckError) as caught:
            offsite.verify(restic, project, str(local), SET)
        assert caught.value.code in ("offsite-failed", "offsite-differs")
        with pytest.raises(CheckError):
            offsite.fetch(restic, project, SET, str(tmp_path / "back"))
        assert os.listdir(tmp_path / "back") == []
    finally:
        largest.write_bytes(original)


def test_restic_a_snapshot_of_unreadable_files_is_no_set(restic, project, tmp_path, monkeypatch):
    """Exit code 3: restic could not read everything, and made a snapshot of the rest."""
    local = make_set(tmp_path / "sets")
    (tmp_path / "bin").mkdir()
    # Root reads every file, but not this one.
    real = shutil.which("restic")
    (tmp_path / "bin/restic").write_text(f'#!/bin/sh\n[ "$1" = backup ] || exec {real} "$@"\n{real} "$@" /proc/self/mem\n')
    (tmp_path / "bin/restic").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    with pytest.raises(CheckError) as caught:
        offsite.push(restic, project, str(local), SET)
    assert "could not be read" in caught.value.hint
    assert offsite.list_sets(restic, project) == []
