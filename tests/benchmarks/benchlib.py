# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What all benchmarks share: a row with its bar, commands measured in turns, tables as text and Markdown."""

from __future__ import annotations

import dataclasses
import operator
import os
import pathlib
import platform
import resource
import statistics
import subprocess
import time
import typing as t

_SIGNS: dict[str, t.Callable[[float, float], bool]] = {">=": operator.ge, "<=": operator.le, "<": operator.lt, ">": operator.gt}
#: From here on the short form fails: its few rounds on a machine that does something else must not stop a release.
SHORT_SHARE = 0.7


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table: *value* is what the *bar* is about (``sign`` says which side is good); *ours* and *other* are what it was made from."""

    group: str
    what: str
    value: float
    unit: str
    sign: str = ">="
    bar: t.Optional[float] = None
    ours: str = ""
    other: str = ""
    spread: str = ""

    def met(self, share: float = 1.0) -> bool:
        """Whether the bar is reached; with a *share* below 1, nearly."""
        if self.bar is None:
            return True
        return _SIGNS[self.sign](self.value, self.bar * share if self.sign.startswith(">") else self.bar / share)

    @classmethod
    def of(cls, data: t.Mapping[str, t.Any]) -> Row:
        """Return the row that :func:`dataclasses.asdict` made *data* of."""
        return cls(**data)


@dataclasses.dataclass(frozen=True)
class Taken:
    """What one run of a command took, its children included."""

    wall_s: float
    cpu_s: float


def run(argv: t.Sequence[str], timeout_seconds: float = 900, env: t.Optional[t.Mapping[str, str]] = None) -> Taken:
    """Run *argv* and return what it took.

    :raises SystemExit: it failed; the end of what it printed is in it.
    """
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=timeout_seconds, check=False, stdin=subprocess.DEVNULL, env={**os.environ, **(env or {})}
    )  # fmt: skip
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(argv)} ended with {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return Taken(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def in_turns(commands: t.Mapping[str, t.Callable[[], Taken]], rounds: int) -> dict[str, list[Taken]]:
    """Run every command *rounds* times, one after the other, so that a noisy machine is noisy for all of them; the first round warms up."""
    taken: dict[str, list[Taken]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            one = command()
            if number:
                taken[name].append(one)
    return taken


def median(taken: t.Iterable[Taken], what: str = "wall_s") -> float:
    """Return the median of one figure of several runs."""
    return statistics.median(getattr(one, what) for one in taken)


def spread(taken: t.Sequence[Taken], what: str = "wall_s") -> str:
    """Return the least and the most of one figure of several runs."""
    values = sorted(getattr(one, what) for one in taken)
    return f"{values[0]:.2f} to {values[-1]:.2f} s"


def circumstances() -> str:
    """Return what the machine is and does."""
    model = next((line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "unknown processor")
    memory = next((int(line.split()[1]) / 1048576 for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0.0)
    python = platform.python_version()
    return f"{os.cpu_count()} × {model}, {memory:.0f} GiB, Linux {os.uname().release}, Python {python}, load {os.getloadavg()[0]:.1f}"


def _lines(path: str) -> list[str]:
    return pathlib.Path(path).read_text("utf-8", "replace").splitlines()


_HEAD = ("what", "ours", "beside it", "result", "bar", "")


def table(rows: t.Sequence[Row], share: float = 1.0) -> str:
    """Return *rows* as a Markdown table."""
    lines = [_HEAD, ("---",) * len(_HEAD)]
    for row in rows:
        bar, verdict = ("", "") if row.bar is None else (f"{row.sign} {row.bar:g}", "met" if row.met(share) else "**missed**")
        result = f"{row.value:.2f} {row.unit}" if row.value < 100 else f"{row.value:.0f} {row.unit}"
        lines.append((row.what.replace("|", r"\|"), f"{row.ours}{f' ({row.spread})' if row.spread else ''}", row.other, result, bar, verdict))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
