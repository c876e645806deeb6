# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Encryption with the distribution's age and gpg."""

from __future__ import annotations

import os
import pathlib
import random
import shutil
import stat
import subprocess
import tempfile

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _encryption as encryption
from ansible_collections.stackops.runbook.plugins.module_utils._encryption import Encryption
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError
from ansible_collections.stackops.runbook.tests.support.tools import need_tools

pytestmark = pytest.mark.live

CONTENT = random.Random(5).randbytes(3_000_001)


def run(*argv, **options):
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True, **options).stdout


class Keys:
    """A person's key pair, and a stranger's secret key."""

    def __init__(self, method, directory):
        self.method = method
        self.public, self.secret, self.stranger = (directory / name for name in ("public", "secret", "stranger"))
        if method == "age":
            need_tools(age="age")
            for path in (self.secret, self.stranger):
                run("age-keygen", "-o", path)
            self.name = run("age-keygen", "-y", self.secret).strip()
            self.public.write_text(f"# ours\n{self.name}\n")
            return
        need_tools(gpg="gnupg")
        self.homes = []
        for path in (self.secret, self.stranger):
            # The agent's socket lies in it, and its path may not be long.
            home = pathlib.Path(tempfile.mkdtemp(prefix="keys-"))
            self.homes.append(home)
            gpg = ("gpg", "--homedir", home, "--batch", "--pinentry-mode", "loopback", "--passphrase", "")
            run(*gpg, "--quick-gen-key", f"{path.name}@example.com", "future-default", "default", "never")
            path.write_text(run(*gpg, "--armor", "--export-secret-keys"))
        self.public.write_text(run("gpg", "--homedir", self.homes[0], "--armor", "--export"))
        listed = run("gpg", "--homedir", self.homes[0], "--with-colons", "--list-keys")
        self.name = next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr"))

    def remove(self):
        for home in getattr(self, "homes", ()):
            subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], timeout=60, check=False)
            shutil.rmtree(home)


@pytest.fixture(scope="module", params=["age", "gpg"])
def keys(request, tmp_path_factory):
    made = Keys(request.param, tmp_path_factory.mktemp(request.param))
    yield made
    made.remove()


@pytest.fixture
def ours(keys):
    return Encryption(keys.method, (str(keys.public),))


@pytest.fixture(autouse=True)
def nothing_is_left():
    """No key ring and no agent outlives a call."""

    def leftovers():
        # Agents of other tests and of the machine have other homes.
        homes = set(pathlib.Path("/tmp").glob("gpg-????????"))
        commands = [path.read_bytes() for path in pathlib.Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
        return homes, sum(b"--homedir\0/tmp/gpg-" in command for command in commands)

    before = leftovers()
    yield
    assert leftovers() == before


def names(directory):
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*"))


def make_directory(top):
    (top / "public.dump/empty").mkdir(parents=True)
    (top / "toc.dat").write_bytes(CONTENT)
    (top / "public.dump/3000.dat.zst").write_bytes(CONTENT[:70_000])
    (top / "名前").touch()
    os.chmod(top / "toc.dat", 0o600)
    return top


def test_a_file_goes_and_comes_back(keys, ours, tmp_path):
    plain = tmp_path / "config.tar.gz"
    plain.write_bytes(CONTENT)
    encrypted = encryption.encrypt_path(ours, str(plain))
    assert encrypted == f"{plain}.{keys.method}"
    assert names(tmp_path) == [os.path.basename(encrypted)]
    assert stat.S_IMODE(os.stat(encrypted).st_mode) == 0o600
    assert CONTENT[:100] not in pathlib.Path(encrypted).read_bytes()
    decrypted = encryption.decrypt_path(keys.method, str(keys.secret), encrypted, str(tmp_path / "new/out"))
    assert decrypted == str(tmp_path / "new/out/config.tar.gz")
    assert pathlib.Path(decrypted).read_bytes() == CONTENT


def test_an_empty_file_too(keys, ours, tmp_path):
    (tmp_path / "globals.sql").touch()
    encrypted = encryption.encrypt_path(ours, str(tmp_path / "globals.sql"))
    assert pathlib.Path(encryption.decrypt_path(keys.method, str(keys.secret), encrypted, str(tmp_path))).read_bytes() == b""


def test_a_directory_goes_and_comes_back(keys, ours, tmp_path):
    top = make_directory(tmp_path / "app")
    shutil.copytree(top, tmp_path / "copy")
    read = []
    encrypted = encryption.encrypt_path(ours, str(top), pace=read.append)
    assert encrypted == f"{top}.tar.{keys.method}"
    assert sum(read) == len(CONTENT) + 70_000
    assert sorted(path.name for path in tmp_path.iterdir()) == [os.path.basename(encrypted), "copy"]
    decrypted = encryption.decrypt_path(keys.method, str(keys.secret), encrypted, str(tmp_path / "out"))
    assert decrypted == str(tmp_path / "out/app")
    run("diff", "-r", tmp_path / "copy", decrypted)
    assert names(tmp_path / "out") == ["app", *(f"app/{name}" for name in names(tmp_path / "copy"))]


def test_the_tools_themselves_decrypt_it(keys, ours, tmp_path):
    """A restore by hand needs nothing of ours."""
    encrypted = encryption.encrypt_path(ours, str(make_directory(tmp_path / "app")))
    command = {
        "age": f"age -d -i {keys.secret} {encrypted} | tar -x -C {tmp_path / 'out'}",
        "gpg": f"gpg --homedir {getattr(keys, 'homes', [''])[0]} -d {encrypted} | tar -x -C {tmp_path / 'out'}",
    }[keys.method]
    (tmp_path / "out").mkdir()
    run("bash", "-euo", "pipefail", "-c", command)
    assert (tmp_path / "out/toc.dat").read_bytes() == CONTENT


def test_the_trial_names_the_recipients(keys, ours):
    assert encryption.check_encryption(ours) == (keys.name,)
    assert encryption.available(keys.method)
    assert encryption.version(keys.method)[0].isdigit()


def test_age_recipients_by_themselves_and_several(tmp_path):
    need_tools(age="age")
    for name in ("one", "two"):
        run("age-keygen", "-o", tmp_path / name)
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "somebody here", "-f", tmp_path / "three")
    recipients = (
        run("age-keygen", "-y", tmp_path / "one").strip(),
        run("age-keygen", "-y", tmp_path / "two").strip(),
        (tmp_path / "three.pub").read_text().strip(),
    )
    assert encryption.check_encryption(Encryption("age", recipients)) == recipients
    (tmp_path / "plain").write_bytes(CONTENT)
    encrypted = encryption.encrypt_path(Encryption("age", recipients), str(tmp_path / "plain"))
    for name in ("one", "two", "three"):
        decrypted = encryption.decrypt_path("age", str(tmp_path / name), encrypted, str(tmp_path / f"out-{name}"))
        assert pathlib.Path(decrypted).read_bytes() == CONTENT


