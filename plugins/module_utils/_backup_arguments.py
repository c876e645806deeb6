# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The options of backup and restore, which a module takes from its task and the host program from its configuration."""

from __future__ import annotations

import typing as t

from ._arguments import Spec, docker_connection_arguments, project_selection_arguments
from ._envelope import CheckError

DEFAULT_ROOT = "/var/backups/stackops"
BACKUP_ACTIONS = ("backup", "verify", "prune", "list")
RESTORE_ACTIONS = ("restore", "rollback", "finalize", "list", "drill")
DEFAULT_TIME_LIMIT_SECONDS = 14400


def backup_arguments() -> Spec:
    """Return the options of ``pg_backup``."""
    return {
        **_shared_arguments(),
        "action": {"type": "str", "choices": list(BACKUP_ACTIONS), "default": "backup"},
        "databases": {"type": "list", "elements": "str", "default": []},
        "jobs": {"type": "int", "default": 0},
        "compression": {"type": "str", "choices": ["auto", "zstd", "gzip"], "default": "auto"},
        "level": {"type": "str", "choices": ["auto", "decodable", "restorable", "equivalent"], "default": "auto"},
        "equivalent_days": {"type": "int", "default": 7},
        "logs": {"type": "bool", "default": True},
        "log_paths": {"type": "list", "elements": "str", "default": []},
        "config": {"type": "bool", "default": True},
        "config_paths": {"type": "list", "elements": "str", "default": []},
        "volumes": {"type": "list", "elements": "str", "default": []},
        "paths": {"type": "list", "elements": "str", "default": []},
        "pause": {"type": "bool", "default": False},
        "plain_sql": {"type": "bool", "default": False},
        # Whether the passwords of roles are kept, which is no secret itself.
        "role_passwords": {"type": "bool", "default": True, "no_log": False},
        "keep_days": {"type": "int", "default": 7},
        "keep_daily": {"type": "int", "default": 0},
        "keep_weekly": {"type": "int", "default": 0},
        "keep_monthly": {"type": "int", "default": 0},
        "min_verified": {"type": "int", "default": 3},
        "prune": {"type": "bool", "default": True},
        "allow_shrink": {"type": "bool", "default": False},
        "shrink_ratio": {"type": "float", "default": 0.5},
        "force_retention": {"type": "bool", "default": False},
        "encryption": {
            "type": "dict",
            "options": {
                "method": {"type": "str", "choices": ["age", "gpg"], "required": True},
                "recipients": {"type": "list", "elements": "str", "required": True},
            },
        },
        "max_age_seconds": {"type": "int", "default": 0},
        "lock_wait_seconds": {"type": "float", "default": 0},
        "lock_timeout_seconds": {"type": "float", "default": 60},
        "time_limit_seconds": {"type": "int", "default": DEFAULT_TIME_LIMIT_SECONDS},
        "pgbackrest_stanza": {"type": "str"},
        "set": {"type": "str"},
    }


def restore_arguments() -> Spec:
    """Return the options of ``pg_restore``."""
    return {
        **_shared_arguments(),
        "action": {"type": "str", "choices": list(RESTORE_ACTIONS), "default": "restore"},
        "from": {"type": "str", "default": "latest"},
        "database": {"type": "str"},
        "service": {"type": "str"},
        "target_database": {"type": "str"},
        "keep_old_hours": {"type": "float", "default": 24},
        "stop_services": {"type": "list", "elements": "str", "default": []},
        "config": {"type": "bool", "default": False},
        "logs": {"type": "bool", "default": False},
        "create_missing_roles": {"type": "bool", "default": False},
        "allow_other_project": {"type": "bool", "default": False},
        "allow_slots": {"type": "bool", "default": False},
        "swap_timeout_seconds": {"type": "float", "default": 30},
        "health_timeout_seconds": {"type": "float", "default": 120},
        "endpoints": {"type": "list", "elements": "str", "default": []},
        "confirm": {"type": "str"},
    }


def _shared_arguments() -> Spec:
    return {
        **docker_connection_arguments(),
        **project_selection_arguments(),
        "stacks": {"type": "list", "elements": "dict", "default": [], "options": project_selection_arguments()},
        "login_user": {"type": "str"},
        "login_password": {"type": "str", "no_log": True},
        "login_db": {"type": "str"},
        "root": {"type": "path", "default": DEFAULT_ROOT},
        # The name of a file, which is no secret.
        "identity_file": {"type": "path", "no_log": False},
        "offsite": {
            "type": "dict",
            "options": {
                "kind": {"type": "str", "choices": ["rclone", "restic"], "required": True},
                "remote": {"type": "str", "required": True},
                "config_file": {"type": "path"},
                # The name of a file, which is no secret.
                "password_file": {"type": "path", "no_log": False},
                "options": {"type": "list", "elements": "str", "default": []},
            },
        },
        "progress_file": {"type": "path"},
    }


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
