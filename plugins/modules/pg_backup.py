#!/usr/bin/python
# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pg_backup
short_description: Back up Compose stacks with their PostgreSQL, and verify the backups
version_added: 1.0.0
author:
  - stackops.runbook contributors (@stackops)
description:
  - Writes one set for each Compose project. A set holds every application database, roles and other globals, configuration and logs, and named volumes
    and directories when asked for, with a manifest and checksums. It is published by one rename when every step has succeeded, or not at all.
  - The databases are dumped with the server's own version of the tools, beside its container. Row counts are taken in the same snapshot.
  - Every set is verified before it is published, to the level that O(level) asks for, and the level is recorded in it.
  - Expired sets are removed after a verified backup only. There are always O(min_verified) verified sets left.
  - With O(action=verify) sets that are there are verified again, with O(action=list) they are listed, and with O(action=prune) expired ones are removed.
  - There is no recovery to a point in time. What was written after the last backup is not in it.
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
      - Returns the plan with its estimates, and makes neither file nor directory.
  diff_mode:
    support: none
  idempotent:
    support: partial
    details:
      - Every run makes a set. With O(max_age_seconds), a run that finds a verified set which is young enough changes nothing.
options:
  action:
    description:
      - What to do.
      - V(backup) makes a set of each stack, verifies it and removes what has expired.
      - V(verify) verifies sets that are there. See O(set) and O(level).
      - V(prune) removes what has expired.
      - V(list) lists the sets.
    type: str
    choices: [backup, verify, prune, list]
    default: backup
  databases:
    description:
      - Names of the databases. Without any, all of each server but its templates and an empty C(postgres).
    type: list
    elements: str
    default: []
  jobs:
    description:
      - How many tables of a database to dump at the same time. V(0) chooses by the processors of the host.
    type: int
    default: 0
  compression:
    description:
      - How dumps are compressed. V(auto) is V(zstd) where the server has it (PostgreSQL 16 and later), else V(gzip).
    type: str
    choices: [auto, zstd, gzip]
    default: auto
  level:
    description:
      - How far to verify. Every level includes the ones before it.
      - V(decodable) reads every file to its end, compares checksums, and the row counts where they can be compared.
      - V(restorable) restores into a throw-away container of the same image.
      - V(equivalent) compares row counts, content hashes, sequences and properties of that with what was dumped, and checks the indexes with C(amcheck).
      - V(auto) is V(decodable), and V(equivalent) where no set has been that for O(equivalent_days) days.
    type: str
    choices: [auto, decodable, restorable, equivalent]
    default: auto
  equivalent_days:
    description:
      - How many days after the last set with the level V(equivalent) the next one is due, with O(level=auto). V(0) is never.
    type: int
    default: 7
  logs:
    description:
      - Whether the logs are in the set.
    type: bool
    default: true
  log_paths:
    description:
      - Log files or directories on the target, besides those that are found.
    type: list
    elements: str
    default: []
  config:
    description:
      - Whether the configuration is in the set, that is the Compose files, C(.env*) beside them and the environment files that they name. It holds secrets.
    type: bool
    default: true
  config_paths:
    description:
      - More files or directories of the configuration.
    type: list
    elements: str
    default: []
  volumes:
    description:
      - Names of volumes of the stack to put into the set, for example with uploaded files. Those of PostgreSQL are refused, since a copy of a running
        server's files is no backup.
    type: list
    elements: str
    default: []
  paths:
    description:
      - Directories on the target to put into the set, for example bind mounts with uploaded files.
    type: list
    elements: str
    default: []
  pause:
    description:
      - Pause the services that use O(volumes) and O(paths) while these are read. Without it they are read as they are while files change.
    type: bool
    default: false
  plain_sql:
    description:
      - Also write C(backup_<date>.sql.gz), for people and tools that want plain SQL.
    type: bool
    default: false
  role_passwords:
    description:
      - Whether the hashed passwords of roles are in the set. It needs a superuser.
    type: bool
    default: true
  keep_days:
    description:
      - Sets younger than this many days are kept, and the newest one that is older.
    type: int
    default: 7
  keep_daily:
    description:
      - For how many days to keep the newest set of each.
    type: int
    default: 0
  keep_weekly:
    description:
      - For how many weeks to keep the newest set of each.
    type: int
    default: 0
  keep_monthly:
    description:
      - For how many months to keep the newest set of each.
    type: int
    default: 0
  min_verified:
    description:
      - The newest sets with at least the level V(decodable) that are never removed.
    type: int
    default: 3
  prune:
    description:
      - Whether a backup removes expired sets after it.
    type: bool
    default: true
  allow_shrink:
    description:
      - Accept that there is much less in the stack than in the set before. Without it such a set is marked as suspect, and nothing is removed.
    type: bool
    default: false
  shrink_ratio:
    description:
      - With less than this part of the rows or bytes of the set before, a set is suspect.
    type: float
    default: 0.5
  force_retention:
    description:
      - Remove expired sets where the clock of the host has jumped, which otherwise keeps everything.
    type: bool
    default: false
  encryption:
    description:
      - Encrypt the files of the set for people's public keys. The private keys stay where they are.
    type: dict
    suboptions:
      method:
        description: The program.
        type: str
        choices: [age, gpg]
        required: true
      recipients:
        description: Public keys, or files on the target with public keys. For C(gpg) fingerprints as well.
        type: list
        elements: str
        required: true
  max_age_seconds:
    description:
      - Make no set where a verified one is younger than this. V(0) always makes one.
    type: int
    default: 0
  lock_wait_seconds:
    description:
      - How long to wait for another run on the same project to end. V(0) fails at once, and says which run it is.
    type: float
    default: 0
  lock_timeout_seconds:
    description:
      - How long the dump waits for locks of the database before it fails, so that it does not stand in the way of a migration.
    type: float
    default: 60
  time_limit_seconds:
    description:
      - A run that takes longer ends, and nothing is published.
    type: int
    default: 14400
  pgbackrest_stanza:
    description:
      - Have pgBackRest make its own backup of this stanza as well, in the container or on the host where it is set up.
    type: str
  set:
    description:
      - The set to verify with O(action=verify). V(latest), the name of a set, V(all), a time (the newest set before it), or the path of a set.
      - Without it all sets whose verification is due are.
    type: str
