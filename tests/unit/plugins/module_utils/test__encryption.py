# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import shutil

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _encryption as encryption
from ansible_collections.stackops.runbook.plugins.module_utils._encryption import Encryption
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError

AGE = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"


@pytest.fixture(autouse=True)
def tools_are_there(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")


def code_of(call, *arguments):
    with pytest.raises(CheckError) as caught:
        call(*arguments)
    assert caught.value.hint
    return caught.value.code


def test_a_missing_tool_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert not encryption.available("age")
    with pytest.raises(CheckError) as caught:
        encryption.check_encryption(Encryption("gpg", ("key.asc",)))
    assert (caught.value.code, caught.value.hint) == ("not-installed", "Install it: sudo apt-get install gnupg")


@pytest.mark.parametrize(
    "recipients, code",
    [
        ((), "no-recipient"),
        (("not-there.txt",), "not-found"),
        (("someone@example.com",), "not-found"),
        (("AGE-SECRET-KEY-1QQQQ",), "secret-key"),
        (("age-secret-key-1qqqq",), "secret-key"),
        (("-----BEGIN PGP PRIVATE KEY BLOCK-----",), "secret-key"),
    ],
)
@pytest.mark.parametrize("method", ["age", "gpg"])
def test_recipients_that_are_none(method, recipients, code, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plain").write_bytes(b"plain")
    assert code_of(encryption.encrypt_path, Encryption(method, recipients), "plain") == code
    assert [path.name for path in tmp_path.iterdir()] == ["plain"]


def test_short_gpg_key_ids_can_be_anybody_s():
    assert code_of(encryption.check_encryption, Encryption("gpg", ("DEADBEEF",))) == "not-found"


def test_what_can_be_encrypted(tmp_path):
    (tmp_path / "link").symlink_to("/etc/passwd")
    (tmp_path / "x.tar").touch()
    for name, code in (("none", "not-found"), ("link", "not-found"), ("x.tar", "same-name")):
        with pytest.raises(CheckError) as caught:
            encryption.encrypt_path(Encryption("age", (AGE,)), str(tmp_path / name))
        assert caught.value.code == code


def test_what_can_be_decrypted(tmp_path):
    (tmp_path / "x.age").touch()
    with pytest.raises(CheckError, match="does not end in .gpg"):
        encryption.decrypt_path("gpg", None, str(tmp_path / "x.age"), str(tmp_path / "out"))
    assert code_of(encryption.decrypt_path, "age", None, str(tmp_path / "x.age"), str(tmp_path / "out")) == "no-identity"
    assert code_of(encryption.decrypt_path, "age", str(tmp_path / "none"), str(tmp_path / "x.age"), str(tmp_path / "out")) == "not-found"
    assert code_of(encryption.decrypt_path, "zip", None, str(tmp_path / "x.age"), str(tmp_path / "out")) == "unknown-method"
