#!/usr/bin/python
# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: port_probe
short_description: Tell which TCP ports answer, seen from the host it runs on
version_added: 1.0.0
description:
  - Connects to many TCP ports at once, sends nothing, and closes the connection.
  - Run it on a host outside to see what is true of a firewall. A host that connects to its own addresses takes another way and proves nothing.
  - With O(compare=true) it takes its targets from what M(stackops.runbook.stack_facts) handed over of the host of the play, and
    notes there, for M(stackops.runbook.diagnose_report), where the answers and the verdicts on the ports differ.
author:
  - stackops.runbook contributors (@stackops)
extends_documentation_fragment:
  - stackops.runbook.attributes
  - stackops.runbook.attributes.read_only
attributes:
  action:
    description: Indicates this has a corresponding action plugin so some parts of the options can be executed on the controller.
    support: full
options:
  targets:
    description:
      - What to connect to. Not with O(compare=true).
    type: list
    elements: dict
    default: []
    suboptions:
      address:
        description: IPv4 or IPv6 address.
        type: str
        required: true
      port:
        description: TCP port.
        type: int
        required: true
  timeout_seconds:
    description:
      - How long one port may take to answer. All of them are tried side by side.
    type: float
    default: 3
  compare:
    description:
      - Try the ports of the host of the play, from the host that the task is delegated to, and compare.
    type: bool
    default: false
  addresses:
    description:
      - Addresses or names by which the one outside reaches the host of the play, with O(compare=true).
    type: list
    elements: str
    default: []
  probe_from:
    description:
      - What the report calls the one outside, with O(compare=true).
    type: str
    default: controller
seealso:
  - module: stackops.runbook.published_ports
  - module: stackops.runbook.diagnose_report
"""

EXAMPLES = r"""
- name: See from the controller which ports of the host answer
  stackops.runbook.port_probe:
    targets:
      - {address: 192.0.2.10, port: 443}
      - {address: "2001:db8::10", port: 443}
  delegate_to: localhost
  become: false
  register: seen

- name: Collect what the rules say
  stackops.runbook.stack_facts:
    collectors: [firewall]
    return_facts: false
  become: true

- name: Compare that with what another host of the inventory sees
  stackops.runbook.port_probe:
    compare: true
    addresses: [web1.example.com]
    probe_from: bastion
  delegate_to: bastion
"""

RETURN = r"""
status:
  description: V(ok), also where nothing answers. It is V(unknown) with O(compare=true) where nothing could be tried.
  returned: always
  type: str
  sample: ok
summary:
  description: What was seen, in one line.
  returned: always
  type: str
  sample: 2 of 14 ports answered
metrics:
  description: How many ports gave which result.
  returned: always
  type: dict
  sample: {ports: {value: 14, unit: ""}, open: {value: 2, unit: ""}}
errors:
  description: What could not be done.
  returned: always
  type: list
  elements: dict
results:
  description: One row for each target. Not with O(compare=true).
  returned: always
  type: list
  elements: dict
  contains:
    address:
      description: The address.
      type: str
      returned: always
      sample: 192.0.2.10
    port:
      description: The port.
      type: int
      returned: always
      sample: 443
    result:
      description:
        - V(open), a connection was made; V(refused), it was turned away at once; V(silent), no answer in time; V(unreachable), there is no way there.
      type: str
      returned: always
      sample: open
    reason:
      description: What the system said. Empty for V(open).
      type: str
      returned: always
      sample: ""
    duration_ms:
      description: How long it took.
      type: int
      returned: always
      sample: 4
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.stackops.runbook.plugins.module_utils._port_probe import probe_all, target_of


def main() -> None:
    """Connect and return what answered."""
    module = AnsibleModule(
        argument_spec={
            "targets": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {"address": {"type": "str", "required": True}, "port": {"type": "int", "required": True}},
            },
            "timeout_seconds": {"type": "float", "default": 3},
            "compare": {"type": "bool", "default": False},
            "addresses": {"type": "list", "elements": "str", "default": []},
            "probe_from": {"type": "str", "default": "controller"},
        },
        supports_check_mode=True,
    )
    try:
        targets = [target_of(entry) for entry in module.params["targets"]]
    except ValueError as error:
        module.fail_json(msg=f"targets: {error}")
    module.exit_json(changed=False, **probe_all(targets, module.params["timeout_seconds"]))


if __name__ == "__main__":
    main()
