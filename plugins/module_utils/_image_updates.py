# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What an image lacks by its own distribution's word, without a scanner: pending updates of Debian, Ubuntu and Alpine.

A disposable container of the same image is asked for it: it has the image's package manager and its list of what is
installed, no capabilities, and is gone with the question. What cannot be asked is unknown with its reason, never "nothing pending".
"""

from __future__ import annotations

import dataclasses
import re
import time
import typing as t
import uuid

from ._engine import Engine, HelperSpec
from ._envelope import CheckError
from ._process import Completed

_APT_LINE = re.compile(r"^(?P<package>[^/\s]+)/(?P<suites>\S+) (?P<candidate>\S+) \S+ \[upgradable from: (?P<installed>[^\]]+)\]$", re.MULTILINE)
_APK_LINE = re.compile(r"^\(\d+/\d+\) Upgrading (?P<package>\S+)(?: \[[^\]]*\])? \((?P<installed>\S+) -> (?P<candidate>\S+)\)", re.MULTILINE)
# apt ends with 0 where some of its sources did not answer.
_APT_TROUBLE = re.compile(r"^(?:E:|W: Failed to fetch|Err:)[^\n]*", re.MULTILINE)
_APK_TROUBLE = re.compile(r"^(?:ERROR:|WARNING: (?:Ignoring|opening|fetching|updating))[^\n]*", re.MULTILINE)
_ONE_LINE_SOURCE = re.compile(r"^\s*deb\s[^\n]*", re.MULTILINE)
_DEB822_FIELD = re.compile(r"^(?:URIs|Suites):[^\n]*", re.MULTILINE | re.IGNORECASE)
_SECURITY_ARCHIVES = {
    "debian": "deb http://deb.debian.org/debian-security {codename}-security main",
    "ubuntu": "deb http://security.ubuntu.com/ubuntu {codename}-security main restricted universe multiverse",
}
_SUPPORTED = ("debian", "ubuntu", "alpine")
_SCRATCH = "/tmp/stackops-updates"  # noqa: S108  inside the disposable container
_SOURCES_BYTES = 1024 * 1024

# Without capabilities even root may not become another user, nor write into a directory of one.
_APT_OPTIONS = (
    "-o", "APT::Sandbox::User=root", "-o", f"Dir::State::lists={_SCRATCH}/lists", "-o", f"Dir::Cache={_SCRATCH}/cache",
    "-o", f"Dir::Etc::sourcelist={_SCRATCH}/none", "-o", f"Dir::Etc::sourceparts={_SCRATCH}/sources", "-o", "Acquire::Languages=none",
    "-o", "Acquire::Retries=0", "-o", "Acquire::http::Timeout=20", "-o", "Debug::NoLocking=1",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class PendingUpdate:
    """One package of an image for which its distribution has a newer version; *security*: from an archive of security updates."""

    package: str
    installed: str
    candidate: str
    security: bool
    origin: str

    def as_dict(self) -> dict[str, t.Any]:
        """Return it as a module returns it."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class ImageUpdates:
    """What could be known of one image; *reason* says why it is unknown."""

    os: str = ""
    packages: tuple[PendingUpdate, ...] = ()
    reason: str = ""
    hint: str = ""

    @property
    def security(self) -> tuple[PendingUpdate, ...]:
        """The security updates among them."""
        return tuple(package for package in self.packages if package.security)


