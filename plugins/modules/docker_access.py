#!/usr/bin/python
# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: docker_access
short_description: Let a user use Docker, or put the permissions of its socket right
version_added: 1.0.0
description:
  - Adds O(user) to the group that may use Docker. Whoever may use Docker is root on the target, which is said in the plan.
  - With O(socket) it has the engine's socket belong to root and O(group), with mode C(0660). A socket that everybody may write to is put right as well,
    for everybody is root on such a target.
author:
  - stackops.runbook contributors (@stackops)
extends_documentation_fragment:
  - stackops.runbook.attributes
  - stackops.runbook.remediation
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  user:
    description:
      - The user to add to O(group).
    type: str
  socket:
    description:
      - The socket whose permissions are put right.
    type: path
  group:
    description:
      - The group that may use Docker. It must be there already.
    type: str
    default: docker
"""

EXAMPLES = r"""
- name: Let the user deploy use Docker, which makes it root
  stackops.runbook.docker_access:
    user: deploy
  become: true

- name: Put the permissions of the socket right
  stackops.runbook.docker_access:
    socket: /var/run/docker.sock
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
  sample: "user deploy: add it to the group docker. Members of it are root on this host, by docker run --privileged, without a password"
plan:
  description: The commands that do the same by hand.
  returned: always
  type: list
  elements: str
  sample: [usermod -aG docker deploy]
before:
  description: The groups of the user, or owner, group and mode of the socket.
  returned: always
  type: dict
  sample: {groups: [deploy]}
after:
  description: The same afterwards, or as it would be.
  returned: always
  type: dict
  sample: {groups: [deploy, docker]}
undo:
  description: How to go back.
  returned: always
  type: list
  elements: str
  sample: [gpasswd -d deploy docker]
verified:
  description: Whether the effect is there, as C(ok) and C(detail).
  returned: always
  type: dict
  sample: {ok: true, detail: deploy is a member of docker; sessions that are open see it after the next login}
errors:
  description: What went wrong, with the reason and what to do about it.
  returned: always
  type: list
  elements: dict
  sample: []
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.stackops.runbook.plugins.module_utils._arguments import remediation_arguments
from ansible_collections.stackops.runbook.plugins.module_utils._docker_access import give_access


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **remediation_arguments(),
            "user": {"type": "str"},
            "socket": {"type": "path"},
            "group": {"type": "str", "default": "docker"},
        },
        required_one_of=[("user", "socket")],
        mutually_exclusive=[("user", "socket")],
        supports_check_mode=True,
    )
    result = give_access(module.params, module.check_mode)
    if result.get("failed"):
        module.fail_json(msg=result["summary"], **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