def test_gpg_keys_of_the_caller_s_own_ring(tmp_path, monkeypatch):
    need_tools(gpg="gnupg")
    keys = Keys("gpg", tmp_path)
    try:
        monkeypatch.setenv("GNUPGHOME", str(keys.homes[0]))
        ours = Encryption("gpg", (keys.name,))
        assert encryption.check_encryption(ours) == (keys.name,)
        (tmp_path / "plain").write_bytes(CONTENT)
        encrypted = encryption.encrypt_path(ours, str(tmp_path / "plain"))
        assert pathlib.Path(encryption.decrypt_path("gpg", None, encrypted, str(tmp_path / "out"))).read_bytes() == CONTENT
        monkeypatch.setenv("GNUPGHOME", str(keys.homes[1]))
        with pytest.raises(CheckError, match="no public key of this fingerprint"):
            encryption.check_encryption(ours)
    finally:
        keys.remove()


def test_a_gpg_key_with_a_passphrase_says_what_to_do(tmp_path):
    need_tools(gpg="gnupg")
    keys = Keys("gpg", tmp_path)
    try:
        gpg = ("gpg", "--homedir", keys.homes[0], "--batch", "--pinentry-mode", "loopback", "--passphrase", "Canary-pass-77")
        run(*gpg, "--quick-gen-key", "locked@example.com", "future-default", "default", "never")
        (tmp_path / "locked").write_text(run(*gpg, "--armor", "--export-secret-keys", "locked@example.com"))
        (tmp_path / "locked.pub").write_text(run(*gpg, "--armor", "--export", "locked@example.com"))
        (tmp_path / "plain").write_bytes(CONTENT)
        encrypted = encryption.encrypt_path(Encryption("gpg", (str(tmp_path / "locked.pub"),)), str(tmp_path / "plain"))
        with pytest.raises(CheckError) as caught:
            encryption.decrypt_path("gpg", str(tmp_path / "locked"), encrypted, str(tmp_path / "out"))
        assert caught.value.code == "wrong-key", caught.value.reason
        assert "passphrase" in caught.value.hint
    finally:
        keys.remove()


