#!/usr/bin/python
# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: http_probe
short_description: Ask HTTP endpoints and measure every step, from the host or from inside a container's network
version_added: 1.0.0
description:
  - Asks a list of HTTP endpoints side by side and says of each whether it answers, whether the answer is as expected, and how
    long name lookup, connecting, TLS, the first byte and the whole answer took, counted as C(curl -w) counts.
  - Without O(endpoints) it finds those of the host's Compose projects by itself. Every published TCP port of an application or
    a proxy is asked for the URL of its health check, else for C(/health), else for C(/), and an application for C(/docs) as
    well. An application that publishes nothing is asked through its network. A C(/health) or C(/docs) that was only guessed
    and is not there is left out.
  - An endpoint can be asked from inside a container's network namespace, as that container sees it, with no tool in its image.
  - Nothing is cached, no proxy is used, and no redirect of a request that could change something is followed.
author:
  - stackops.runbook contributors (@stackops)
extends_documentation_fragment:
  - stackops.runbook.attributes.read_only
  - stackops.runbook.attributes
  - stackops.runbook.attributes.action_group
  - stackops.runbook.docker_connection
  - stackops.runbook.project_selection
  - stackops.runbook.http_endpoints
options:
  discover:
    description:
      - Whether to find the endpoints of the host's Compose projects as well. Without it, they are where O(endpoints) is empty.
    type: bool
  request_timeout:
    description:
      - How many seconds one attempt may take.
    type: float
    default: 10
  deadline:
    description:
      - How many seconds all endpoints together may take. What has not ended by then is V(unknown).
    type: float
    default: 60
  warning_ms:
    description:
      - From this total time in milliseconds on an endpoint's status is V(warning).
    type: float
    default: 1000
  critical_ms:
    description:
      - From this total time in milliseconds on an endpoint's status is V(critical).
    type: float
    default: 3000
  old_tls_versions:
    description:
      - Whether to try what C(https) endpoints agree to of TLS 1.0 and 1.1, which nobody should speak any more.
    type: bool
    default: false
notes:
  - Put a token into O(endpoints[].token) or O(endpoints[].headers) rather than into the URL. Values in a URL's query are masked in results where their
    name says that they are secret, and only there.
seealso:
  - module: stackops.runbook.compose_health
  - module: stackops.runbook.stack_facts
  - module: ansible.builtin.uri
"""

EXAMPLES = r"""
- name: Ask whatever the host's Compose projects offer
  stackops.runbook.http_probe:
  become: true
  register: probed

- name: Say what is not as expected
  ansible.builtin.debug:
    msg: "{{ item.name }}: {{ item.message }}"
  loop: "{{ probed.endpoints | rejectattr('status', 'equalto', 'ok') }}"
  loop_control:
    label: "{{ item.url }}"

- name: Ask the health endpoint, and give a fresh deployment time to come up
  stackops.runbook.http_probe:
    endpoints:
      - url: http://localhost:8000/health
        expected_json:
          - status == ok
        retries: 5
        retry_delay_seconds: 2
  register: health
  failed_when: health.status == 'critical'

- name: See that the API takes a good token and refuses a bad one
  stackops.runbook.http_probe:
    endpoints:
      - name: with a token
        url: http://localhost:8000/api/v1/items
        headers:
          Authorization: "Bearer {{ api_token }}"
      - name: with a wrong token
        url: http://localhost:8000/api/v1/items
        method: POST
        json: {name: probe, price: 1}
        headers:
          Authorization: Bearer invalid_token
        expected_status: [401, 403]

- name: See that a protected endpoint takes a good token, and refuses an invalid one, an expired one and none
  stackops.runbook.http_probe:
    endpoints:
      - name: items
        url: http://localhost:8000/api/v1/items
        token: "{{ vault_api_token }}"
        token_tests:
          expired: "{{ vault_expired_api_token }}"
  register: tokens
  failed_when: tokens.status == 'critical'

- name: See the backend as the proxy sees it
  stackops.runbook.http_probe:
    endpoints:
      - url: http://backend:8000/health
        container: proxy
  become: true

- name: Tell when the certificate ends
  stackops.runbook.http_probe:
    endpoints:
      - url: https://shop.example.com/
        certificate_warning_days: 30
"""

RETURN = r"""
status:
  description: The worst status of all endpoints, V(ok), V(warning), V(critical) or V(unknown).
  returned: always
  type: str
  sample: critical
summary:
  description: What is wrong, in one line.
  returned: always
  type: str
  sample: "1 of 2 endpoints not as expected: backend:8000/health: HTTP 500"
metrics:
  description: The total time of each endpoint, with its unit and thresholds.
  returned: always
  type: dict
  sample:
    shop/backend:8000/health.time_total_ms: {value: 12.4, unit: ms, warning: 1000, critical: 3000}
