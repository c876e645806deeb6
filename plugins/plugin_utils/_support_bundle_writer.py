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
import errno
import hashlib
import json
import os
import pathlib
import shutil
import tarfile
import tempfile
import typing as t

from ..module_utils._envelope import CheckError
from ..module_utils._extraction import safe_name
from ..module_utils._files import sync_directory
from ..module_utils._support_bundle import INDEX_NAME, PRIVATE_NAME
from ._bundle_redaction import BundleRedactor, GateError, NotRedactable
from ._diagnosis import Diagnosis
from ._host_names import path_name
from ._identities import Identities, is_address
from ._private_map import PrivateMap
from ._support_bundle_reader import MANIFEST_NAME, SCHEMA, BundleError, members_of, parsed, row_of

_README = """This is a support bundle of stackops.runbook: what the hosts of a fleet said of themselves, without secrets.

manifest.json  every file: where it is from, its SHA-256, how long it took; and what is not there, with the reason
report/        what is wrong with the stacks, judged from the facts.json of all hosts
<host>/        one folder for each host

[secret:…] stands for a secret and [value:…] for another value; the same value has the same token on all hosts. Addresses in
100.64.0.0/10 (private) and 240.0.0.0/4 (public) and names like host1, user2 and domain3.example stand for others.

Judge it again, with newer rules: ansible-playbook stackops.runbook.diagnose -e diagnose_bundle=<this file>
"""

# What is redacted may become longer, or the same as something else.
_UNUSABLE_NAME = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)
_DAMAGED = "its archive cannot be used"

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
            self._folders = {host: path_name(host) for host in self._evidence}
        self._redactor = BundleRedactor(private_map, {*private["secrets"], *settings.secrets}, identities, private["kept"])

    def _private_of_all(self) -> dict[str, set[str]]:
        """Return what all hosts say is private. One whose archive cannot be read is from here on one without, with the reason."""
        found: dict[str, set[str]] = {name: set() for name in ("secrets", "kept", "hosts", "domains", "users")}
        for host, evidence in self._evidence.items():
            if evidence.archive is None:
                continue
            try:
                content = _document(evidence.archive, PRIVATE_NAME)
                for name, values in found.items():
                    values.update(str(value) for value in _list(content, name))
            except BundleError as error:
                self._evidence[host] = Evidence(None, f"{_DAMAGED}: {error}")
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
        self._stage(MANIFEST_NAME, json.dumps(manifest, indent=2, ensure_ascii=False).encode(errors="replace") + b"\n")
        return manifest

    @property
    def left_out(self) -> int:
        """How many files are not in the bundle because they could not be redacted."""
        return self._left_out

    def _host(self, host: str, evidence: Evidence) -> Raw:
        if evidence.archive is None:
            return self._without(evidence.reachable, evidence.reason)
        try:
            return self._redacted(self._folders[host], evidence.archive)
        except BundleError as error:
            # Whatever else there is of it does not belong together any more.
            shutil.rmtree(self._staging / self._folders[host], ignore_errors=True)
            return self._without(True, f"{_DAMAGED}: {error}")

    def _without(self, reachable: bool, reason: str) -> Raw:
        return {"reachable": reachable, "reason": self._redactor.name(reason), "files": [], "left_out": []}

    def _redacted(self, folder: str, archive: pathlib.Path) -> Raw:
        index = _document(archive, INDEX_NAME)
        listed = [_entry(entry) for entry in _list(index, "files")]
        entries = {entry["path"]: entry for entry in listed if "left_out" not in entry}
        files, left_out = [], [self._shown(entry) for entry in listed if "left_out" in entry]
        for name, data in members_of(archive, lambda name: name not in (PRIVATE_NAME, INDEX_NAME)):
            # What a host sent is data: a name that leads elsewhere is none that its index may have.
            entry = entries.pop(name, None)
            if entry is None:
                raise BundleError(f"it has a file {name!r} that its index does not name")
            shown = self._shown(entry)
            try:
                content = self._redactor.file(entry["kind"], data)
                self._stage(f"{folder}/{shown['path']}", content)
            except NotRedactable as refusal:
                self._left_out += 1
                left_out.append({**shown, "left_out": f"not redacted: {refusal}"})
                continue
            except OSError as error:
                if error.errno not in _UNUSABLE_NAME:
                    raise
                self._left_out += 1
                left_out.append({**shown, "left_out": "redacted, its name is too long or that of another file"})
                continue
            redacted = {kind: number for kind, number in sorted(self._redactor.counts.items()) if number}
            shown.update(bytes=len(content), sha256=hashlib.sha256(content).hexdigest(), redacted=redacted)
            files.append(shown)
        return {
            "reachable": True,
            **{key: index[key] for key in ("collected_at", "duration_ms", "engine") if isinstance(index.get(key), (str, int, float))},
            "projects": [project for project in _list(index, "projects") if isinstance(project, str)],
            "files": sorted(files, key=lambda entry: str(entry["path"])),
            "left_out": sorted(left_out, key=lambda entry: str(entry["path"])),
        }

    def _shown(self, entry: Raw) -> Raw:
        """Return an entry of the index as the manifest has it: its words are redacted like the files."""
        shown: Raw = {}
        for key, value in entry.items():
            if key != "kind" and isinstance(value, (str, int, float)):
                shown[key] = self._redactor.name(value) if isinstance(value, str) else value
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


def _document(archive: pathlib.Path, name: str) -> Raw:
    """Return the mapping that a file of a host's archive holds."""
    for dummy, content in members_of(archive, name.__eq__):
        document = parsed(content)
        if not isinstance(document, dict):
            raise BundleError(f"its {name} is damaged")
        return document
    raise BundleError(f"it has no {name}")


def _list(document: Raw, name: str) -> list[t.Any]:
    found = document.get(name) or []
    if not isinstance(found, list):
        raise BundleError(f"its list of {name} is none")
    return found


def _entry(entry: t.Any) -> Raw:
    """Return an entry of a host's index, if it is one."""
    if not isinstance(entry, dict) or not isinstance(entry.get("path"), str) or ("left_out" not in entry and not isinstance(entry.get("kind"), str)):
        raise BundleError("its index has an entry that is none")
    try:
        return {**entry, "path": safe_name(entry["path"])}
    except CheckError as error:
        raise BundleError(f"its index names a file that does not belong there: {error.reason}") from error