def test_an_expired_gpg_key_is_an_error_before_anything_is_encrypted(tmp_path):
    need_tools(gpg="gnupg")
    home = tmp_path / "h"
    home.mkdir(mode=0o700)
    gpg = ("gpg", "--homedir", home, "--batch", "--pinentry-mode", "loopback", "--passphrase", "", "--faked-system-time", "20200101T000000")
    run(*gpg, "--quick-gen-key", "old@example.com", "future-default", "default", "2d")
    (tmp_path / "old.pub").write_text(run(*gpg, "--armor", "--export"))
    subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], timeout=60, check=False)
    with pytest.raises(CheckError, match="Unusable public key"):
        encryption.check_encryption(Encryption("gpg", (str(tmp_path / "old.pub"),)))


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_the_wrong_key_and_damage_leave_nothing(keys, ours, kind, tmp_path):
    plain = tmp_path / "data"
    make_directory(plain) if kind == "directory" else plain.write_bytes(CONTENT)
    encrypted = pathlib.Path(encryption.encrypt_path(ours, str(plain)))
    with pytest.raises(CheckError) as caught:
        encryption.decrypt_path(keys.method, str(keys.stranger), str(encrypted), str(tmp_path / "out"))
    assert (caught.value.code, caught.value.source) == ("wrong-key", str(encrypted))
    whole = encrypted.read_bytes()
    for changed in (whole[:-1], whole[: len(whole) // 2], whole[:1_000_000] + bytes([whole[1_000_000] ^ 4]) + whole[1_000_001:], b""):
        encrypted.write_bytes(changed)
        with pytest.raises(CheckError) as caught:
            encryption.decrypt_path(keys.method, str(keys.secret), str(encrypted), str(tmp_path / "out"))
        assert caught.value.code in ("command-failed", "wrong-key")
        assert caught.value.hint
    assert names(tmp_path / "out") == []


def test_what_is_there_already_is_not_overwritten(keys, ours, tmp_path):
    (tmp_path / "data").write_bytes(CONTENT)
    encrypted = encryption.encrypt_path(ours, str(tmp_path / "data"))
    (tmp_path / "data").write_text("somebody's")
    with pytest.raises(CheckError, match="there already"):
        encryption.decrypt_path(keys.method, str(keys.secret), encrypted, str(tmp_path))
    assert (tmp_path / "data").read_text() == "somebody's"


def test_a_secret_key_is_no_recipient(keys, tmp_path):
    text = keys.secret.read_text()
    with pytest.raises(CheckError) as caught:
        encryption.check_encryption(Encryption(keys.method, (str(keys.secret),)))
    assert caught.value.code == "secret-key"
    pasted = next(line for line in text.splitlines() if "SECRET" in line or "PRIVATE" in line)
    with pytest.raises(CheckError) as caught:
        encryption.check_encryption(Encryption(keys.method, (pasted,)))
    assert caught.value.code == "secret-key"
    assert pasted not in f"{caught.value.source}{caught.value.reason}{caught.value.hint}"


BROKEN = {
    "echo no luck >&2; exit 3": ["command-failed"],
    "kill -9 $$": ["command-failed"],
    "head -c 1000; exit 0": ["incomplete", "write-failed"],
    "head -c 100000; echo 'write: no space left on device' >&2; exit 1": ["no-space"],
    "sleep 60": ["timeout"],
}


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_a_tool_that_fails_or_writes_too_little_leaves_the_plain_one(keys, ours, kind, tmp_path, monkeypatch):
    (tmp_path / "set").mkdir()
    plain = tmp_path / "set/data"
    make_directory(plain) if kind == "directory" else plain.write_bytes(CONTENT)
    before = names(tmp_path / "set")
    real = shutil.which(keys.method)
    (tmp_path / "bin").mkdir()
    tool = tmp_path / "bin" / keys.method
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    # Real everywhere else, so that keys are imported.
    for broken, codes in BROKEN.items():
        tool.write_text(f'#!/bin/sh\ncase "$*" in *--encrypt*) {broken};; *) exec {real} "$@";; esac\n')
        tool.chmod(0o755)
        with pytest.raises(CheckError) as caught:
            encryption.encrypt_path(ours, str(plain), timeout_seconds=2)
        assert caught.value.code in codes, caught.value.reason
        assert names(tmp_path / "set") == before


def test_a_full_disk_leaves_the_plain_one(keys, ours, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    small = tmp_path / "small"
    small.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=4m", "none", small)
    try:
        (small / "data").write_bytes(CONTENT)
        with pytest.raises(CheckError) as caught:
            encryption.encrypt_path(ours, str(small / "data"))
        assert caught.value.code == "no-space"
        assert names(small) == ["data"]
    finally:
        run("umount", small)


def test_nothing_secret_is_in_an_argument_list(keys, ours, tmp_path, monkeypatch):
    seen = []
    for name in ("run_command", "run_streaming"):
        original = getattr(encryption, name)
        monkeypatch.setattr(encryption, name, lambda argv, *rest, original=original, **options: (seen.append(argv), original(argv, *rest, **options))[1])
    (tmp_path / "data").write_bytes(CONTENT)
    encryption.decrypt_path(keys.method, str(keys.secret), encryption.encrypt_path(ours, str(tmp_path / "data")), str(tmp_path / "out"))
    secret = {line for line in keys.secret.read_text().splitlines() if len(line) > 20 and not line.startswith(("#", "-"))}
    assert seen
    assert not [argument for argv in seen for argument in argv if any(line in argument for line in secret)]
