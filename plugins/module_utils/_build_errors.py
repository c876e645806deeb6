# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Why a build or a pull of an image failed, from what the builder printed: BuildKit, the classic builder, Compose v1 and v2. Pure."""

from __future__ import annotations

import dataclasses
import re
import typing as t

KINDS = (
    "dockerfile-syntax",
    "base-image-missing",
    "package-install",
    "network",
    "disk",
    "build-context",
    "command-failed",
    "engine",
    "unknown",
)
_LAST_LINES = 5
_LINE_CHARACTERS = 300

_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07]*\x07|[\x00-\x08\x0b-\x1f\x7f]")
# What BuildKit puts before a line of a step: its number and the seconds.
_STEP_PREFIX = re.compile(r"^(?:#\d+ )?(?:\d+\.\d+ )?")
_NOISE = re.compile(r"^(?:-{3,}|Service '.*' failed to build.*|#\d+ .*|failed to solve: process .*|target .*: failed to solve: process .*|)$")


@dataclasses.dataclass(frozen=True)
class BuildFailure:
    """What kind of failure it was, in one sentence, and what to do about it; what else was named in the output is there, else ``None``."""

    kind: str
    summary: str
    hint: str
    package: t.Optional[str] = None
    manager: t.Optional[str] = None
    image: t.Optional[str] = None
    file: t.Optional[str] = None
    line: t.Optional[int] = None
    command: t.Optional[str] = None
    exit_code: t.Optional[int] = None
    last_lines: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, t.Any]:
        """Return it as a fact."""
        return {**dataclasses.asdict(self), "last_lines": list(self.last_lines)}


def classify_build(output: str) -> BuildFailure:
    """Return why a build whose whole *output* this is has failed."""
    text = "\n".join(_STEP_PREFIX.sub("", line).rstrip() for line in _ESCAPES.sub("", output.replace("\r\n", "\n").replace("\r", "\n")).split("\n"))
    # Lines of steps that went well come before the failure: where several patterns fit, the last place counts.
    looks = (_engine, _disk, _syntax, _base_image, _context, _run_network, _package, _command)
    found = next(filter(None, (look(text) for look in looks)), None)
    if found is None:
        said = (_last(text) or ["the build failed and said nothing"])[-1]
        found = BuildFailure("unknown", said, "Run the build by hand and read what it prints.")
    command, exit_code = _failed_command(text)
    return dataclasses.replace(found, command=found.command or command, exit_code=exit_code, last_lines=tuple(_last(text)))


def _last(text: str) -> list[str]:
    lines = [line.strip()[:_LINE_CHARACTERS] for line in text.splitlines() if line.strip() and not _NOISE.fullmatch(line.strip())]
    return lines[-_LAST_LINES:]


def _search_last(pattern: t.Pattern[str], text: str) -> t.Optional[t.Match[str]]:
    return next(reversed(list(pattern.finditer(text))), None)


# -- the builder itself ---------------------------------------------------------------------------------------------

_ENGINE = re.compile(r"Cannot connect to the Docker daemon|permission denied while trying to connect to the Docker|Couldn't connect to Docker daemon")
_DISK = re.compile(r"no space left on device|disk quota exceeded|ENOSPC", re.IGNORECASE)
_SYNTAX = re.compile(
    r"dockerfile parse error(?: on)?(?: line (?P<line>\d+))?: (?P<parse>.+)"
    r"|failed to parse Dockerfile: (?P<whole>.+)"
    r"|failed to solve: (?P<solve>file with no instructions.*|no build stage in current context.*|failed to parse stage name.*|failed to process .*)"
    r"|^(?:Error response from daemon: |failed to solve: )?(?P<bare>no build stage in current context|file with no instructions"
    r"|the Dockerfile \(Dockerfile\) cannot be empty|invalid reference format.*)",
    re.IGNORECASE | re.MULTILINE,
)


def _engine(text: str) -> t.Optional[BuildFailure]:
    found = _ENGINE.search(text)
    return BuildFailure("engine", found.group(), "Start the engine (sudo systemctl start docker), or run with become: true.") if found else None


def _disk(text: str) -> t.Optional[BuildFailure]:
    if not _DISK.search(text):
        return None
    hint = "See what is used (df -h; docker system df) and make room: -e remediate_actions=docker_cleanup"
    return BuildFailure("disk", "no space left on the disk that the build writes to", hint)


