# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The cases that the accuracy of ``diagnose`` is measured with: what is done to a stack, and what must be found."""

from __future__ import annotations

import dataclasses
import pathlib
import typing as t

import yaml

from . import catalogue
from .changes import named

DIRECTORY = pathlib.Path(__file__).resolve().parent.parent / "accuracy"


@dataclasses.dataclass(frozen=True)
class Expected:
    """A finding that must be on top: *effects* are rules whose findings must be listed beneath it."""

    rule: str
    object: str = ""
    evidence: tuple[str, ...] = ()
    effects: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Case:
    """One measurement.

    *kind* is ``fault``, ``combined``, ``chain`` or ``healthy``. *fault* is a fault of the library, *changes* are those of
    :mod:`changes`. *also* are rules that are true beside the expected ones and no effects of them. *info* says that the
    expected finding is only for information. *diagnose* are variables of the playbook.
    """

    name: str
    kind: str
    group: str
    cause: str
    fault: str = ""
    value: str = ""
    changes: tuple[t.Mapping[str, t.Any], ...] = ()
    expect: tuple[Expected, ...] = ()
    also: tuple[str, ...] = ()
    info: bool = False
    spread: bool = False
    user: str = "root"
    diagnose: t.Mapping[str, t.Any] = dataclasses.field(default_factory=dict)

    @property
    def healthy(self) -> bool:
        """Whether nothing may be found."""
        return self.kind == "healthy"


def _expected(data: t.Mapping[str, t.Any]) -> Expected:
    return Expected(data["rule"], data.get("object", ""), tuple(data.get("evidence") or ()), tuple(data.get("effects") or ()))


_CHANGE = ("env", "override", "steps", "shows", "undo")
_KNOWN = {field.name for field in dataclasses.fields(Case)} | set(_CHANGE) | {"of", "changes"}


def _case(data: t.Mapping[str, t.Any], kind: str, before: t.Mapping[str, Case]) -> Case:
    unknown = set(data) - _KNOWN
    if unknown:
        raise ValueError(f"{data['name']}: unknown keys {sorted(unknown)}")
    parts = [before[name] for name in data.get("of") or ()]
    own = {key: data[key] for key in _CHANGE if key in data}
    changes = tuple(change for part in parts for change in part.changes) + ((own,) if own else ())
    expect = tuple(_expected(one) for one in data.get("expect") or ()) or tuple(one for part in parts for one in part.expect)
    also = (*data.get("also", ()), *(rule for part in parts for rule in part.also))
    fields = {key: data[key] for key in ("name", "cause", "info", "spread", "user", "diagnose", "fault", "value") if key in data}
    return Case(kind=kind, group=data.get("group", kind), changes=changes, expect=expect, also=also, **fields)


def load(paths: t.Sequence[pathlib.Path], names: t.Mapping[str, t.Any], library: bool, chosen: str = "") -> list[Case]:
    """Return the cases of *paths* with the *names* of a stack; with *library*, those of ``catalogue.yml`` come first.

    Where *chosen* is the name of a list in them, only those in it.
    """
    files = [named(yaml.safe_load(path.read_text("utf-8")), names) for path in paths]
    cases: dict[str, Case] = {}
    if library:
        for entry in named(yaml.safe_load(catalogue.PATH.read_text("utf-8"))["faults"], names):
            expected = Expected(entry["rule"], entry["object"], (entry["value"], *entry["evidence"]))
            cases[entry["name"]] = Case(entry["name"], "fault", entry["group"], entry["cause"], entry["name"], entry["value"], expect=(expected,))
    for kind in ("fault", "chain", "combined", "healthy"):
        for entry in (entry for data in files for entry in data.get(kind) or ()):
            if entry["name"] in cases:
                raise ValueError(f"{entry['name']}: there are two of this name")
            cases[entry["name"]] = _case(entry, kind, cases)
    spread = {name for data in files for name in data.get("spread") or ()}
    if chosen:
        return [cases[name] for data in files for name in data.get(chosen) or ()]
    return [dataclasses.replace(case, spread=case.name in spread) for case in cases.values()]
