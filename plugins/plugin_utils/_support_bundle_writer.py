# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""From what the hosts handed over to one redacted archive: the controller's half of a support bundle, without Ansible.

Everything goes through one redactor that knows the secrets and names of all hosts, into a private directory; from there into
the archive, if a last search of everything finds nothing.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime
import hashlib
import json
import os
import pathlib
import tarfile
import tempfile
import typing as t
import urllib.parse

from ..module_utils._files import sync_directory
from ..module_utils._support_bundle import INDEX_NAME, PRIVATE_NAME
from ._bundle_redaction import BundleRedactor, GateError, NotRedactable
from ._diagnosis import Diagnosis
from ._identities import Identities, is_address
from ._private_map import PrivateMap
from ._support_bundle_reader import MANIFEST_NAME, MAX_ARCHIVE_BYTES, SCHEMA, BundleError, row_of

_README = """This is a support bundle of stackops.runbook: what the hosts of a fleet said of themselves, without secrets.

manifest.json  every file: where it is from, its SHA-256, how long it took; and what is not there, with the reason
report/        what is wrong with the stacks, judged from the facts.json of all hosts
<host>/        one folder for each host

[secret:…] stands for a secret and [value:…] for another value; the same value has the same token on all hosts. Addresses in
100.64.0.0/10 (private) and 240.0.0.0/4 (public) and names like host1, user2 and domain3.example stand for others.

Judge it again, with newer rules: ansible-playbook stackops.runbook.diagnose -e diagnose_bundle=<this file>
"""

