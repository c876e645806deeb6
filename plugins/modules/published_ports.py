#!/usr/bin/python
# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: published_ports
short_description: Tell which ports of a host can be reached from outside, and whether the firewall knows
version_added: 1.0.0
description:
  - Looks at every port that a container publishes or a program listens on, IPv4 and IPv6 apart, and tells who outside can reach it.
  - Ports that Docker publishes do not pass the rules that C(ufw) and C(firewalld) make for the host's own ports, so the status of
    those says nothing about them. This module walks the packet's way through the rules that are in the kernel - C(iptables) of both
    back ends, C(nftables), Docker's chains and C(DOCKER-USER) - and compares what comes out with what C(ufw) or C(firewalld) are told.
  - What cannot be told, for want of rights or because a rule uses a match that is not modelled, is V(unknown) with the reason.
  - It sees the host's own rules. A filter before the host, such as a security group of a cloud, is not among them.
  - It only reads, and it makes no connection.
author:
  - stackops.runbook contributors (@stackops)
extends_documentation_fragment:
  - stackops.runbook.attributes
  - stackops.runbook.attributes.read_only
  - stackops.runbook.attributes.action_group
  - stackops.runbook.docker_connection
  - stackops.runbook.project_selection
options:
  expected:
    description:
      - The ports of the host that are meant to be reachable from outside.
      - With this option every other reachable port is wrong, also where the firewall allows it. An empty list means that none is meant to be
        reachable. Without the option, what C(ufw) or C(firewalld) allows is taken as meant.
    type: list
    elements: dict
    suboptions:
      port:
        description: Port of the host, as published.
        type: int
        required: true
      protocol:
        description: Protocol of the port.
        type: str
        choices: [tcp, udp, sctp]
        default: tcp
      family:
        description: IP version for which it is meant to be reachable.
        type: str
        choices: [any, ipv4, ipv6]
        default: any
      from:
        description: Addresses and networks that are meant to reach it. Without any, everybody.
        type: list
        elements: str
        default: []
notes:
  - It needs root, as only root sees the firewall's rules. Without it every port that is not bound to the host itself is V(unknown).
seealso:
  - module: stackops.runbook.stack_facts
  - name: Docker's documentation about packet filtering
    description: How published ports and firewalls go together.
    link: https://docs.docker.com/engine/network/packet-filtering-firewalls/
"""

EXAMPLES = r"""
- name: Tell which ports are reachable
  stackops.runbook.published_ports:
  become: true
  register: ports

- name: Show those that the firewall does not know about
  ansible.builtin.debug:
    msg: "{{ item.host_port }}/{{ item.protocol }} {{ item.family }}: {{ item.reason }}"
  loop: "{{ ports.ports | selectattr('class', 'eq', 'exposed_bypass') }}"
  loop_control:
    label: "{{ item.host_port }}"

- name: Fail where something else than the web server and the office's SSH is reachable
  stackops.runbook.published_ports:
    expected:
      - {port: 443}
      - {port: 22, from: [192.0.2.0/24]}
  become: true
  register: ports
  failed_when: ports.status == 'critical'
"""

RETURN = r"""
status:
  description: The worst status of all ports, V(ok), V(warning), V(critical) or V(unknown).
  returned: always
  type: str
  sample: critical
summary:
  description: What is wrong, in one line.
  returned: always
  type: str
  sample: "port 8080/tcp (ipv4, shop/backend): open to everybody although ufw says no: DEFAULT_INPUT_POLICY=DROP"
metrics:
  description: How many ports there are of each class.
  returned: always
  type: dict
  sample:
    ports: {value: 3, unit: ""}
    exposed_bypass: {value: 1, unit: ""}
errors:
  description: What could not be read, with the reason and what to do about it.
  returned: always
  type: list
  elements: dict
  contains:
    source:
      description: What was read.
      type: str
      returned: always
      sample: iptables-nft-save
    reason:
      description: What came back.
      type: str
      returned: always
      sample: Permission denied
    hint:
      description: The next step.
      type: str
      returned: always
      sample: "Run as root (become: true): only root sees the firewall's rules."
