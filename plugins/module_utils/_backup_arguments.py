# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The options of backup and restore, which a module takes from its task and the host program from its configuration."""

from __future__ import annotations

from ._arguments import Spec, docker_connection_arguments, project_selection_arguments, stacks_arguments

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
        "volumes": {"type": "list", "elements": "str", "default": []},
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
        **stacks_arguments(),
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
                "retention": {"type": "bool", "default": True},
            },
        },
        "progress_file": {"type": "path"},
    }
