#!/usr/bin/python
# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: backup_pull
short_description: Copy backup sets from the hosts to the controller
version_added: 1.0.0
author:
  - stackops.runbook contributors (@stackops)
description:
  - Copies one set of each project to C(<dest>/<host>/<project>/<set>) on the controller, over the connection that Ansible has.
  - Every file is compared with the manifest of the set by size and SHA-256 while it arrives. The set gets its name when all of it is there and right,
    or not at all.
  - Works with C(become). Neither side needs memory or temporary space for more than a part of 128 MiB.
  - A set that is there already is not copied again. Sets on the controller are never removed.
extends_documentation_fragment:
  - stackops.runbook.attributes
attributes:
  action:
    description: Indicates this has a corresponding action plugin so some parts of the options can be executed on the controller.
    support: full
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  dest:
    description:
      - Directory on the controller. A relative path starts where C(ansible-playbook) was called.
    type: str
    required: true
  root:
    description:
      - Directory on the target that holds the sets.
    type: path
    default: /var/backups/stackops
  projects:
    description:
      - Names of the projects. Without any, all that have a set.
    type: list
    elements: str
    default: []
  set:
    description:
      - Name of the set. V(latest) is the newest that is verified.
    type: str
    default: latest
  part:
    description:
      - Which part to hand over. The action plugin sets it, so there is no need to.
    type: dict
    suboptions:
      project:
        description: The project.
        type: str
        required: true
      set:
        description: Name of the set.
        type: str
        required: true
      offset:
        description: Where the part begins, counted through all files of the set.
        type: int
        required: true
      bytes:
        description: Size of the part.
        type: int
        required: true
      directory:
        description: Where to put it, a directory of the user who logs in.
        type: path
        required: true
seealso:
  - module: stackops.runbook.pg_backup
"""

EXAMPLES = r"""
- name: Copy the newest set of each stack to the controller
  stackops.runbook.backup_pull:
    dest: ./backups
  become: true

- name: Copy a certain one
  stackops.runbook.backup_pull:
    dest: /srv/backups
    projects: [shop]
    set: 20261123T160139Z-7f3a
  become: true
"""

RETURN = r"""
sets:
  description: The sets, on the controller after this.
  returned: success
  type: list
  elements: dict
  contains:
    project:
      description: The project.
      returned: always
      type: str
      sample: shop
    set_id:
      description: Name of the set.
      returned: always
      type: str
      sample: 20261123T160139Z-7f3a
    path:
      description: Where it is on the controller.
      returned: always
      type: str
    bytes:
      description: Its size.
      returned: always
      type: int
    copied:
      description: Whether it was copied now.
      returned: always
      type: bool
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.stackops.runbook.plugins.module_utils._backup_arguments import DEFAULT_ROOT
from ansible_collections.stackops.runbook.plugins.module_utils._backup_transfer import set_path, sets_to_copy, write_part
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError


def main() -> None:
    """Say which sets there are, or hand over a part of one."""
    part = {
        "project": {"type": "str", "required": True},
        "set": {"type": "str", "required": True},
        "offset": {"type": "int", "required": True},
        "bytes": {"type": "int", "required": True},
        "directory": {"type": "path", "required": True},
    }
    module = AnsibleModule(
        argument_spec={
            "dest": {"type": "str", "required": True},
            "root": {"type": "path", "default": DEFAULT_ROOT},
            "projects": {"type": "list", "elements": "str", "default": []},
            "set": {"type": "str", "default": "latest"},
            "part": {"type": "dict", "options": part},
        },
        supports_check_mode=True,
    )
    root, wanted = module.params["root"], module.params["part"]
    try:
        if wanted:
            path = set_path(root, wanted["project"], wanted["set"])
            result = write_part(path, wanted["offset"], wanted["bytes"], wanted["directory"])
        else:
            result = {"sets": sets_to_copy(root, module.params["projects"], module.params["set"])}
    except CheckError as error:
        module.fail_json(msg=error.sentence)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