def parse_os_release(text: str) -> dict[str, str]:
    """Return the pairs of ``/etc/os-release``."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {name.strip(): value.strip().strip("\"'") for name, dummy, value in pairs}


def family_of(release: t.Mapping[str, str]) -> str:
    """Return ``debian``, ``ubuntu``, ``alpine``, or nothing for what is none of them, nor made from one."""
    words = [release.get("ID", ""), *release.get("ID_LIKE", "").split()]
    return next((word for word in words if word in _SUPPORTED), "")


def parse_apt_list(text: str) -> tuple[PendingUpdate, ...]:
    """Return the updates that ``apt list --upgradable`` tells of, those of security first."""
    found = [
        PendingUpdate(line["package"], line["installed"], line["candidate"], "security" in line["suites"], line["suites"]) for line in _APT_LINE.finditer(text)
    ]
    return tuple(sorted(found, key=lambda one: (not one.security, one.package)))


def parse_apk_simulation(text: str) -> tuple[PendingUpdate, ...]:
    """Return the upgrades that ``apk upgrade --simulate`` would make.

    Alpine has no archive of security updates: into a released branch go fixes alone, so all of them count.
    """
    return tuple(PendingUpdate(line["package"], line["installed"], line["candidate"], True, "alpine") for line in _APK_LINE.finditer(text))


def sources_to_ask(release: t.Mapping[str, str], files: t.Mapping[str, str]) -> dict[str, str]:
    """Return the sources that tell of security updates, as file names and contents: those of the image, else the distribution's own.

    *files* are the image's. Others are left out, as reading what all of a distribution has takes a minute. Where there is no
    archive of security updates, as in Debian's unstable, all of them are asked.
    """
    kept: dict[str, str] = {}
    for path, content in sorted(files.items()):
        name = path.rpartition("/")[2]
        if name.endswith(".sources"):
            stanzas = [stanza for stanza in re.split(r"\n\s*\n", content) if any("security" in field for field in _DEB822_FIELD.findall(stanza))]
            text = "\n\n".join(stanzas)
        else:
            text = "\n".join(line for line in _ONE_LINE_SOURCE.findall(content) if "security" in line)
        if text:
            kept[name] = text + "\n"
    if kept:
        return kept
    codename = release.get("VERSION_CODENAME", "")
    template = _SECURITY_ARCHIVES.get(release.get("ID", ""), "")
    # Of a derivative the name of its parent's release is not known.
    if template and codename and codename != "sid" and "/sid" not in release.get("PRETTY_NAME", ""):
        return {"security.list": template.format(codename=codename) + "\n"}
    return {path.rpartition("/")[2]: content for path, content in files.items()}


def trouble(pattern: re.Pattern[str], completed: Completed) -> str:
    """Return what a package manager complained of, on one line."""
    found = pattern.search(completed.error_text + "\n" + completed.text)
    return " ".join(found[0].split())[:300] if found else ""


def read_updates(engine: Engine, image_id: str, network: str, timeout_seconds: float) -> ImageUpdates:
    """Return the pending updates of an image, from a disposable container of it in *network*."""
    spec = HelperSpec(
        name=f"stackops-updates-{uuid.uuid4().hex[:12]}",
        image=image_id,
        network_mode=network,
        labels={"stackops.runbook": "image-updates"},
    )
    name = ""
    try:
        with engine.helper(spec) as container:
            asked = _Asked(engine, container, time.monotonic() + timeout_seconds)
            release = asked.os_release()
            name = release.get("PRETTY_NAME", "")
            family = family_of(release)
            if not family:
                return ImageUpdates(name, reason=f"{name or 'what it is made of'} is neither Debian, Ubuntu nor Alpine", hint="Use an image scanner.")
            packages = asked.apk() if family == "alpine" else asked.apt(release)
            return ImageUpdates(name, packages)
    except CheckError as error:
        return ImageUpdates(name, reason=_reason(error), hint=error.hint or "Ask by hand: docker run --rm IMAGE apt-get update")


def _reason(error: CheckError) -> str:
    if '"cat"' in error.reason:
        return "the image has no shell tools, so it cannot be asked"
    return error.reason


class _Asked:
    """A disposable container, and how long it may be asked."""

    def __init__(self, engine: Engine, container: str, deadline: float) -> None:
        self._engine = engine
        self._container = container
        self._deadline = deadline

    def _run(self, argv: t.Sequence[str], stdin: t.Optional[bytes] = None) -> Completed:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise CheckError(argv[0], "no time is left to ask the image", "Allow more time for the packages.", "timeout")
        completed = self._engine.exec(self._container, argv, left, "0:0", {"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}, stdin)
        if completed.exit_code in (126, 127) and "executable file not found" in completed.error_text + completed.text:
            raise CheckError(argv[0], f"the image has no {argv[0]}", "Use an image scanner.", "not-installed")
        return completed

    def os_release(self) -> dict[str, str]:
        """Return what the image says that it is."""
        return parse_os_release(self._run(["cat", "/etc/os-release"]).text)

    def apt(self, release: t.Mapping[str, str]) -> tuple[PendingUpdate, ...]:
        """Return the pending updates by apt, security updates included also where the image's own sources lack them."""
        found = self._engine.read_archive(self._container, "/etc/apt", _SOURCES_BYTES)
        files = {path: content.decode("utf-8", "replace") for path, content in found.items() if path.endswith((".list", ".sources"))}
        sources = sources_to_ask(release, files)
        if not sources:
            raise CheckError("apt", "the image has no sources of packages", "Use an image scanner.", "missing")
        self._run(["mkdir", "-p", f"{_SCRATCH}/sources", f"{_SCRATCH}/lists/partial", f"{_SCRATCH}/cache/archives/partial"])
        for name, content in sources.items():
            self._run(["tee", f"{_SCRATCH}/sources/{name}"], content.encode())
        updated = self._run(["apt-get", "--quiet=2", *_APT_OPTIONS, "update"])
        said = trouble(_APT_TROUBLE, updated)
        if updated.exit_code != 0 or said:
            raise CheckError("apt-get update", said or f"exit code {updated.exit_code}", _NETWORK_HINT, "unreachable")
        listed = self._run(["apt", "--quiet=2", *_APT_OPTIONS, "list", "--upgradable"])
        if listed.exit_code != 0:
            said = trouble(_APT_TROUBLE, listed) or f"exit code {listed.exit_code}"
            raise CheckError("apt list --upgradable", said, "Run it by hand in a container of the image.", "failed")
        return parse_apt_list(listed.text)

    def apk(self) -> tuple[PendingUpdate, ...]:
        """Return the pending updates by apk."""
        simulated = self._run(["apk", "--no-progress", "--no-cache", "--simulate", "upgrade"])
        said = trouble(_APK_TROUBLE, simulated)
        if simulated.exit_code != 0 or said:
            raise CheckError("apk upgrade", said or f"exit code {simulated.exit_code}", _NETWORK_HINT, "unreachable")
        return parse_apk_simulation(simulated.text)


_NETWORK_HINT = "Containers of this host do not reach the packages of the distribution: let them, or set updates_network to host."
