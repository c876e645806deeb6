# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Encryption of a backup's files for people's keys, with age or gpg as the distribution has them.

Hosts hold public keys only: what is encrypted here cannot be decrypted here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shlex
import shutil
import tempfile
import typing as t

from ._archives import Pace, whole_file, write_tar
from ._envelope import CheckError
from ._extraction import extract_tar
from ._files import sync_directory
from ._process import Completed, run_command, run_streaming

#: The methods, which are the tools' names and the suffixes of what they write, with their packages.
METHODS: dict[str, str] = {"age": "age", "gpg": "gnupg"}
_TIME_LIMIT_SECONDS = 14400.0
_CALL_TIME_LIMIT_SECONDS = 60.0

_AGE_RECIPIENT = re.compile(r"age1[0-9a-z-]{20,}|ssh-(ed25519|rsa) [A-Za-z0-9+/=]+( .*)?")
# Short key ids and mail addresses can be anybody's; here keys are trusted because they were named exactly.
_GPG_FINGERPRINT = re.compile(r"(0x)?([0-9A-Fa-f]{40}|[0-9A-Fa-f]{64})")
_SECRET_KEY = re.compile(r"AGE-SECRET-KEY-|PRIVATE KEY", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Encryption:
    """For whom to encrypt: age recipients or recipients files; gpg public key files or full fingerprints."""

    method: str
    recipients: tuple[str, ...]


def available(method: str) -> bool:
    """Whether the tool is installed."""
    if method not in METHODS:
        raise CheckError("encryption", f"unknown method {method}", f"Choose one of {', '.join(METHODS)}.", "unknown-method")
    return shutil.which(method) is not None


def version(method: str) -> str:
    """Return the tool's version."""
    _need(method)
    words = run_command([method, "--version"], _CALL_TIME_LIMIT_SECONDS).text.split("\n")[0].split()
    return words[-1].lstrip("v") if words else ""


def check_encryption(encryption: Encryption) -> tuple[str, ...]:
    """Try it on a few bytes, before a backup takes an hour; return the recipients as public keys or fingerprints."""
    with _encrypting(encryption) as (argv, recipients), tempfile.TemporaryFile() as encrypted:
        _succeeded(encryption.method, run_streaming(argv, _CALL_TIME_LIMIT_SECONDS, stdin=lambda stream: stream.write(b"trial"), stdout=encrypted))
        if encrypted.seek(0, os.SEEK_END) <= 5:
            raise _incomplete(encryption.method, "a trial")
    return recipients


def encrypt_path(encryption: Encryption, path: str, *, timeout_seconds: float = _TIME_LIMIT_SECONDS, pace: t.Optional[Pace] = None) -> str:
    """Replace a file by ``<path>.age`` (or ``.gpg``) or a directory by ``<path>.tar.age``, whole or not at all; return the new path.

    The plain one is removed when the encrypted one is on the disk.
    """
    is_directory = os.path.isdir(path) and not os.path.islink(path)
    if not is_directory and (os.path.islink(path) or not os.path.isfile(path)):
        raise CheckError(path, "is neither a file nor a directory; nothing was encrypted", "", "not-found")
    if not is_directory and path.endswith(".tar"):
        raise CheckError(path, "would be taken for a directory when it is decrypted", "Give it another name.", "same-name")
    target = f"{path}{'.tar' if is_directory else ''}.{encryption.method}"
    with _encrypting(encryption) as (argv, dummy_recipients), whole_file(target) as output:
        if is_directory:
            sizes: list[int] = []
            done = run_streaming(argv, timeout_seconds, stdin=lambda stream: sizes.append(_write_directory(path, stream, pace)), stdout=output)
        else:
            with open(path, "rb") as plain:
                sizes = [os.fstat(plain.fileno()).st_size]
                done = run_streaming(argv, timeout_seconds, stdin=plain, stdout=output)
        _succeeded(encryption.method, done)
        # Neither tool compresses here, so that less than what went in means that something is missing.
        if os.fstat(output.fileno()).st_size <= sum(sizes):
            raise _incomplete(encryption.method, path)
    if is_directory:
        shutil.rmtree(path)
    else:
        os.unlink(path)
    return target


def decrypt_path(method: str, identity_file: t.Optional[str], encrypted: str, into_directory: str, *, timeout_seconds: float = _TIME_LIMIT_SECONDS) -> str:
    """Decrypt *encrypted* into *into_directory*, whole or not at all; return the path of the file or directory.

    *identity_file* is age's identity or gpg's exported secret key; without one gpg takes the caller's own key ring.
    """
    _need(method)
    name, suffix = os.path.splitext(os.path.basename(encrypted))
    if suffix != f".{method}":
        raise CheckError(encrypted, f"does not end in .{method}; nothing was decrypted", "", "not-encrypted")
    is_directory = name.endswith(".tar")
    target = os.path.join(into_directory, name[:-4] if is_directory else name)
    if os.path.lexists(target):
        raise CheckError(target, "is there already; nothing was decrypted", f"Remove it: rm -r {shlex.quote(target)}", "not-empty")
    os.makedirs(into_directory, 0o700, exist_ok=True)
    with _decrypting(method, identity_file) as argv, _opened(encrypted) as source:
        if not is_directory:
            with whole_file(target) as output:
                _succeeded(method, run_streaming(argv, timeout_seconds, stdin=source, stdout=output), encrypted)
            return target
        temporary = tempfile.mkdtemp(prefix=".new-", dir=into_directory)
        try:
            done = run_streaming(argv, timeout_seconds, stdin=source, stdout=lambda stream: extract_tar(stream, encrypted, temporary))
            _succeeded(method, done, encrypted)  # age and gpg give out what they have not proven yet; their exit code is the proof
            os.rename(temporary, target)
            sync_directory(into_directory)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    return target


def _write_directory(path: str, stream: t.IO[bytes], pace: t.Optional[Pace]) -> int:
    result = write_tar(stream, [(os.path.join(path, name), name) for name in sorted(os.listdir(path))], pace=pace)
    if result.warnings:  # this is a backup's own directory: nothing may change in it
        raise CheckError(path, f"changed while it was encrypted: {result.warnings[0]}", "Run the backup again.", "changed")
    return result.bytes


@contextlib.contextmanager
def _opened(path: str) -> t.Iterator[t.IO[bytes]]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise CheckError(path, f"cannot be opened: {error.strerror}", f"Look at it: sudo ls -l {shlex.quote(path)}", "not-found") from error
    with os.fdopen(descriptor, "rb") as file:
        yield file


@contextlib.contextmanager
def _encrypting(encryption: Encryption) -> t.Iterator[tuple[list[str], tuple[str, ...]]]:
    """Give the command that encrypts its standard input, and for whom it does."""
    _need(encryption.method)
    if not encryption.recipients:
        raise CheckError("encryption", "there is no recipient", f"Name at least one public key for {encryption.method}.", "no-recipient")
    for recipient in encryption.recipients:
        if _SECRET_KEY.search(recipient):
            raise CheckError("encryption", "a recipient is a secret key", "Name its public key: age-keygen -y FILE", "secret-key")
    if encryption.method == "age":
        yield _age_command(encryption.recipients)
        return
    with _gpg_home() as gpg:
        for recipient in encryption.recipients:
            if _GPG_FINGERPRINT.fullmatch(recipient):
                exported = run_command(["gpg", "--batch", "--no-tty", "--export", recipient], _CALL_TIME_LIMIT_SECONDS).stdout
                if not exported:
                    hint = f"Import it (gpg --import FILE), or name the file of the public key. See what there is: gpg --list-keys {recipient}"
                    raise CheckError(recipient, "gpg has no public key of this fingerprint", hint, "no-recipient")
                _succeeded("gpg", run_command([*gpg, "--import"], _CALL_TIME_LIMIT_SECONDS, exported), recipient)
            else:
                _public(recipient, "neither a full fingerprint nor a file", "gpg --export --armor NAME > key.asc")
                _succeeded("gpg", run_command([*gpg, "--import", "--", os.path.abspath(recipient)], _CALL_TIME_LIMIT_SECONDS), recipient)
        fingerprints = _gpg_fingerprints(gpg)
        wanted = [argument for fingerprint in fingerprints for argument in ("--recipient", fingerprint)]
        # The dumps are compressed already.
        yield [*gpg, "--trust-model", "always", "--compress-algo", "none", "--cipher-algo", "AES256", *wanted, "--encrypt"], fingerprints


def _age_command(recipients: t.Iterable[str]) -> tuple[list[str], tuple[str, ...]]:
    argv, keys = ["age", "--encrypt"], []
    for recipient in recipients:
        if _AGE_RECIPIENT.fullmatch(recipient):
            argv += ["-r", recipient]
            keys.append(recipient)
            continue
        text = _public(recipient, "neither an age recipient nor a file", "age-keygen -y IDENTITY_FILE > recipients.txt")
        argv += ["-R", os.path.abspath(recipient)]
        keys += [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return argv, tuple(keys)


@contextlib.contextmanager
def _decrypting(method: str, identity_file: t.Optional[str]) -> t.Iterator[list[str]]:
    if identity_file:
        with _opened(identity_file):
            pass
    if method == "age":
        if not identity_file:
            raise CheckError("age", "there is no identity file to decrypt with", "Name the file with the secret key (AGE-SECRET-KEY-…).", "no-identity")
        yield ["age", "--decrypt", "-i", os.path.abspath(identity_file)]
    elif identity_file:
        with _gpg_home() as gpg:
            _succeeded("gpg", run_command([*gpg, "--import", "--", os.path.abspath(identity_file)], _CALL_TIME_LIMIT_SECONDS), identity_file)
            yield [*gpg, "--pinentry-mode", "loopback", "--decrypt"]
    else:
        yield ["gpg", "--batch", "--no-tty", "--decrypt"]


@contextlib.contextmanager
def _gpg_home() -> t.Iterator[list[str]]:
    """Give a gpg command with a key ring of its own, so that nobody's keys, trust and configuration are touched or used."""
    home = tempfile.mkdtemp(prefix="gpg-")
    try:
        yield ["gpg", "--homedir", home, "--batch", "--no-tty"]
    finally:
        with contextlib.suppress(CheckError):  # decryption starts an agent, which would stay
            run_command(["gpgconf", "--homedir", home, "--kill", "all"], _CALL_TIME_LIMIT_SECONDS)
        shutil.rmtree(home, ignore_errors=True)


def _gpg_fingerprints(gpg: t.Sequence[str]) -> tuple[str, ...]:
    found, after_primary = [], False
    for line in run_command([*gpg, "--with-colons", "--list-keys"], _CALL_TIME_LIMIT_SECONDS).text.splitlines():
        fields = line.split(":")
        if fields[0] == "fpr" and after_primary:
            found.append(fields[9])
        after_primary = fields[0] == "pub"
    return tuple(found)


def _public(path: str, what: str, command: str) -> str:
    """Return the text of a file with public keys."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read(1024 * 1024)
    except OSError as error:
        raise CheckError(path, f"is {what} that can be read ({error.strerror})", f"Make one: {command}", "not-found") from error
    if _SECRET_KEY.search(text):
        raise CheckError(path, "holds a secret key, where a public one belongs", f"Keep that off this host; make a public one: {command}", "secret-key")
    return text


def _need(method: str) -> None:
    if not available(method):
        raise CheckError("encryption", f"{method}: command not found", f"Install it: sudo apt-get install {METHODS[method]}", "not-installed")


def _succeeded(method: str, done: Completed, source: str = "") -> None:
    if done.exit_code == 0:
        return
    words = [line for line in done.error_text.splitlines() if line.strip() and not line.startswith("age: report unexpected")]
    came_back = "; ".join(words[-3:]) or "it said nothing"
    how = f"was killed by signal {-done.exit_code}" if done.exit_code < 0 else f"failed with exit code {done.exit_code}"
    hint, code = f"Try it by hand: {shlex.join(done.argv)}", "command-failed"
    if "No space left" in came_back or "no space left" in came_back:
        hint, code = "See what takes the space: df -h", "no-space"
    elif "Unusable public key" in came_back:
        hint, code = f"The key has expired or is not for encryption: gpg --show-keys {shlex.quote(source or 'KEY_FILE')}", "no-recipient"
    elif re.search(r"no identity matched|No secret key", came_back):
        hint, code = "Decrypt with the key of one of the recipients in the set's manifest.", "wrong-key"
    elif re.search(r"passphrase|pinentry|batchmode|Inappropriate ioctl", came_back):
        code = "wrong-key"
        hint = "The key has a passphrase. Hand over one without, or (gpg) unlock it in your own agent and leave the identity file out."
    raise CheckError(source or method, f"{method} {how}: {came_back}; nothing was left of it", hint, code)


def _incomplete(method: str, path: str) -> CheckError:
    return CheckError(path, f"{method} wrote less than it was given and reported success; the plain one was kept", f"{method} --version", "incomplete")