def _syntax(text: str) -> t.Optional[BuildFailure]:
    found = _search_last(_SYNTAX, text)
    if found is None:
        return None
    message = next(found[name] for name in ("parse", "whole", "solve", "bare") if found[name])
    number = int(found["line"]) if found["line"] else None
    where = f"line {number} of the Dockerfile" if number else "the Dockerfile"
    return BuildFailure("dockerfile-syntax", f"{where} cannot be read: {message.strip()}", f"Correct {where}.", line=number)


# -- images ---------------------------------------------------------------------------------------------------------

_NO_CONNECTION = (
    r"dial tcp|no such host|i/o timeout|TLS handshake timeout|connection refused|connection reset|network is unreachable|no route to host"
    r"|context deadline exceeded|Client\.Timeout|x509: |server gave HTTP response to HTTPS client|tls: first record|proxyconnect|EOF$"
)
_DENIED = re.compile(
    r"pull access denied for (?P<denied>[^\s,]+)"
    r"|manifest for (?P<manifest>\S+) not found"
    r"|failed to resolve source metadata for (?P<metadata>\S+): .*(?:not found|pull access denied|insufficient_scope|unauthorized|denied)"
    r"|(?:invalid from flag value|failed to resolve source) (?P<stage>\S+): (?:pull access denied|.*not found)"
    r"|No such image: (?P<local>\S+)"
    r"|^unauthorized\b|manifest unknown|repository name not known to registry",
    re.MULTILINE,
)
_REGISTRY = re.compile(
    r"(?:Get|Head) \"?(?P<url>https?://(?P<host>[^/\s\"]+)/v2/[^\s\"]*)\"?: (?P<reason>.*(?:" + _NO_CONNECTION + r").*)$"
    r"|error pulling image configuration: (?P<config>.+)$",
    re.MULTILINE,
)
_FROM = re.compile(r"^(?:Step \d+/\d+ : |\[.*\] )?FROM (\S+)", re.MULTILINE)
_RESOLVED = re.compile(
    r"load metadata for (?P<kit>\S+?):?$|failed to resolve source metadata for (?P<solve>\S+): |invalid from flag value (?P<stage>\S+): ", re.MULTILINE
)


def _image_named(text: str) -> t.Optional[str]:
    resolved = _search_last(_RESOLVED, text)
    step = _search_last(_FROM, text)
    return resolved["kit"] or resolved["solve"] or resolved["stage"] if resolved else step[1] if step else None


def _base_image(text: str) -> t.Optional[BuildFailure]:
    unreachable = _search_last(_REGISTRY, text)
    if unreachable is not None:
        image, host = _image_named(text), unreachable["host"] or "the registry"
        reason = (unreachable["reason"] or unreachable["config"] or "").strip()
        tls = "x509" in reason
        hint = f"See that this host reaches it: curl -v https://{host}/v2/" + ("; trust the authority that signed its certificate." if tls else "")
        if image and host == "registry-1.docker.io":
            hint += f" Or {image} is meant to be an image of this host: then build it first, under this name."
        return BuildFailure("network", f"the registry {host} of {image or 'an image'} cannot be reached: {reason[-200:]}", hint, image=image)
    missing = list(_DENIED.finditer(text))
    if not missing:
        return None
    named = next((value for found in missing for value in found.groupdict().values() if value), None) or _image_named(text)
    image = named.rstrip(":") if named else None
    hint = f"See that name and tag are right: docker manifest inspect {image or 'IMAGE'}. Where it is private, log in first: docker login"
    return BuildFailure("base-image-missing", f"the registry has no image {image or 'of this name'}, or does not give it to this host", hint, image=image)


# -- files ----------------------------------------------------------------------------------------------------------

_CONTEXT = re.compile(
    r"(?:COPY|ADD) failed: .*?(?:stat |lstat )?(?P<classic>[^\s:]+): (?:file does not exist|no such file or directory)"
    r"|failed to (?:calculate checksum|compute cache key).*?: \"?(?P<kit>[^\s\"]+)\"?: not found"
    r"|failed to read dockerfile: open (?P<dockerfile>\S+): no such file or directory"
    r"|(?:Cannot locate specified Dockerfile|unable to evaluate symlinks in Dockerfile path.*): (?P<located>\S+)"
    r"|unable to prepare context: (?:path )?\"?(?P<directory>[^\s\"]+)\"? not found"
    r"|build path (?P<path>\S+) either does not exist"
)


def _context(text: str) -> t.Optional[BuildFailure]:
    found = _search_last(_CONTEXT, text)
    if found is None:
        return None
    file = next(value for value in found.groupdict().values() if value)
    hint = f"See that {file} is in the directory that the Compose file names under build, and that .dockerignore does not leave it out."
    return BuildFailure("build-context", f"the build has no file {file}", hint, file=file)


