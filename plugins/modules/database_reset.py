#!/usr/bin/python
# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: database_reset
short_description: Begin again with an empty database, and keep the old one
version_added: 1.0.0
description:
  - Makes a backup and restores it once to prove it. Builds an empty database beside the live one, with the application's migrations, its extensions
    and its owner. Then stops what writes, swaps the two by renaming, starts everything again and waits until it is well.
  - Where something fails, the old database is live as before.
  - The old database is kept, and can be swapped back with O(stackops.runbook.pg_restore#module:action=rollback).
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
    support: none
    details:
      - Every run begins again.
options:
  confirm:
    description:
      - The name of the project. Without it nothing is done.
    type: str
  service:
    description:
      - The Compose service whose image has the migrations. It is needed only where several have some.
    type: str
  database_service:
    description:
      - The Compose service of PostgreSQL. It is needed only where the project has several.
    type: str
  database:
    description:
      - The database. It is needed only where the server has several.
    type: str
  backup_options:
    description:
      - Options of M(stackops.runbook.pg_backup) for the backup, for example C(root) or C(encryption). Its level is C(restorable) at least.
    type: dict
    default: {}
  health_timeout_seconds:
    description:
      - How long the application may take to be well with the new database. After that the old one is swapped back.
    type: int
    default: 120
  time_limit_seconds:
    description:
      - How many seconds one step may take.
    type: int
    default: 3600
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
  - module: stackops.runbook.pg_backup
  - module: stackops.runbook.pg_restore
"""

EXAMPLES = r"""
- name: Say what would be lost
  stackops.runbook.database_reset:
    project_name: shop
  become: true
  check_mode: true

- name: Begin again
  stackops.runbook.database_reset:
    project_name: shop
    confirm: shop
  become: true

- name: Have the old database back
  stackops.runbook.pg_restore:
    project_name: shop
    action: rollback
    confirm: shop
  become: true
"""

RETURN = r"""
status:
  description: V(planned), V(done) or V(failed).
  returned: always
  type: str
  sample: done
summary:
  description: What was done or would be, in one line.
  returned: always
  type: str
  sample: "shop/postgres/shop: put an empty database in the place of shop"
plan:
  description: The commands that come closest to it by hand.
  returned: always
  type: list
  elements: str
  sample: [ansible-playbook stackops.runbook.backup -e backup_level=restorable]
before:
  description: How much the database holds.
  returned: always
  type: dict
  sample: {tables: 6, rows: 5301, bytes: 9437184}
after:
  description: The set of the backup, and the name that the old database has now.
  returned: always
  type: dict
  sample: {backup: {set_id: 20261126T040000Z-1a2b, level: restorable}, kept_databases: [shop__old_1a2b3c4d], downtime_seconds: 4.1}
undo:
  description: How to go back.
  returned: always
  type: list
  elements: str
  sample: ["ansible-playbook stackops.runbook.restore -e restore_rollback=true -e restore_confirm=shop (while the old database is kept)"]
verified:
  description: Whether the new database is live and the old one is kept, as C(ok) and C(detail).
  returned: always
  type: dict
  sample: {ok: true, detail: shop is at 0003_order_notes; the old one is kept as shop__old_1a2b3c4d}
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
from ansible_collections.stackops.runbook.plugins.module_utils._database_reset import reset_database


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **docker_connection_arguments(),
            **one_project_arguments(),
            **remediation_arguments(),
            "confirm": {"type": "str"},
            "service": {"type": "str"},
            "database_service": {"type": "str"},
            "database": {"type": "str"},
            "backup_options": {"type": "dict", "default": {}},
            "health_timeout_seconds": {"type": "int", "default": 120},
            "time_limit_seconds": {"type": "int", "default": 3600},
            "login_user": {"type": "str"},
            "login_password": {"type": "str", "no_log": True},
            "login_db": {"type": "str"},
        },
        supports_check_mode=True,
    )
    result = reset_database(module.params, module.check_mode)
    if result.get("failed"):
        module.fail_json(msg=result["summary"], **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
