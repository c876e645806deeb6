#!/usr/bin/python
# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: alembic_migrate
short_description: Apply the Alembic migrations that a database lacks, with a verified backup first
version_added: 1.0.0
description:
  - Looks which migrations the code of an application has and its database lacks, and says what would be done and how to go back.
  - With O(action=upgrade) it makes a verified backup, applies the migrations, and looks whether the database has arrived. Where the
    backup fails, nothing is changed.
  - Code with several heads is refused, with the heads, why that is so, and the command that joins them. A database that is ahead of
    the code is refused as well.
  - Alembic runs in the application's container, or in one that Compose makes for it where that does not run.
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
  action:
    description:
      - V(status) says what is missing and changes nothing.
      - V(upgrade) applies what is missing up to O(revision).
      - V(stamp) notes O(revision) in the database and creates nothing. It is for a database whose tables were made in another way.
    type: str
    choices: [status, upgrade, stamp]
    default: status
  service:
    description:
      - The Compose service whose image has the migrations. It is needed only where several have some.
    type: str
  revision:
    description:
      - V(head), V(heads), or a revision of the code. By default V(head) for O(action=upgrade). O(action=stamp) needs one.
      - V(heads) applies all branches of a code that has several heads.
    type: str
  backup:
    description:
      - Whether a verified backup is made before O(action=upgrade).
    type: bool
    default: true
  backup_options:
    description:
      - Options of M(stackops.runbook.pg_backup) for that backup, for example C(root) or C(encryption). By default it keeps no logs.
    type: dict
    default: {}
  time_limit_seconds:
    description:
      - How many seconds the migrations may take.
    type: int
    default: 3600
seealso:
  - module: stackops.runbook.alembic_status
  - module: stackops.runbook.pg_backup
"""

EXAMPLES = r"""
- name: Say what the database lacks
  stackops.runbook.alembic_migrate:
    project_name: shop
  become: true
  register: migrations

- name: Apply it, after a backup
  stackops.runbook.alembic_migrate:
    project_name: shop
    action: upgrade
    audit_reason: release 1.4
  become: true

- name: Note that tables which were made by hand are those of the newest revision
  stackops.runbook.alembic_migrate:
    project_name: shop
    action: stamp
    revision: head
  become: true
"""

RETURN = r"""
status:
  description: V(planned), V(done), V(nothing-to-do) or V(failed). With O(action=status) V(ok), V(warning), V(critical) or V(unknown).
  returned: always
  type: str
  sample: done
summary:
  description: What was done or would be, in one line.
  returned: always
  type: str
  sample: "shop/backend: apply 1 migrations to its database: 0003_order_notes (Notes about orders.), after a verified backup"
plan:
  description: The commands that do the same by hand.
  returned: always
  type: list
  elements: str
  sample: [ansible-playbook stackops.runbook.backup, docker compose -p shop exec -T backend alembic upgrade head]
before:
  description: The revisions that the database has, and what is pending.
  returned: always
  type: dict
  sample: {current: [0002_orders]}
after:
  description: The revisions that the database has now or would have, and the set of the backup as C(backup).
  returned: always
  type: dict
  sample: {current: [0003_order_notes], backup: {set_id: 20261126T040000Z-1a2b3c4d, level: decodable}}
undo:
  description: How to go back.
  returned: always
  type: list
  elements: str
  sample: ["docker compose -p shop exec -T backend alembic downgrade 0002_orders (drops what the migrations added, with what is in it)"]
verified:
  description: Whether the database was found where it is expected, as C(ok) and C(detail).
  returned: always
  type: dict
  sample: {ok: true, detail: the database is at 0003_order_notes}
errors:
  description: What went wrong, with the reason and what to do about it.
  returned: always
  type: list
  elements: dict
  sample: []
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.stackops.runbook.plugins.module_utils._alembic_migrate import migrate
from ansible_collections.stackops.runbook.plugins.module_utils._arguments import (
    docker_connection_arguments,
    one_project_arguments,
    remediation_arguments,
)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **docker_connection_arguments(),
            **one_project_arguments(),
            **remediation_arguments(),
            "action": {"type": "str", "choices": ["status", "upgrade", "stamp"], "default": "status"},
            "service": {"type": "str"},
            "revision": {"type": "str"},
            "backup": {"type": "bool", "default": True},
            "backup_options": {"type": "dict", "default": {}},
            "time_limit_seconds": {"type": "int", "default": 3600},
        },
        supports_check_mode=True,
    )
    result = migrate(module.params, module.check_mode)
    if result.get("failed"):
        module.fail_json(msg=result["summary"], **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
