# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images of the test bed: what they are made from, and making those that are missing or outdated."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import fcntl
import functools
import hashlib
import pathlib
import subprocess
import typing as t

from . import engine
from .console import CommandFailed, output, run, say, side_by_side, step, succeeds
from .paths import CACHE, IMAGES, SECOND_STACK, STACK

PREFIX = "stackops-test/"
LABEL = "stackops.testbed.content"
PULL_SECONDS = 20
BOOTSTRAP_SECONDS = 600
BUILD_SECONDS = 1800
MIRROR = "http://deb.debian.org/debian"
_holding: contextvars.ContextVar[bool] = contextvars.ContextVar("holding", default=False)


@dataclasses.dataclass(frozen=True)
class Image:
    """One image: *parent* is another image of the test bed, or ``debian:<suite>-slim``; a host's has an *engine*."""

    name: str
    context: pathlib.Path
    parent: str
    arguments: tuple[tuple[str, str], ...] = ()
    dockerfile: str = "Dockerfile"
    engine: str = "docker"

    @property
    def reference(self) -> str:
        """The tag it gets."""
        return PREFIX + self.name


def _catalogue() -> dict[str, Image]:
    bases = [Image(f"base:{suite}", IMAGES / "base", f"debian:{suite}-slim") for suite in ("trixie", "bookworm", "bullseye", "sid")]
    majors = {"17": "trixie", "15": "bookworm", "13": "bullseye", "18": "sid"}
    databases = [Image(f"postgres:{major}", STACK / "postgres", f"base:{suite}", (("PG_MAJOR", major),)) for major, suite in majors.items()]
    others = [
        Image("app:latest", STACK / "app", "base:trixie"),
        *(Image(f"second-{name}:latest", SECOND_STACK / name, "base:trixie") for name in ("api", "edge", "cache")),
        Image("host:trixie", IMAGES / "host", "base:trixie"),
        Image("host-firewalld:trixie", IMAGES / "firewalld", "host:trixie"),
        Image("host-podman:trixie", IMAGES / "host-podman", "host:trixie", engine="podman"),
        Image("host:bullseye", IMAGES / "host-bullseye", "base:bullseye"),
    ]
    return {image.name: image for image in [*bases, *databases, *others]}


CATALOGUE: dict[str, Image] = _catalogue()
#: What the stack and its hosts need; the others are built when they are asked for by name.
DEFAULT: tuple[str, ...] = ("app:latest", "postgres:17", "host:trixie")


def canonical(name: str) -> str:
    """Return the name in the catalogue for *name*, with or without the prefix and the tag ``latest``.

    :raises KeyError: there is no such image.
    """
    short = name[len(PREFIX) :] if name.startswith(PREFIX) else name
    if short not in CATALOGUE and f"{short}:latest" in CATALOGUE:
        short += ":latest"
    if short not in CATALOGUE:
        raise KeyError(f"no image {name!r}; there are: {', '.join(sorted(CATALOGUE))}")
    return short


