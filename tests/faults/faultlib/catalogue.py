# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ``catalogue.yml`` says about the faults."""

from __future__ import annotations

import dataclasses
import pathlib
import typing as t

import yaml

from .faults import FAULTS, Fault
from .stack import RunningStack

PATH = pathlib.Path(__file__).resolve().parent.parent / "catalogue.yml"


@dataclasses.dataclass(frozen=True)
class Entry:
    """One fault, and the finding that ``diagnose`` must put first."""

    name: str
    group: str
    cause: str
    rule: str
    object: str
    value: str
    evidence: tuple[str, ...]

    def of(self, stack: RunningStack, port: int) -> Entry:
        """Return the entry with the names of *stack*."""
        names = {
            "project": stack.project,
            "backend": stack.backend,
            "database": stack.database,
            "port": port,
            "directory": stack.directory,
        }
        return dataclasses.replace(
            self,
            object=self.object.format(**names),
            value=self.value.format(**names),
            evidence=tuple(text.format(**names) for text in self.evidence),
        )

    def fault(self) -> Fault:
        """Return the fault that injects the value."""
        return FAULTS[self.name](self.value)


def load(path: t.Union[str, pathlib.Path] = PATH) -> dict[str, Entry]:
    """Return the entries by name."""
    data = yaml.safe_load(pathlib.Path(path).read_text("utf-8"))
    entries = [Entry(**{**fields, "evidence": tuple(fields["evidence"])}) for fields in data["faults"]]
    return {entry.name: entry for entry in entries}
