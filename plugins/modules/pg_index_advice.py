#!/usr/bin/python
# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_index_advice
short_description: Suggest indexes of PostgreSQL to make, to make anew or to drop, as text
version_added: 1.0.0
description:
  - Puts together which tables are read sequentially again and again, which statements take the time, which columns these look for, and which
    indexes there are. It says what may help and why. It never makes or drops an index.
author:
  - stackops.runbook contributors (@stackops)
extends_documentation_fragment:
  - stackops.runbook.attributes.read_only
  - stackops.runbook.attributes
  - stackops.runbook.attributes.action_group
  - stackops.runbook.docker_connection
  - stackops.runbook.project_selection.one
options:
  service:
    description:
      - The Compose service of PostgreSQL. It is needed only where the project has several.
    type: str
  login_user:
    description:
      - User of PostgreSQL to log in as. By default found in the container's environment.
    type: str
  login_password:
    description:
      - Password of O(login_user). By default found in the container's environment.
    type: str
  login_db:
    description:
      - The database to look at. By default found in the container's environment.
    type: str
seealso:
  - module: stackops.runbook.pg_slow_queries
"""

EXAMPLES = r"""
- name: Ask which indexes may help
  stackops.runbook.pg_index_advice:
    project_name: shop
  become: true
  register: advice

- name: Show them
  ansible.builtin.debug:
    msg: "{{ advice.plan }}"
"""

RETURN = r"""
status:
  description: V(ok), or V(unknown) where the statements are not known and nothing else stands out.
  returned: always
  type: str
  sample: ok
summary:
  description: How many suggestions there are.
  returned: always
  type: str
  sample: "shop/postgres: 1 suggestion"
plan:
  description: The suggestions as SQL with the reason as a comment.
  returned: always
  type: list
  elements: str
  sample: ['CREATE INDEX CONCURRENTLY ON "public"."orders" ("customer_id");  -- 912 sequential scans read 91200000 rows of a table of 100000']
suggestions:
  description: The same one by one, with C(kind) (V(create), V(rebuild), V(drop) or V(look)), C(sql), C(reason) and C(caution).
  returned: always
  type: list
  elements: dict
  sample: []
before:
  description: Always empty, as with other actions of a remediation that change nothing.
  returned: always
  type: dict
  sample: {}
after:
  description: Always empty.
  returned: always
  type: dict
  sample: {}
undo:
  description: Always empty.
  returned: always
  type: list
  elements: str
  sample: []
verified:
  description: That nothing was changed, as C(ok) and C(detail).
  returned: always
  type: dict
  sample: {ok: null, detail: "nothing was changed: an index is for a person to decide"}
errors:
  description: What could not be read, with the reason and what to do about it.
  returned: always
  type: list
  elements: dict
  sample: []
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.stackops.runbook.plugins.module_utils._arguments import docker_connection_arguments, one_project_arguments
from ansible_collections.stackops.runbook.plugins.module_utils._pg_index_advice import advise


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **docker_connection_arguments(),
            **one_project_arguments(),
            "service": {"type": "str"},
            "login_user": {"type": "str"},
            "login_password": {"type": "str", "no_log": True},
            "login_db": {"type": "str"},
        },
        supports_check_mode=True,
    )
    result = advise(module.params)
    if result.get("failed"):
        module.fail_json(msg=result["summary"], **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
