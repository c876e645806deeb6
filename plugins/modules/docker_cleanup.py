#!/usr/bin/python
# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: docker_cleanup
short_description: Make room on the disk of the container engine
version_added: 1.0.0
description:
  - Removes images without a name, the build cache, and one-off containers of Compose that have ended. Says what there was before and after.
  - Never removes a volume, an image that has a name, or a container of a service.
  - It works on a full disk as well. The lines of the audit log are then written afterwards.
author:
  - stackops.runbook contributors (@stackops)
extends_documentation_fragment:
  - stackops.runbook.attributes
  - stackops.runbook.docker_connection
  - stackops.runbook.remediation
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
    details:
      - A second run finds nothing.
options:
  older_than_hours:
    description:
      - Only what was made (images), used (build cache) or has ended (containers) longer ago than this.
    type: float
    default: 24
  images:
    description:
      - Remove images without a name.
    type: bool
    default: true
  build_cache:
    description:
      - Remove the build cache.
    type: bool
    default: true
  one_offs:
    description:
      - Remove containers of C(compose run) that have ended. Their volumes stay.
    type: bool
    default: true
  command_timeout_seconds:
    description:
      - How long one command may take.
    type: float
    default: 600
seealso:
  - module: stackops.runbook.log_cleanup
"""

EXAMPLES = r"""
- name: Say how much could be freed
  stackops.runbook.docker_cleanup:
  become: true
  check_mode: true

- name: Free all of it
  stackops.runbook.docker_cleanup:
    older_than_hours: 0
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
  sample: "the engine's disk: remove 4 images without a name, 31 entries of the build cache: about 1.8 GiB; volumes stay"
plan:
  description: The commands.
  returned: always
  type: list
  elements: str
  sample: ["docker image prune --force --filter until=24h", "docker builder prune --force --filter until=24h"]
before:
  description: What images, build cache and containers take, and what would go.
  returned: always
  type: dict
  sample: {images_bytes: 4831838208, build_cache_bytes: 912680550, volumes: 3}
after:
  description: The same afterwards, and what is free again.
  returned: always
  type: dict
  sample: {images_bytes: 3221225472, freed_bytes: 1932735283, freed: 1.8 GiB, volumes: 3}
undo:
  description: What to type to go back, or why there is no way.
  returned: always
  type: list
  elements: str
  sample: ["There is no way back: images are built or pulled again, and a one-off container is run again."]
verified:
  description: Whether the effect is there, as C(ok) (null where nothing was done) and C(detail).
  returned: always
  type: dict
  sample: {ok: true, detail: "5.3 GiB of images and build cache before, 3.5 GiB after"}
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
    remediation_arguments,
)
from ansible_collections.stackops.runbook.plugins.module_utils._docker_cleanup import run_docker_cleanup


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **docker_connection_arguments(),
            **remediation_arguments(),
            "older_than_hours": {"type": "float", "default": 24},
            "images": {"type": "bool", "default": True},
            "build_cache": {"type": "bool", "default": True},
            "one_offs": {"type": "bool", "default": True},
            "command_timeout_seconds": {"type": "float", "default": 600},
        },
        supports_check_mode=True,
    )
    result = run_docker_cleanup(module.params, module.check_mode)
    if result.get("failed"):
        module.fail_json(msg=result["summary"], **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
