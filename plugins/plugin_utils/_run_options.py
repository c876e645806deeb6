# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The options of the run that is under way, asked of Ansible."""

from __future__ import annotations

import os
import typing as t

from ansible import constants as C
from ansible import context

from ._command_line import options_of_run


def run_options(task_vars: t.Mapping[str, t.Any]) -> str:
    """Return what a command of Ansible needs in order to reach the hosts of this run, quoted for the shell."""
    usual = {
        "remote_user": C.DEFAULT_REMOTE_USER, "private_key_file": C.DEFAULT_PRIVATE_KEY_FILE, "become_password_file": C.BECOME_PASSWORD_FILE,
        "ask_pass": C.DEFAULT_ASK_PASS, "become_ask_pass": C.DEFAULT_BECOME_ASK_PASS, "ask_vault_pass": C.DEFAULT_ASK_VAULT_PASS,
    }  # fmt: skip
    return options_of_run(task_vars.get("ansible_inventory_sources") or (), C.DEFAULT_HOST_LIST, context.CLIARGS, usual, os.getcwd())
