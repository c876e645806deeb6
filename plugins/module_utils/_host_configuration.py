# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The configuration files of the host program: JSON with a version, for its owner's eyes only, checked as strictly as a module's options."""

from __future__ import annotations

import json
import os
import stat
import typing as t

from ._envelope import CheckError

Spec = dict[str, dict[str, t.Any]]

_LIMIT_BYTES = 1024 * 1024


def read_options(path: str, schema_version: int, role: str) -> dict[str, t.Any]:
    """Return the options of the configuration at *path*, which *role* has written.

    :raises CheckError: it cannot be read (``not-found``, ``permission-denied``), others may read it, or it is of another version.
    """
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            content = file.read(_LIMIT_BYTES)
    except FileNotFoundError:
        raise CheckError(path, "there is no such file", f"The role {role} writes it.", "not-found") from None
    except OSError as error:
        raise CheckError(path, str(error.strerror), f"Run as root, or look with: ls -l {path}", "permission-denied") from None
    if status.st_uid not in (0, os.geteuid()) or stat.S_IMODE(status.st_mode) & 0o077:
        raise CheckError(path, "others than its owner may read or write it", f"chown root {path} && chmod 0600 {path}", "permission-denied")
    try:
        configuration = json.loads(content)
        found, options = configuration["schema_version"], configuration["options"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckError(path, f"it is no configuration ({error})", f"The role {role} writes it anew.", "invalid-option") from None
    if found != schema_version or not isinstance(options, dict):
        reason = f"its schema_version is {found!r}, and this program knows {schema_version}"
        raise CheckError(path, reason, f"Run the role {role} again.", "schema-too-new")
    return options


_TYPES: dict[str, t.Any] = {"str": (str,), "path": (str,), "int": (int,), "float": (int, float), "bool": (bool,), "list": (list,), "dict": (dict,)}


def complete(given: t.Mapping[str, t.Any], spec: Spec, source: str) -> dict[str, t.Any]:
    """Return *given* with the defaults of *spec*, as a module would have it.

    It is stricter than Ansible, so that what a person got wrong is said. Numbers may be text, as ansible-core 2.18 writes them.

    :raises CheckError: an option that there is not, or a value that the option does not take. *source* is where it stands.
    """
    unknown = sorted(set(given) - set(spec))
    if unknown:
        raise CheckError(source, f"unknown option {', '.join(unknown)}", f"There are: {', '.join(sorted(spec))}.", "invalid-option")
    completed: dict[str, t.Any] = {}
    for name, rule in spec.items():
        value = given.get(name)
        if value is None:
            if rule.get("required"):
                raise CheckError(source, f"{name} is missing", "", "invalid-option")
            completed[name] = rule.get("default")
        else:
            completed[name] = _checked(name, value, rule, source)
    return completed


def _checked(name: str, value: t.Any, rule: t.Mapping[str, t.Any], source: str) -> t.Any:
    expected: str = rule["type"]
    value = _number(value, expected)
    if not isinstance(value, _TYPES[expected]) or (isinstance(value, bool) and expected != "bool"):
        shown = "" if rule.get("no_log") else f" {value!r}, which is"
        raise CheckError(source, f"{name} is{shown} no {expected}", "", "invalid-option")
    if "choices" in rule and value not in rule["choices"]:
        raise CheckError(source, f"{name} is {value!r}", f"Choose one of {', '.join(rule['choices'])}.", "invalid-option")
    if expected == "dict" and "options" in rule:
        return complete(value, rule["options"], f"{source}: {name}")
    if expected == "list":
        element = {"type": rule["elements"], **({"options": rule["options"]} if "options" in rule else {})}
        return [_checked(f"{name}[{number}]", entry, element, source) for number, entry in enumerate(t.cast("list[t.Any]", value))]
    return value


def _number(value: t.Any, expected: str) -> t.Any:
    """Return a number that is written as text as one, and everything else as it is."""
    if expected not in ("int", "float") or not isinstance(value, str):
        return value
    try:
        return int(value) if expected == "int" else float(value)
    except ValueError:
        return value
