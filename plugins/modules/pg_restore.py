#!/usr/bin/python
# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pg_restore
short_description: Restore a database of a Compose stack, verified, swapped in, and with a way back
version_added: 1.0.0
author:
  - stackops.runbook contributors (@stackops)
description:
  - Checks the set and everything the restore needs before anything is touched. Restores into a scratch database while the application still serves.
    Verifies that. Then stops the services that write, swaps the databases by renaming them in one transaction, starts the services and checks their health.
  - Where something fails after the swap, it swaps back by itself and says both.
  - The old database is kept for O(keep_old_hours), and O(action=rollback) swaps it back. O(action=finalize) removes it after that time.
  - A run that was interrupted is finished, or undone, by the next one.
extends_documentation_fragment:
  - stackops.runbook.attributes
  - stackops.runbook.attributes.action_group
  - stackops.runbook.docker_connection
  - stackops.runbook.project_selection
  - stackops.runbook.project_selection.stacks
  - stackops.runbook.backup_sets
attributes:
  action:
    description: Indicates this has a corresponding action plugin so some parts of the options can be executed on the controller.
    support: full
    details:
      - It runs the module in the background and shows how far it is while it runs.
  check_mode:
    support: full
    details:
      - Checks the set and the server, and returns the plan. It changes nothing.
  diff_mode:
    support: none
  idempotent:
    support: none
    details:
      - Every run restores. With O(action=list) and O(action=finalize) a second run changes nothing.
options:
  action:
    description:
      - What to do.
      - V(restore) restores O(database) from O(from).
      - V(rollback) swaps the database that the last restore has replaced back in.
      - V(finalize) removes databases that earlier restores have kept longer than O(keep_old_hours).
      - V(list) lists what can be restored, and what earlier restores have kept.
      - V(drill) restores into a throw-away container, verifies that and says how long it took. It touches neither database nor application.
    type: str
    choices: [restore, rollback, finalize, list, drill]
    default: restore
  from:
    description:
      - What to restore. V(latest), the name of a set, a time in RFC 3339 (the newest set that is not younger), or an absolute path on the target of
        a set or of a plain C(backup_*.sql.gz).
      - With O(offsite) a set that is not on the target is fetched from there.
    type: str
    default: latest
  database:
    description:
      - The database in the set. It is needed only where the set has several.
    type: str
  service:
    description:
      - The Compose service of PostgreSQL. It is needed only where the project has several.
    type: str
  target_database:
    description:
      - Name of the database to restore into, where it is not the one of the set. The original is not touched and no service is stopped.
    type: str
  keep_old_hours:
    description:
      - How long the database that was replaced is kept.
    type: float
    default: 24
  stop_services:
    description:
      - Services to stop for the swap. Without any, all of the project that are connected to the database.
    type: list
    elements: str
    default: []
  config:
    description:
      - Restore the configuration files as well. What they replace is kept beside them.
      - The containers keep their environment until Compose makes them anew. Where a password in the restored files is not the one that the server accepts,
        a warning says so, with what to type.
    type: bool
    default: false
  logs:
    description:
      - Restore the logs as well. They are put beside those that are there.
    type: bool
    default: false
  volumes:
    description:
      - Named volumes to restore as well, by their names in the set or in the Compose file. What uses them is stopped for the swap.
      - Their old content is kept, swapped back and removed together with the old database.
    type: list
    elements: str
    default: []
  create_missing_roles:
    description:
      - Create roles that the database needs and the server lacks, as they are in the set. Without it they are named and nothing is touched.
    type: bool
    default: false
  allow_other_project:
    description:
      - Restore a set of another project.
    type: bool
    default: false
  allow_slots:
    description:
      - Restore although logical replication slots or subscriptions belong to the database. They stay with the one that is replaced.
    type: bool
    default: false
  swap_timeout_seconds:
    description:
      - How long the swap may take before everything is put back.
    type: float
    default: 30
  health_timeout_seconds:
    description:
      - How long the application may take to be well after the swap, before the old database is swapped back in.
    type: float
    default: 120
  endpoints:
    description:
      - URLs that must answer without an error after the swap, besides the health checks of the Compose file.
    type: list
    elements: str
    default: []
  confirm:
    description:
      - The name of the project. O(action=restore) and O(action=rollback) need it, into O(target_database) as well, since they may replace a database.
    type: str
seealso:
  - module: stackops.runbook.pg_backup
  - name: How to restore
    description: Step by step, with every failure and what to do.
    link: https://github.com/stackops/runbook/blob/main/docs/backup.md
"""

EXAMPLES = r"""
- name: List what can be restored
  stackops.runbook.pg_restore:
    project_name: shop
    action: list
  become: true

- name: Restore the newest set
  stackops.runbook.pg_restore:
    project_name: shop
    confirm: shop
  become: true
  register: restored

- name: Say how long the application was down
  ansible.builtin.debug:
    msg: "{{ restored.downtime_seconds }} s, the old database is {{ restored.kept_database }}"

- name: Go back to the database from before the restore
  stackops.runbook.pg_restore:
    project_name: shop
    action: rollback
    confirm: shop
  become: true

- name: Look at how it was on Monday evening, beside the database in use
  stackops.runbook.pg_restore:
    project_name: shop
    from: "2026-11-23T18:00:00Z"
    target_database: shop_monday
    confirm: shop
  become: true

- name: Prove that the newest set restores
  stackops.runbook.pg_restore:
    project_name: shop
    action: drill
  become: true
"""

RETURN = r"""
summary:
  description: What was done, in one line.
  returned: always
  type: str
  sample: "shop: database shop restored from 20261123T160139Z-7f3a in 19 s, application down for 2.1 s"
state:
  description:
    - Where things stand. V(nothing-changed), V(restored), V(rolled-back), V(finalized), V(restored-not-healthy) or V(interrupted).
  returned: always
  type: str
restore_id:
  description: Identifier of the restore, which its scratch database and its journal carry.
  returned: when one was begun
  type: str
set_id:
  description: Name of the set.
  returned: when there is one
  type: str
database:
  description: Name of the database.
  returned: when there is one
  type: str
kept_database:
  description: Name of the database that was replaced and is kept, or null.
  returned: when there is one
  type: str
kept_volumes:
  description: Paths on the target of what the volumes had before, which is kept.
  returned: after a swap
  type: list
  elements: str
downtime_seconds:
  description: From stopping the services until they were well again.
  returned: after a swap
  type: float
duration_seconds:
  description: How long everything took.
  returned: always
  type: float
verification:
  description: The checks of the restored database.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: What was checked.
      returned: always
      type: str
    ok:
      description: Whether it was right.
      returned: always
      type: bool
    detail:
      description: What came out.
      returned: always
      type: str
plan:
  description: The steps.
  returned: in check mode
  type: list
  elements: str
sets:
  description: What can be restored, newest first.
  returned: with O(action=list)
  type: list
  elements: dict
next_steps:
  description: What a person should do next. Commands are between backticks.
  returned: always
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.stackops.runbook.plugins.module_utils._backup_arguments import restore_arguments
from ansible_collections.stackops.runbook.plugins.module_utils._restore import run_restore


def main() -> None:
    """Restore, roll back, finalize, list or drill."""
    module = AnsibleModule(argument_spec=restore_arguments(), supports_check_mode=True)
    result = run_restore(module.params, module.check_mode)
    if result.get("failed"):
        module.fail_json(**{"msg": result.get("summary") or "the restore failed", **result})
    module.exit_json(**result)


if __name__ == "__main__":
    main()
