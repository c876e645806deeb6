#!/usr/bin/python
# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_extension
short_description: Create an extension of PostgreSQL, and have the server load it where it must
version_added: 1.0.0
description:
  - Creates an extension. For one whose library the server must load when it starts, such as C(pg_stat_statements), it adds that to
    C(shared_preload_libraries) and restarts the container of the server, which it says before.
  - What is in that setting already stays there. Where the setting is part of the container's command, it is refused with what to write there.
author:
  - stackops.runbook contributors (@stackops)
extends_documentation_fragment:
  - stackops.runbook.attributes
  - stackops.runbook.attributes.action_group
  - stackops.runbook.docker_connection
  - stackops.runbook.project_selection.one
  - stackops.runbook.remediation
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  extension:
    description:
      - Name of the extension.
    type: str
    default: pg_stat_statements
  service:
    description:
      - The Compose service of PostgreSQL. It is needed only where the project has several.
    type: str
  database:
    description:
      - The database to create it in. By default the one that the container's environment names.
    type: str
  start_timeout_seconds:
    description:
      - How long the server may take to answer after its restart.
    type: int
    default: 120
  login_user:
    description:
      - User of PostgreSQL to log in as, a superuser. By default found in the container's environment.
    type: str
  login_password:
    description:
      - Password of O(login_user). By default found in the container's environment.
    type: str
  login_db:
    description:
      - Database to log in to. By default found in the container's environment.
    type: str
seealso:
  - module: stackops.runbook.pg_slow_queries
"""

EXAMPLES = r"""
- name: Say what it takes to see slow statements
  stackops.runbook.pg_extension:
    project_name: shop
  become: true
  check_mode: true

- name: Create pg_stat_statements, with a restart of the server where it takes one
  stackops.runbook.pg_extension:
    project_name: shop
    audit_reason: slow requests since Monday
  become: true
"""

RETURN = r"""
status:
  description: V(planned), V(done), V(nothing-to-do) or V(failed).
  returned: always
  type: str
  sample: done
summary:
  description: What was done or would be, in one line.
  returned: always
  type: str
  sample: "shop/postgres: create the extension in database shop"
plan:
  description: The commands that do the same by hand.
  returned: always
  type: list
  elements: str
  sample: ["docker compose -p shop exec -T postgres psql -U shop -d shop -c 'CREATE EXTENSION IF NOT EXISTS \"pg_stat_statements\"'"]
before:
  description: The version that was installed, and the libraries that the server had loaded.
  returned: always
  type: dict
  sample: {installed: null, shared_preload_libraries: ""}
after:
  description: The same afterwards, or as it would be.
  returned: always
  type: dict
  sample: {installed: "1.10", shared_preload_libraries: pg_stat_statements}
undo:
  description: How to go back.
  returned: always
  type: list
  elements: str
  sample: ["in database shop: DROP EXTENSION pg_stat_statements"]
verified:
  description: Whether the extension answers, as C(ok) and C(detail).
  returned: always
  type: dict
  sample: {ok: true, detail: pg_stat_statements 1.10 answers}
errors:
  description: What went wrong, with the reason and what to do about it.
  returned: always
  type: list
  elements: dict
  sample: []
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.stackops.runbook.plugins.module_utils._arguments import (
    docker_connection_arguments,
    one_project_arguments,
    remediation_arguments,
)
from ansible_collections.stackops.runbook.plugins.module_utils._pg_extension import create_extension


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **docker_connection_arguments(),
            **one_project_arguments(),
            **remediation_arguments(),
            "extension": {"type": "str", "default": "pg_stat_statements"},
            "service": {"type": "str"},
            "database": {"type": "str"},
            "start_timeout_seconds": {"type": "int", "default": 120},
            "login_user": {"type": "str"},
            "login_password": {"type": "str", "no_log": True},
            "login_db": {"type": "str"},
        },
        supports_check_mode=True,
    )
    result = create_extension(module.params, module.check_mode)
    if result.get("failed"):
        module.fail_json(msg=result["summary"], **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