# -- what a step ran ------------------------------------------------------------------------------------------------

_RUN_NETWORK = re.compile(
    r"Temporary failure (?:in name resolution|resolving '(?P<apt>[^']+)')|Could not resolve (?:host: |')(?P<host>[^\s']+)"
    r"|NewConnectionError|NameResolutionError|ConnectTimeoutError|ReadTimeoutError|Name or service not known"
    r"|getaddrinfo (?:ENOTFOUND|EAI_AGAIN) (?P<npm>\S+)|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH"
    r"|dns error|error sending request for url \((?P<uv>[^)]+)\)|Network is unreachable|Connection timed out"
    r"|CERTIFICATE_VERIFY_FAILED|SELF_SIGNED_CERT|self[- ]signed certificate|certificate verify failed"
    r"|WARNING: (?:fetching|opening) (?P<apk>\S+): (?:temporary error|network error|DNS).*",
    re.IGNORECASE,
)
#: With one of these the index was reached, and did not have what was asked for.
_REACHED = re.compile(
    r"\(from versions: (?!none\))|ResolutionImpossible|npm (?:error|ERR!) code (?:E404|ETARGET|ERESOLVE)|was not found in the package registry"
    r"|Failed (?:building wheel|to build)|Could not build wheels|subprocess-exited-with-error"
)


def _run_network(text: str) -> t.Optional[BuildFailure]:
    found = _search_last(_RUN_NETWORK, text)
    if found is None or _REACHED.search(text) or _failed_command(text)[0] is None:
        return None
    host = next((value for value in found.groupdict().values() if value), None)
    tls = "certificate" in found.group().lower() or "CERT" in found.group()
    what = "a certificate that the build does not trust" if tls else f"no way to {host}" if host else "no way to the index of packages"
    hint = (
        "Give the build the certificate of the proxy's authority (COPY it in and run update-ca-certificates)."
        if tls
        else "See that containers of this host resolve names and reach the index: docker run --rm BASE_IMAGE getent hosts pypi.org. "
        "Behind a proxy, give it as build argument (HTTP_PROXY, HTTPS_PROXY)."
    )
    return BuildFailure("network", f"the build has {what}: {found.group()[:200]}", hint)


@dataclasses.dataclass(frozen=True)
class _Packages:
    """How one installer says that it could not install something: the group ``package`` names it."""

    manager: str
    pattern: t.Pattern[str]
    reason: str
    hint: str