errors:
  description: What could not be tried, with the reason and what to do about it.
  returned: always
  type: list
  elements: dict
  contains:
    source:
      description: What was to be read.
      type: str
      returned: always
      sample: http://backend:8000/health
    reason:
      description: What came back.
      type: str
      returned: always
      sample: "not probed: Operation not permitted"
    hint:
      description: What to do about it.
      type: str
      returned: always
      sample: Run as root, or probe it by hand with curl -v.
  sample: []
endpoints:
  description: One entry for each endpoint.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: What it is called.
      type: str
      returned: always
      sample: backend:8000/health
    project:
      description: The Compose project, or null.
      type: str
      returned: always
      sample: shop
    service:
      description: The service, or null.
      type: str
      returned: always
      sample: backend
    origin:
      description: V(discovered) or V(declared).
      type: str
      returned: always
      sample: discovered
    method:
      description: The method.
      type: str
      returned: always
      sample: GET
    url:
      description: The URL, without user and password.
      type: str
      returned: always
      sample: http://localhost:8000/health
    via:
      description: From where it was asked, V(host) or V(container-network).
      type: str
      returned: always
      sample: host
    status:
      description: V(ok), V(warning), V(critical) or V(unknown).
      type: str
      returned: always
      sample: critical
    reachable:
      description: Whether an HTTP answer came back.
      type: bool
      returned: always
      sample: true
    http_status:
      description: The status of the answer, or null.
      type: int
      returned: always
      sample: 500
    expected_status:
      description: The statuses that were declared as expected.
      type: list
      elements: int
      returned: always
      sample: [200]
    failure:
      description:
        - Why it is not as expected, or null.
        - It is V(name-not-resolved), V(connection-refused), V(connect-timeout), V(unreachable), V(not-running), V(read-timeout),
          V(tls-error), V(connection-reset), V(unexpected-status), V(unexpected-body), V(slow) or V(protocol-error).
      type: str
      returned: always
      sample: unexpected-status
    message:
      description: The same in words, with what came back, or null.
      type: str
      returned: always
      sample: HTTP 500
    body_excerpt:
      description: The first 500 characters of an answer that is not as expected, or null.
      type: str
      returned: always
      sample: '{"status": "error", "database": "connection refused"}'
    time_name_lookup_ms:
      description: When the name was resolved, in milliseconds from the start, or null.
      type: float
      returned: always
      sample: 0.4
    time_connect_ms:
      description: When the connection was there, or null.
      type: float
      returned: always
      sample: 0.6
    time_tls_ms:
      description: When TLS was agreed on, or null.
      type: float
      returned: always
      sample: null
    time_first_byte_ms:
      description: When the first byte of the answer came, or null.
      type: float
      returned: always
      sample: 11.9
    time_total_ms:
      description: When the answer was complete, or the attempt over.
      type: float
      returned: always
      sample: 12.4
    tls_expires_at:
      description: When the certificate ends, valid or not, in UTC, or null.
      type: str
      returned: always
      sample: '2026-12-24T10:00:00Z'
    tls_days_left:
      description: The days until then, or null.
      type: float
      returned: always
      sample: 30.5
    tls_version:
      description: The version of TLS that was agreed on, or null.
      type: str
      returned: always
      sample: TLSv1.3
    tls_old_versions:
      description: What of TLS 1.0 and 1.1 it agreed to as well. Null where it has no TLS, did not answer, or this host speaks neither.
      type: list
      elements: str
      returned: with O(old_tls_versions)
      sample: []
    token:
      description: The token it was asked with, V(valid), V(invalid), V(expired) or V(missing); null where O(endpoints[].token) is not set.
      type: str
      returned: always
      sample: expired
    redirects:
      description: How many redirects were followed.
      type: int
      returned: always
      sample: 0
    attempts:
      description: How often it was tried. V(0) is not at all, because its container does not run.
      type: int
      returned: always
      sample: 1
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.stackops.runbook.plugins.module_utils._arguments import docker_connection_arguments, project_selection_arguments
from ansible_collections.stackops.runbook.plugins.module_utils._http_probe import check_endpoints, endpoint_arguments, hide_secrets


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **docker_connection_arguments(),
            **project_selection_arguments(),
            "endpoints": {"type": "list", "elements": "dict", "default": [], "options": endpoint_arguments()},
            "discover": {"type": "bool"},
            "request_timeout": {"type": "float", "default": 10},
            "deadline": {"type": "float", "default": 60},
            "warning_ms": {"type": "float", "default": 1000},
            "critical_ms": {"type": "float", "default": 3000},
            "old_tls_versions": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    params = {**module.params, "endpoints": [dict(endpoint) for endpoint in module.params["endpoints"]]}
    # What Ansible masks by itself includes every short value of a header, and with it the numbers of the result.
    module.no_log_values = hide_secrets(module.params)
    try:
        facts = check_endpoints(params)
    except ValueError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **facts)


if __name__ == "__main__":
    main()