seealso:
  - module: stackops.runbook.backup_pull
  - module: stackops.runbook.pg_restore
  - name: What a backup promises
    description: Layout of a set, levels, every failure and what to do, and how to get data back by hand.
    link: https://github.com/stackops/runbook/blob/main/docs/backup.md
"""

EXAMPLES = r"""
- name: Back up every stack of the host
  stackops.runbook.pg_backup:
  become: true

- name: Back up one stack with its uploads, unless there is a set of the last hour
  stackops.runbook.pg_backup:
    project_src: /srv/shop
    volumes: [shop_uploads]
    max_age_seconds: 3600
  become: true

- name: Keep a week of sets, one a week for two months and one a month for a year, encrypted and off the host
  stackops.runbook.pg_backup:
    project_name: shop
    keep_weekly: 8
    keep_monthly: 12
    encryption:
      method: age
      recipients: [age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p]
      required: true
    offsite:
      kind: rclone
      remote: store:backups/web1
      config_file: /etc/stackops/rclone.conf
  become: true

- name: Prove that the newest set restores to the same
  stackops.runbook.pg_backup:
    project_name: shop
    action: verify
    set: latest
    level: equivalent
  become: true
  register: drill

- name: Say how long that took
  ansible.builtin.debug:
    msg: "{{ drill.stacks | map(attribute='duration_seconds') }}"
"""

RETURN = r"""
status:
  description: The worst status of all stacks. V(ok), V(warning) or V(critical).
  returned: always
  type: str
  sample: ok
summary:
  description: What was done, in one line.
  returned: always
  type: str
  sample: "shop: 20261123T160139Z-7f3a, 392 MB, 7403211 rows, decodable, in 9 s"
errors:
  description: What went wrong, and what to do about it.
  returned: always
  type: list
  elements: dict
  contains:
    source:
      description: What was tried.
      returned: always
      type: str
    reason:
      description: What came back.
      returned: always
      type: str
    hint:
      description: The next step.
      returned: always
      type: str
stacks:
  description: What was done for each stack.
  returned: always
  type: list
  elements: dict
  contains:
    project:
      description: Name of the project.
      returned: always
      type: str
      sample: shop
    status:
      description: V(ok), V(warning) or V(critical).
      returned: always
      type: str
    summary:
      description: What was done, in one line.
      returned: always
      type: str
    set_id:
      description: Name of the set, or null where none was made.
      returned: always
      type: str
      sample: 20261123T160139Z-7f3a
    path:
      description: Directory of the set on the target, or null.
      returned: always
      type: str
      sample: /var/backups/stackops/shop/sets/20261123T160139Z-7f3a
    bytes:
      description: Size of the set.
      returned: always
      type: int
    rows:
      description: Rows in it.
      returned: always
      type: int
    duration_seconds:
      description: How long it took.
      returned: always
      type: float
    level:
      description: How far it is verified. V(written), V(intact), V(decodable), V(restorable) or V(equivalent).
      returned: always
      type: str
    suspect:
      description: Whether there is much less in it than in the set before.
      returned: always
      type: bool
    pruned:
      description: Names of the sets that were removed.
      returned: always
      type: list
      elements: str
    offsite_pruned:
      description: Names of the copies off the host that were removed.
      returned: with O(offsite) and O(offsite.retention=true)
      type: list
      elements: str
    offsite_retention:
      description: Why no copy may be removed now; empty if copies may be.
      returned: with O(offsite) and O(offsite.retention=true)
      type: str
    warnings:
      description: What a person should know.
      returned: always
      type: list
      elements: str
    plan:
      description: What would be done, with estimates.
      returned: in check mode
      type: dict
    sets:
      description: The sets that are there, newest first.
      returned: with O(action=list)
      type: list
      elements: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.stackops.runbook.plugins.module_utils._backup import run_backup
from ansible_collections.stackops.runbook.plugins.module_utils._backup_arguments import backup_arguments


def main() -> None:
    """Back up, verify, remove or list."""
    module = AnsibleModule(argument_spec=backup_arguments(), supports_check_mode=True)
    result = run_backup(module.params, module.check_mode)
    if result.get("failed"):
        module.fail_json(**{"msg": result.get("summary") or "the backup failed", **result})
    module.exit_json(**result)


if __name__ == "__main__":
    main()
