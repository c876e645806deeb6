#!/usr/bin/python
# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_session
short_description: End sessions of PostgreSQL that block others or leave a transaction open
version_added: 1.0.0
description:
  - Ends sessions that others wait for, or that do nothing while their transaction is open. No other session is ever ended, however it is named.
  - A statement that runs is cancelled first. Only where that does not help is the session ended.
  - Numbers of processes are used again. The server compares process, start of the session and start of its statement in the statement that ends
    it, so that a session which is another one meanwhile is left alone.
  - The server's own processes, and backups and restores of this collection, are left alone.
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
  service:
    description:
      - The Compose service of PostgreSQL. It is needed only where the project has several.
    type: str
  sessions:
    description:
      - Sessions by name, as findings and the facts of M(stackops.runbook.stack_facts) have them.
    type: list
    elements: dict
    default: []
    suboptions:
      pid:
        description: Number of the server's process.
        type: int
        required: true
      backend_start:
        description: When the session began. Where it is another one, the session is left alone.
        type: str
      query_start:
        description: When its statement began. Where it is another one, the session is left alone.
        type: str
  blocking_seconds:
    description:
      - End every session that another one has waited for this long. Of a chain only the one at its end.
    type: float
  idle_in_transaction_seconds:
    description:
      - End every session that has left its transaction open and done nothing for this long.
    type: float
  grace_seconds:
    description:
      - How long to wait for the effect of cancelling a statement.
    type: float
    default: 5
  login_user:
    description:
      - User of PostgreSQL to log in as, who may end the sessions. By default found in the container's environment.
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
  - module: stackops.runbook.stack_facts
"""

EXAMPLES = r"""
- name: Say who has blocked others for a minute
  stackops.runbook.pg_session:
    project_name: shop
    blocking_seconds: 60
  become: true
  check_mode: true
  register: blockers

- name: End the session of a finding
  stackops.runbook.pg_session:
    project_name: shop
    sessions:
      - pid: 4711
        backend_start: "2026-11-26T03:14:15.926535Z"
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
  sample: "shop/postgres: end process 4711 of shop@shop (backend), idle in transaction for 312 s, 2 wait for it, the longest for 300 s"
plan:
  description: The commands that do the same by hand.
  returned: always
  type: list
  elements: str
  sample: ["docker compose -p shop exec -T postgres psql -U shop -d shop -c 'SELECT pg_terminate_backend(4711)'"]
before:
  description: The sessions to end as C(sessions), and as C(left) why others are left alone.
  returned: always
  type: dict
  sample: {sessions: [{pid: 4711, state: idle in transaction}], left: []}
after:
  description: What came of each session.
  returned: always
  type: dict
  sample: {sessions: [{pid: 4711, outcome: "its session was ended; its transaction is rolled back"}]}
undo:
  description: Why there is no way back.
  returned: always
  type: list
  elements: str
  sample: ["It cannot be undone: an open transaction is rolled back, and the application has to repeat it."]
verified:
  description: Whether none of them is in the way any more, as C(ok) and C(detail).
  returned: always
  type: dict
  sample: {ok: true, detail: none of them is in the way any more}
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
from ansible_collections.stackops.runbook.plugins.module_utils._pg_session import end_sessions


def main() -> None:
    """Run the module."""
    session = {"pid": {"type": "int", "required": True}, "backend_start": {"type": "str"}, "query_start": {"type": "str"}}
    module = AnsibleModule(
        argument_spec={
            **docker_connection_arguments(),
            **one_project_arguments(),
            **remediation_arguments(),
            "service": {"type": "str"},
            "sessions": {"type": "list", "elements": "dict", "options": session, "default": []},
            "blocking_seconds": {"type": "float"},
            "idle_in_transaction_seconds": {"type": "float"},
            "grace_seconds": {"type": "float", "default": 5},
            "login_user": {"type": "str"},
            "login_password": {"type": "str", "no_log": True},
            "login_db": {"type": "str"},
        },
        supports_check_mode=True,
    )
    result = end_sessions(module.params, module.check_mode)
    if result.get("failed"):
        module.fail_json(msg=result["summary"], **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
