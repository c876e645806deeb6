#!/usr/bin/python
# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: support_bundle_write
short_description: Redact what was collected from a fleet and write one archive
version_added: 1.0.0
author:
  - stackops.runbook contributors (@stackops)
description:
  - Reads what M(stackops.runbook.support_bundle) handed over in the same run of C(ansible-playbook), redacts it, judges the redacted facts
    with the rules of P(stackops.runbook.diagnose#role), and writes one C(tar.gz) with a folder for each host and a manifest.
  - Secrets become tokens, the same value the same token on all hosts. Addresses and names become pseudonyms. JSON, YAML and files of variables are
    read as such, and stay valid. What the containers, configuration and secret files of any host say is a secret is replaced in the files of
    all hosts, whatever stands around it.
  - A file that cannot be redacted is left out and named in the manifest. If a last search finds a secret, nothing is written.
  - It runs on the controller, for all hosts of the play at once. Use it with C(run_once).
extends_documentation_fragment:
  - stackops.runbook.attributes
attributes:
  check_mode:
    support: full
    details:
      - Nothing is written in check mode.
  diff_mode:
    support: none
  idempotent:
    support: N/A
    details:
      - Each run writes a bundle of its own. It is about the hosts and changes nothing on them.
options:
  dest:
    description:
      - Directory on the controller for the bundle. A relative path starts where C(ansible-playbook) was called.
    type: path
    default: ./support-bundles
  map_dir:
    description:
      - Directory on the controller for the map that says who is who. Never send it along.
    type: path
    default: ./private-maps
  map:
    description:
      - Map of an earlier bundle. With it, the same secrets, addresses and names are called the same in this bundle, and the map is brought up to date.
    type: path
  names:
    description:
      - Whether addresses and the names of hosts, users and domains become pseudonyms. Secrets never are kept.
    type: str
    choices: [pseudonyms, keep]
    default: pseudonyms
  known_secrets:
    description:
      - More values that must not be in the bundle. Keep them in a vault.
    type: list
    elements: str
    default: []
  rule_dirs:
    description:
      - Directories with the rules that the facts are judged by.
    type: list
    elements: path
    required: true
  language:
    description:
      - Language of the report.
    type: str
    choices: [en, zh_TW]
    default: en
seealso:
  - module: stackops.runbook.support_bundle
  - module: stackops.runbook.diagnose_report
"""

EXAMPLES = r"""
- name: Redact and write what was collected
  stackops.runbook.support_bundle_write:
    dest: ./bundles
    rule_dirs:
      - "{{ playbook_dir }}/rules"
  run_once: true
  delegate_to: localhost
"""

RETURN = r"""
path:
  description: The bundle, on the controller.
  returned: success
  type: str
  sample: /home/ops/support-bundles/support-bundle-20261123T100000Z.tar.gz
bytes:
  description: Its size.
  returned: success
  type: int
  sample: 183011
map:
  description: The map that says who is who, on the controller.
  returned: success
  type: str
  sample: /home/ops/private-maps/map-20261123T100000Z.json
hosts:
  description: Number of hosts in the bundle.
  returned: success
  type: int
without_evidence:
  description: Number of hosts that gave nothing.
  returned: success
  type: int
files:
  description: Number of files of the hosts.
  returned: success
  type: int
left_out:
  description: Number of files that could not be redacted.
  returned: success
  type: int
redacted:
  description: How much was replaced, by kind.
  returned: success
  type: dict
  sample: {addresses: 812, names: 90, secrets: 31, values: 14}
"""