Raw = dict[str, t.Any]


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What one host handed over: its *archive*, or the *reason* why there is none."""

    archive: t.Optional[pathlib.Path] = None
    reason: str = ""
    reachable: bool = True


@dataclasses.dataclass(frozen=True)
class Settings:
    """How the bundle is written. *secrets* and *names* are known besides what the hosts say; *addresses* say where the hosts are."""

    collection_version: str
    now: datetime.datetime
    pseudonyms: bool = True
    secrets: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    users: tuple[str, ...] = ()


class BundleWriter:
    """One bundle. *staging* is a private, empty directory for what is redacted already."""

    def __init__(self, evidence: t.Mapping[str, Evidence], private_map: PrivateMap, settings: Settings, staging: pathlib.Path) -> None:
        self._evidence = {host: evidence[host] for host in sorted(evidence)}
        self._map = private_map
        self._settings = settings
        self._staging = staging
        self._folders: dict[str, str] = {}
        self._left_out = 0
        private = self._private_of_all()
        identities = None
        if settings.pseudonyms:
            # In order, so that the same fleet gets the same names.
            for host in self._evidence:
                folder = private_map.host(host.partition(".")[0] if not is_address(host) else host.replace(".", "-").replace(":", "-"))
                taken = sum(1 for other in self._folders.values() if other.partition("-")[0] == folder)
                self._folders[host] = f"{folder}-{taken + 1}" if taken else folder
            hosts = {*private["hosts"], *self._evidence, *settings.addresses}
            identities = Identities(hosts, {*private["users"], *settings.users}, private["kept"], private["domains"])
        else:
            self._folders = {host: urllib.parse.quote(host, safe="") for host in self._evidence}
        self._redactor = BundleRedactor(private_map, {*private["secrets"], *settings.secrets}, identities, private["kept"])

    def _private_of_all(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {name: set() for name in ("secrets", "kept", "hosts", "domains", "users")}
        for host, evidence in self._evidence.items():
            if evidence.archive is not None:
                content = json.loads(dict(_members(evidence.archive, host, only=PRIVATE_NAME))[PRIVATE_NAME])
                for name, values in found.items():
                    values.update(str(value) for value in content.get(name) or ())
        return found

    # -- redaction -----------------------------------------------------------------------------------------------------

    def redact(self, diagnosis: t.Optional[Diagnosis]) -> Raw:
        """Fill the staging directory and return the manifest."""
        hosts = {self._folders[host]: self._host(host, evidence) for host, evidence in self._evidence.items()}
        manifest: Raw = {
            "schema": SCHEMA,
            "created_at": self._settings.now.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "collection_version": self._settings.collection_version,
            "names": "pseudonyms" if self._settings.pseudonyms else "kept",
            "hosts": hosts,
            "report": self._report(diagnosis, hosts) if diagnosis is not None else [],
        }
        self._stage("README.txt", _README.encode())
        self._stage(MANIFEST_NAME, json.dumps(manifest, indent=2, ensure_ascii=False).encode() + b"\n")
        return manifest

    @property
    def left_out(self) -> int:
        """How many files are not in the bundle because they could not be redacted."""
        return self._left_out

    def _host(self, host: str, evidence: Evidence) -> Raw:
        if evidence.archive is None:
            return {"reachable": evidence.reachable, "reason": self._redactor.name(evidence.reason), "files": [], "left_out": []}
        folder = self._folders[host]
        index: Raw = json.loads(dict(_members(evidence.archive, host, only=INDEX_NAME))[INDEX_NAME])
        entries = {str(entry["path"]): entry for entry in index["files"] if "left_out" not in entry}
        files, left_out = [], [self._shown(entry) for entry in index["files"] if "left_out" in entry]
        for name, data in _members(evidence.archive, host):
            if name in (PRIVATE_NAME, INDEX_NAME):
                continue
            entry = entries.get(name)
            if entry is None:
                raise BundleError(f"{host}: its archive has a file {name!r} that its index does not name.")
            shown = self._shown(entry)
            try:
                content = self._redactor.file(str(entry["kind"]), data)
            except NotRedactable as refusal:
                self._left_out += 1
                left_out.append({**shown, "left_out": f"not redacted: {refusal}"})
                continue
            redacted = {kind: number for kind, number in sorted(self._redactor.counts.items()) if number}
            self._stage(f"{folder}/{shown['path']}", content)
            shown.update(bytes=len(content), sha256=hashlib.sha256(content).hexdigest(), redacted=redacted)
            files.append(shown)
        return {
            "reachable": True,
            "collected_at": index["collected_at"],
            "duration_ms": index["duration_ms"],
            "engine": index["engine"],
            "projects": index["projects"],
            "files": sorted(files, key=lambda entry: str(entry["path"])),
            "left_out": sorted(left_out, key=lambda entry: str(entry["path"])),
        }

    def _shown(self, entry: Raw) -> Raw:
        """Return an entry of the index as the manifest has it: its words are redacted like the files."""
        shown: Raw = {}
        for key, value in entry.items():
            if key != "kind":
                shown[str(key)] = self._redactor.name(value) if isinstance(value, str) else value
        shown["path"] = "/".join(part for part in shown["path"].split("/") if part not in ("", ".", ".."))
        return shown

    def _report(self, diagnosis: Diagnosis, hosts: t.Mapping[str, Raw]) -> list[Raw]:
        """Judge the redacted facts, as whoever gets the bundle can, and return the entries of the report's files."""
        rows = {folder: row_of(row, self._staging / folder / "facts.json") for folder, row in hosts.items()}
        written = diagnosis.write(diagnosis.judge(rows))
        entries = []
        for path in written.paths.values():
            content = path.read_bytes()
            name = f"report/{path.name}"
            self._stage(name, content)
            entries.append({"path": name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()})
        return entries

    def _stage(self, name: str, content: bytes) -> None:
        target = self._staging / name
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)

    # -- the last search, and the archive ------------------------------------------------------------------------------

    def search(self) -> None:
        """Search everything that is about to be written once more.

        :raises GateError: there is a secret in it.
        """
        found = []
        for path in self._staged():
            name = path.relative_to(self._staging).as_posix()
            line = self._redactor.search(path.read_bytes())
            if line is not None:
                found.append(f"{name} line {line}")
            if self._redactor.search(name.encode()) is not None:
                found.append("the name of a file")
        if found:
            raise GateError(
                f"The bundle was not written: a secret is left in {', '.join(found[:5])}. "
                "Leave the source of that file out, and report this as a defect of the collection."
            )

    def _staged(self) -> list[pathlib.Path]:
        return sorted(path for path in self._staging.rglob("*") if path.is_file())

    def pack(self, directory: pathlib.Path) -> pathlib.Path:
        """Write the archive into *directory*, whole or not at all, and return its path."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        stem = "support-bundle-" + self._settings.now.astimezone(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        moment = int(self._settings.now.timestamp())
        descriptor, temporary = tempfile.mkstemp(prefix=".new-", dir=directory)
        try:
            with os.fdopen(descriptor, "wb") as target:
                with tarfile.open(fileobj=target, mode="w:gz", compresslevel=6, format=tarfile.PAX_FORMAT) as archive:
                    for path in self._staged():
                        member = tarfile.TarInfo(f"{stem}/{path.relative_to(self._staging).as_posix()}")
                        member.size, member.mtime, member.mode = path.stat().st_size, moment, 0o644
                        with open(path, "rb") as content:
                            archive.addfile(member, content)
                target.flush()
                os.fsync(target.fileno())
            path = _publish(temporary, directory, stem)
        except BaseException:
            pathlib.Path(temporary).unlink(missing_ok=True)
            raise
        sync_directory(directory)
        return path

    def totals(self, manifest: Raw) -> Raw:
        """Return how many hosts, files and replaced things there are."""
        replaced: collections.Counter[str] = collections.Counter()
        for host in manifest["hosts"].values():
            for entry in host["files"]:
                replaced.update(entry["redacted"])
        return {
            "hosts": len(manifest["hosts"]),
            "without_evidence": sum(1 for host in manifest["hosts"].values() if not host["files"]),
            "files": sum(len(host["files"]) for host in manifest["hosts"].values()),
            "left_out": self._left_out,
            "redacted": dict(sorted(replaced.items())),
        }


def _publish(temporary: str, directory: pathlib.Path, stem: str) -> pathlib.Path:
    """Give the archive a name that no other one has."""
    for number in range(1, 1000):
        path = directory / (f"{stem}.tar.gz" if number == 1 else f"{stem}-{number}.tar.gz")
        try:
            os.link(temporary, path)
        except FileExistsError:
            continue
        os.unlink(temporary)
        return path
    raise BundleError(f"{directory}: there are too many bundles of this second.")


def _members(archive: pathlib.Path, host: str, only: str = "") -> t.Iterator[tuple[str, bytes]]:
    """Yield the regular files of an archive. What a host sent is data: names that lead elsewhere and too much of it are refused."""
    left = MAX_ARCHIVE_BYTES
    try:
        with tarfile.open(archive, "r:gz") as opened:
            for member in opened:
                if only and member.name != only:
                    continue
                if not member.isfile() or member.name.startswith("/") or ".." in member.name.split("/") or member.size > left:
                    raise BundleError(f"{host}: its archive has a member that does not belong there: {member.name!r}")
                content = opened.extractfile(member)
                data = content.read() if content is not None else b""
                left -= len(data)
                yield member.name, data
                if only:
                    return
    except (tarfile.TarError, OSError, EOFError) as error:
        raise BundleError(f"{host}: its archive cannot be read: {error}") from error
    if only:
        raise BundleError(f"{host}: its archive has no {only}.")