host_firewall:
  description: What the host filters by. Null where nothing of it could be looked at.
  returned: always
  type: dict
  contains:
    engine:
      description:
        - What is in force, V(ufw), V(firewalld), V(rules) (rules of somebody's own) or V(none). Null where the rules could not be read.
      type: str
      returned: success
      sample: ufw
    installed:
      description: Which of V(ufw) and V(firewalld) are installed.
      type: list
      elements: str
      returned: success
      sample: [ufw]
    not_in_force:
      description: Which of them are switched on, without their rules being in the kernel.
      type: list
      elements: str
      returned: success
      sample: []
    rules_in:
      description: Where rules are, V(iptables-nft), V(iptables-legacy) and V(nftables).
      type: list
      elements: str
      returned: success
      sample: [iptables-nft]
    mixed_iptables:
      description: Whether both back ends of C(iptables) have rules. The kernel asks both.
      type: bool
      returned: success
    rules:
      description: How many rules there are.
      type: int
      returned: success
    readable:
      description: Whether all rules could be read.
      type: bool
      returned: success
    forwarding:
      description: Whether the host forwards packets, by IP version.
      type: dict
      returned: success
      sample: {ipv4: true, ipv6: false}
    strict_forward_ports:
      description: The setting C(StrictForwardPorts) of C(firewalld). Null without it.
      type: bool
      returned: success
    outside_interfaces:
      description: The interfaces that somebody outside can come in by.
      type: list
      elements: str
      returned: success
      sample: [eth0]
    docker_version:
      description: The engine's version. Null without one.
      type: str
      returned: success
      sample: 28.2.2
missing:
  description: The ports of O(expected) that nobody can reach.
  returned: always
  type: list
  elements: dict
  contains:
    port:
      description: The port.
      type: int
      returned: always
    protocol:
      description: Its protocol.
      type: str
      returned: always
    family:
      description: V(ipv4), V(ipv6) or V(any).
      type: str
      returned: always
    reason:
      description: Why nobody can.
      type: str
      returned: always
      sample: nothing is published or listens there
ports:
  description: One row for each port, address and IP version.
  returned: always
  type: list
  elements: dict
  contains:
    label:
      description: What to call it, project and service, else the container, else the program.
      type: str
      returned: always
      sample: shop/backend
    origin:
      description: V(published) by a container, V(host_network) of a container in the host's network, or V(process) of the host.
      type: str
      returned: always
      sample: published
    project:
      description: Compose project. Null without one.
      type: str
      returned: always
      sample: shop
    service:
      description: Compose service. Null without one.
      type: str
      returned: always
      sample: backend
    container:
      description: Name of the container. Null for a program of the host.
      type: str
      returned: always
      sample: shop-backend-1
    process:
      description: Name of the program that listens. Null for a published port, and without root.
      type: str
      returned: always
      sample: null
    container_port:
      description: Port inside the container. Null for a program of the host.
      type: int
      returned: always
      sample: 8000
    host_ip:
      description: Address of the host that it is bound to.
      type: str
      returned: always
      sample: 0.0.0.0
    host_port:
      description: Port of the host.
      type: int
      returned: always
      sample: 8080
    protocol:
      description: V(tcp), V(udp) or V(sctp).
      type: str
      returned: always
      sample: tcp
    family:
      description: V(ipv4) or V(ipv6).
      type: str
      returned: always
      sample: ipv4
    class:
      description:
        - V(exposed_bypass), open to everybody although the firewall's configuration says no.
        - V(exposed_no_firewall), open to everybody, and the host has no firewall.
        - V(exposed_intended), open to everybody, as O(expected) or the firewall's configuration says.
        - V(exposed_unexpected), open to everybody, allowed by the firewall and not in O(expected).
        - V(allowlisted), open to listed senders only.
        - V(private_bind), bound to an address that the Internet does not route.
        - V(filtered), the rules let nobody in.
        - V(loopback_only), bound to the host itself.
        - V(loopback_leaky), bound to the host itself, and yet reachable from the neighbouring network.
        - V(closed), nothing takes the packets.
        - V(unknown), it cannot be told.
      type: str
      returned: always
      sample: exposed_bypass
    verdict:
      description:
        - What somebody outside who connects finds - V(reachable), V(restricted) (some senders get in), V(filtered), V(local) (only the host
          itself gets in), V(closed) or V(unknown).
      type: str
      returned: always
      sample: reachable
    status:
      description: V(ok), V(warning), V(critical) or V(unknown).
      type: str
      returned: always
      sample: critical
    reason:
      description: Why, in one sentence.
      type: str
      returned: always
      sample: "open to everybody although ufw says no: DEFAULT_INPUT_POLICY=DROP"
    expected:
      description: Whether it is as O(expected) says. Null without that option, and where it is V(unknown).
      type: bool
      returned: always
      sample: null
    reachable_from:
      description: The senders that get in, at most twenty networks.
      type: list
      elements: str
      returned: always
      sample: [0.0.0.0/0]
    interfaces:
      description: The interfaces they come in by.
      type: list
      elements: str
      returned: always
      sample: [eth0]
    path:
      description: V(forwarded) to a container, or V(local), to a program of the host. Null where nobody gets in.
      type: str
      returned: always
      sample: forwarded
    policy:
      description: What the firewall's configuration says about the port.
      type: dict
      returned: always
      contains:
        engine:
          description: V(ufw), V(firewalld), V(rules) or V(none).
          type: str
          returned: always
          sample: ufw
        verdict:
          description: V(allow), V(partial), V(deny) or V(none). Null where it was not asked, because nobody gets in.
          type: str
          returned: always
          sample: deny
        rules:
          description: The words of the configuration that say so.
          type: list
          elements: str
          returned: always
          sample: ["DEFAULT_INPUT_POLICY=DROP"]
    evidence:
      description: The rules that decide, in the order in which the packet meets them.
      type: list
      elements: dict
      returned: always
      contains:
        source:
          description: The command that shows the rule, without its table.
          type: str
          returned: always
          sample: iptables-nft-save
        table:
          description: The table.
          type: str
          returned: always
          sample: nat
        chain:
          description: The chain.
          type: str
          returned: always
          sample: DOCKER
        rule:
          description: The rule, as the command shows it.
          type: str
          returned: always
          sample: "-A DOCKER ! -i br-3f2a -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.18.0.2:8000"
    fix:
      description: What can be done, the shortest first. Empty where nothing is wrong.
      type: list
      elements: dict
      returned: always
      contains:
        action:
          description: A word for it, for example V(bind_loopback), V(unpublish), V(docker_user), V(firewalld_strict) or V(raw_drop).
          type: str
          returned: always
          sample: bind_loopback
        text:
          description: What to do.
          type: str
          returned: always
          sample: Publish it on this host only, under ports of shop/backend in the Compose file, and apply that.
        commands:
          description: Commands or lines of a file.
          type: list
          elements: str
          returned: always
          sample: ['"127.0.0.1:8080:8000"', cd /srv/shop && docker compose -p shop up -d backend]
    survives_recreate:
      description:
        - Whether the answer stays the same when the container is created anew with another address. It does not where a rule that the engine
          has not made names the present address. Null where no rule decides.
      type: bool
      returned: always
      sample: true
    direct:
      description:
        - Whether a machine of the neighbouring network that sends packets straight to the container's address reaches the port, wherever it is
          published. Docker Engine 28.0.0 and later keeps such packets out. Null where that is no question or cannot be told.
      type: bool
      returned: always
      sample: false
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.stackops.runbook.plugins.module_utils._arguments import (
    docker_connection_arguments,
    expected_port_arguments,
    project_selection_arguments,
)
from ansible_collections.stackops.runbook.plugins.module_utils._published_ports import check_ports


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **docker_connection_arguments(),
            **project_selection_arguments(),
            "expected": {"type": "list", "elements": "dict", "options": expected_port_arguments()},
        },
        supports_check_mode=True,
    )
    module.exit_json(changed=False, **check_ports(module.params))


if __name__ == "__main__":
    main()