_REQUIREMENT = r"(?P<package>[A-Za-z0-9][A-Za-z0-9._-]*)"
_PACKAGES = (
    _Packages(
        "pip",
        re.compile(rf"Cannot install {_REQUIREMENT}.* because these package versions have conflicting dependencies"),
        "its requirements contradict those of another package",
        "Loosen one of the versions that the output names under 'The conflict is caused by'.",
    ),
    _Packages(
        "pip",
        re.compile(rf"(?:Failed (?:building wheel|to build '?)|Could not build wheels) for {_REQUIREMENT}|Failed to build '?(?P<other>[\w.-]+)"),
        "it could not be compiled",
        "Install what it needs to compile before it (a compiler, python3-dev, libraries' -dev packages), or take a version that has a wheel.",
    ),
    _Packages(
        "pip",
        re.compile(rf"Invalid requirement: ['\"]?{_REQUIREMENT}"),
        "the line in the requirements cannot be read",
        "Correct that line of the requirements.",
    ),
    _Packages(
        "pip",
        re.compile(rf"No matching distribution found for {_REQUIREMENT}"),
        "there is no such package, or not in this version for this Python",
        "Correct name and version in the requirements. (from versions: none) means that the index has nothing of this name, or was not reached.",
    ),
    _Packages(
        "apt",
        re.compile(r"E: (?:Unable to locate package|Package '?|Version '[^']+' for ')\s*(?P<package>[^\s']+)"),
        "the package lists do not have it",
        "Correct its name for this release of the base image, and run apt-get update in the same RUN.",
    ),
    _Packages(
        "apk",
        re.compile(r"^\s+(?P<package>\S+) \(no such package\)", re.MULTILINE),
        "there is no such package",
        "Correct its name for this release of Alpine.",
    ),
    _Packages(
        "dnf",
        re.compile(r"(?:No match for argument|Unable to find a match|No package):? (?P<package>\S+)"),
        "there is no such package",
        "Correct its name, or enable the repository that has it.",
    ),
    _Packages(
        "npm",
        re.compile(
            r"(?:npm (?:error|ERR!) 404\s+(?:The requested resource )?'|notarget No matching version found for |Couldn't find package \")"
            r"(?P<package>@?[^@\s'\"]+)"
        ),
        "the registry has no such package or version",
        "Correct name and version in package.json; a private package needs a login to its registry.",
    ),
    _Packages(
        "npm",
        re.compile(r"ERESOLVE[\s\S]*?While resolving: (?P<package>@?[^@\s]+)"),
        "its peer dependencies contradict each other",
        "Align the versions that npm names.",
    ),
    _Packages(
        "uv",
        re.compile(
            r"Because (?P<package>[\w.-]+) was not found in the package registry"
            r"|No solution found when resolving dependencies[\s\S]*?Because (?P<other>[\w.-]+)"
        ),
        "no versions fit together, or there is no such package",
        "Correct name and version in the requirements.",
    ),
    _Packages(
        "poetry",
        re.compile(r"Because .*? depends on (?P<package>[\w.-]+) \([^)]*\) which doesn't match any versions"),
        "there is no such version",
        "Correct the version in pyproject.toml, then lock again.",
    ),
)
_COMPILING = re.compile(r"subprocess-exited-with-error")
_COLLECTED = re.compile(rf"Collecting {_REQUIREMENT}")
_NEEDED = (
    (re.compile(r"pg_config executable not found"), "It needs pg_config: install libpq-dev and a compiler before it, or take psycopg2-binary."),
    (
        re.compile(r"gcc'? failed: No such file|gcc: not found|command '[^']*(?:gcc|cc|g\+\+)' failed|No such file or directory: '[^']*gcc'"),
        "It needs a compiler: install build-essential before it (Alpine: build-base).",
    ),
    (re.compile(r"Python\.h: No such file"), "It needs the headers of Python: install python3-dev before it."),
    (re.compile(r"fatal error: (?P<header>\S+): No such file"), "It needs the header {header}: install the -dev package that has it."),
)
_REQUIREMENTS_FILE = re.compile(r"Could not open requirements file: .*?'(?P<file>[^']+)'")


def _package(text: str) -> t.Optional[BuildFailure]:
    file = _search_last(_REQUIREMENTS_FILE, text)
    if file is not None:
        hint = f"COPY {file['file']} into the image before the RUN that installs from it."
        return BuildFailure("build-context", f"the image has no requirements file {file['file']}", hint, file=file["file"], manager="pip")
    needed = next((hint.format(**found.groupdict()) for pattern, hint in _NEEDED for found in [pattern.search(text)] if found), "")
    for entry in _PACKAGES:
        found = _search_last(entry.pattern, text)
        if found is not None:
            package = found["package"] or found.groupdict().get("other")
            summary = f"{entry.manager} cannot install {package}: {entry.reason}"
            return BuildFailure("package-install", summary, needed or entry.hint, package=package, manager=entry.manager)
    collected = _search_last(_COLLECTED, text)
    if _COMPILING.search(text) and collected is not None:
        hint = needed or "Read the lines before the error: they say what it lacks."
        return BuildFailure("package-install", f"pip cannot install {collected['package']}: it could not be compiled", hint, collected["package"], "pip")
    return None


_CLASSIC_COMMAND = re.compile(r"The command '(?P<command>.*)' returned a non-zero code: (?P<code>\d+)")
_KIT_COMMAND = re.compile(r"process \"(?P<command>.*)\" did not complete successfully: exit code: (?P<code>\d+)")


def _failed_command(text: str) -> tuple[t.Optional[str], t.Optional[int]]:
    found = _search_last(_CLASSIC_COMMAND, text) or _search_last(_KIT_COMMAND, text)
    if found is None:
        return None, None
    command = found["command"].replace('\\"', '"').replace("\\\\", "\\")
    return re.sub(r"^/bin/sh -c ", "", command), int(found["code"])


def _command(text: str) -> t.Optional[BuildFailure]:
    command, exit_code = _failed_command(text)
    if command is None:
        return None
    said = [line for line in _last(text) if "returned a non-zero code" not in line]
    if exit_code == 127:
        return BuildFailure("command-failed", f"the base image has no such program: {command}", "Install the program before it is used.", command=command)
    told = f": {said[-1]}" if said else ""
    hint = "Run the same command in the base image and see why it fails: docker run --rm -it BASE_IMAGE sh"
    return BuildFailure("command-failed", f"a command of the Dockerfile ended with exit code {exit_code}{told}", hint, command=command)
