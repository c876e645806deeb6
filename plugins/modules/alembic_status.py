#!/usr/bin/python
# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: alembic_status
short_description: Say whether databases have the Alembic migrations that the code of their applications has
version_added: 1.0.0
description:
  - Compares, for every application of the host's Compose projects, the migration scripts in its image with the revision in its
    database. It says which revisions are pending and in which order they would be applied, whether the code has several heads,
    and whether the database has a revision that the code lacks.
  - The scripts are read out of the container's file system and parsed, never run. This works for a container that does not
    start as well. Only where revisions are computed in a script C(alembic heads) is run in the container, if that runs.
  - The database is asked with its own credentials where it is a container of the same project, else with those of the
    application and from its network.
  - Of an application whose image has no C(alembic.ini) the version table is read, where its database has one. The result says
    what cannot be known without the scripts.
author:
  - stackops.runbook contributors (@stackops)
extends_documentation_fragment:
  - stackops.runbook.attributes.read_only
  - stackops.runbook.attributes
  - stackops.runbook.attributes.action_group
  - stackops.runbook.docker_connection
  - stackops.runbook.project_selection
options:
  deadline:
    description:
      - How many seconds all applications together may take. What has not ended by then is V(unknown).
    type: float
    default: 40
notes:
  - Of services with the same image and the same database only one is listed, that which publishes a port if there is one.
seealso:
  - module: stackops.runbook.stack_facts
  - module: stackops.runbook.pg_backup
"""

EXAMPLES = r"""
- name: Compare code and database of every application
  stackops.runbook.alembic_status:
  become: true
  register: migrations

- name: Say what is pending
  ansible.builtin.debug:
    msg: "{{ item.project }}/{{ item.service }} lacks {{ item.pending | map(attribute='message') | join(', ') }}"
  loop: "{{ migrations.applications | selectattr('pending') }}"
  loop_control:
    label: "{{ item.service }}"

- name: Stop a release whose database is not ready for it
  stackops.runbook.alembic_status:
    project_src: /srv/shop
    services:
      - backend
  become: true
  register: backend
  failed_when: backend.status != 'ok'
"""

RETURN = r"""
status:
  description: The worst status of all applications, V(ok), V(warning), V(critical) or V(unknown).
  returned: always
  type: str
  sample: warning
summary:
  description: What is wrong, in one line.
  returned: always
  type: str
  sample: "shop/backend: 1 pending"
metrics:
  description: The number of pending migrations.
  returned: always
  type: dict
  sample:
    pending_migrations: {value: 1, unit: ""}
errors:
  description: What could not be read, with the reason and what to do about it.
  returned: always
  type: list
  elements: dict
  contains:
    source:
      description: What was to be read.
      type: str
      returned: always
      sample: shop/backend
    reason:
      description: What came back.
      type: str
      returned: always
      sample: "the database's revision is not known: connection refused"
    hint:
      description: What to do about it.
      type: str
      returned: always
      sample: "Run by hand in the container: alembic current && alembic heads"
  sample: []
applications:
  description: One entry for each application with migrations.
  returned: always
  type: list
  elements: dict
  contains:
    project:
      description: The Compose project.
      type: str
      returned: always
      sample: shop
    service:
      description: The service.
      type: str
      returned: always
      sample: backend
    status:
      description:
        - V(ok) where it is up to date, V(warning) where something is pending or there are several heads, V(critical) where
          the database is ahead of the code or was never migrated, or V(unknown).
      type: str
      returned: always
      sample: warning
    state:
      description: V(up-to-date), V(pending), V(multiple-heads), V(ahead), V(not-initialised) or V(unknown).
      type: str
      returned: always
      sample: pending
    reason:
      description: Why the state is V(unknown), or null.
      type: str
      returned: always
      sample: null
    tool:
      description: What manages the migrations, always V(alembic).
      type: str
      returned: always
      sample: alembic
    script_location:
      description: Where the scripts are in the container, or null.
      type: str
      returned: always
      sample: /app/migrations
    heads:
      description: The newest revisions of the code. More than one have to be merged before C(alembic upgrade head) works.
      type: list
      elements: str
      returned: always
      sample: [0003_order_notes]
    current:
      description: The revisions that the database has, as its version table says.
      type: list
      elements: str
      returned: always
      sample: [0002_orders]
    pending:
      description: What the database lacks, in the order in which it would be applied.
      type: list
      elements: dict
      returned: always
      contains:
        revision:
          description: The revision.
          type: str
          returned: always
          sample: 0003_order_notes
        message:
          description: The first line of the script's docstring.
          type: str
          returned: always
          sample: Notes about orders.
    multiple_heads:
      description: Whether the code has several heads; null where that is not known.
      type: bool
      returned: always
      sample: false
    database_ahead:
      description: Whether the database has a revision that the code lacks; null where that is not known.
      type: bool
      returned: always
      sample: false
    unknown_revision:
      description: The revision that the code lacks, or null.
      type: str
      returned: always
      sample: null
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.stackops.runbook.plugins.module_utils._arguments import docker_connection_arguments, project_selection_arguments
from ansible_collections.stackops.runbook.plugins.module_utils._migrations import check_migrations


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **docker_connection_arguments(),
            **project_selection_arguments(),
            "deadline": {"type": "float", "default": 40},
        },
        supports_check_mode=True,
    )
    module.exit_json(changed=False, **check_migrations(module.params))


if __name__ == "__main__":
    main()