def _context_files(context: pathlib.Path) -> list[pathlib.Path]:
    return sorted(path for path in context.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


@functools.cache
def content_hash(name: str) -> str:
    """Return a hash over everything that *name* is made from, its parents included."""
    image = CATALOGUE[name]
    digest = hashlib.sha256()
    parent = content_hash(image.parent) if image.parent in CATALOGUE else image.parent
    digest.update(repr((parent, image.arguments, image.dockerfile)).encode())
    for path in _context_files(image.context):
        executable = bool(path.stat().st_mode & 0o111)
        content = path.read_bytes()
        digest.update(repr((path.relative_to(image.context).as_posix(), executable, len(content))).encode() + content)
    return digest.hexdigest()[:20]


def is_current(name: str) -> bool:
    """Return whether the engine has *name*, made from what is in the checkout now."""
    form = f'{{{{index .Config.Labels "{LABEL}"}}}}'
    try:
        return output(["docker", "image", "inspect", "--format", form, CATALOGUE[name].reference], 30) == content_hash(name)
    except CommandFailed:
        return False


@contextlib.contextmanager
def exclusive() -> t.Iterator[None]:
    """Keep another test bed of this checkout from making the same things at the same time; what holds it may ask for it again."""
    if _holding.get():
        yield
        return
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        token = _holding.set(True)
        try:
            yield
        finally:
            _holding.reset(token)


def ensure(names: t.Sequence[str] = DEFAULT) -> None:
    """Build what of *names* is missing or outdated, parents first, and side by side where nothing depends on it."""
    with exclusive():
        _ensure(names)


def _ensure(names: t.Sequence[str]) -> None:
    waiting = {name for name in names if not is_current(name)}
    for name in sorted(waiting):
        parent = CATALOGUE[name].parent
        while parent in CATALOGUE and not is_current(parent):
            waiting.add(parent)
            parent = CATALOGUE[parent].parent
    if not waiting:
        say(f"Images are up to date: {', '.join(names)}.")
        return
    while waiting:
        ready = sorted(name for name in waiting if CATALOGUE[name].parent not in waiting)
        for parent in sorted({CATALOGUE[name].parent for name in ready} - set(CATALOGUE)):
            _ensure_suite(parent)
        side_by_side({name: functools.partial(_build, CATALOGUE[name]) for name in ready})
        waiting.difference_update(ready)
    run(["docker", "image", "prune", "--force", "--filter", f"label={LABEL}"], 120, check=False)


def _build(image: Image) -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    parent = CATALOGUE[image.parent].reference if image.parent in CATALOGUE else image.parent
    argv = ["docker", "build", "--network", "host", "--tag", image.reference, "--label", f"{LABEL}={content_hash(image.name)}"]
    for name, value in (("PARENT", parent), *image.arguments):
        argv += ["--build-arg", f"{name}={value}"]
    log_path = CACHE / f"build-{image.name.replace(':', '-')}.log"
    with step(f"Building {image.reference} (log: {log_path})"):
        # The classic builder is in every engine; BuildKit is a plug-in that Debian's docker.io leaves out.
        completed = run([*argv, str(image.context)], BUILD_SECONDS, env={"DOCKER_BUILDKIT": "0"}, check=False)
        log_path.write_bytes(completed.stdout + completed.stderr)
    if completed.returncode != 0:
        tail = (completed.stdout + completed.stderr).decode("utf-8", "replace").splitlines()[-15:]
        raise CommandFailed("\n".join([f"Building {image.reference} failed:", *tail]))


def _ensure_suite(reference: str) -> None:
    """Get ``debian:<suite>-slim``: from a registry where one answers, else made from Debian's archive."""
    if succeeds(["docker", "image", "inspect", reference], 30):
        return
    with step(f"Pulling {reference} (given up after {PULL_SECONDS} s)"):
        pulled = succeeds(["docker", "pull", "--quiet", reference], PULL_SECONDS)
    if pulled:
        return
    if not succeeds(["mmdebstrap", "--version"], 15):
        engine.apt_install(["mmdebstrap"], "No registry answers, and making a base image needs mmdebstrap")
    suite = reference.split(":", 1)[1].rsplit("-", 1)[0]
    # A mirror that lags behind is good enough to test with; unstable's index says it is over after a week.
    argv = ["mmdebstrap", "--quiet", "--variant=minbase", "--include=ca-certificates", '--aptopt=Acquire::Check-Valid-Until "false"']
    # No fsync after every file, neither here nor in what is built on it: an image that is cut short is thrown away whole.
    argv += ["--dpkgopt=force-unsafe-io"]
    argv += [f"--dpkgopt=path-exclude=/usr/share/{path}/*" for path in ("doc", "man", "locale", "info")]
    with step(f"No registry answers: making {reference} from {MIRROR}"):
        _bootstrap([*argv, suite, "-", MIRROR], reference)


def _bootstrap(argv: t.Sequence[str], reference: str) -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "mmdebstrap.log", "wb") as log, subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=log) as bootstrap:
        try:
            run(["docker", "import", "-", reference], BOOTSTRAP_SECONDS, stdin=bootstrap.stdout)
        except CommandFailed:
            bootstrap.kill()
            raise
    if bootstrap.returncode != 0:
        # An archive that was cut short imports without complaint.
        run(["docker", "image", "rm", reference], 60, check=False)
        raise CommandFailed(f"{' '.join(argv)}: exit code {bootstrap.returncode}, see {CACHE / 'mmdebstrap.log'}")
