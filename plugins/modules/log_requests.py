#!/usr/bin/python
# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: log_requests
short_description: Find suspicious requests in logs, and how long requests took
version_added: 1.0.0
description:
  - Reads the requests in access logs and in the logs of applications, and tells of more failed logins than there should be, of
    clients that guess passwords or look for what was left lying about, of logins that succeed after a burst of failures, and of
    writes that the application does not have or that are far above what is usual.
  - Known are the access logs of uvicorn, gunicorn, hypercorn, nginx, Apache, Caddy and Traefik, requests in JSON and logfmt, and
    any of them as Docker's logging driver C(json-file) keeps it. Lines that tell of a refused login count as well.
  - Where most requests come from one private address, a proxy stands between. Then the address that it passed on counts, if the
    log has it; else the rules that need to know the client answer V(unknown) and say how to change that.
  - Addresses, paths and user agents are what clients sent. They come back without query strings, control characters and what
    looks like a secret.
  - It reports and blocks nobody.
author:
  - stackops.runbook contributors (@stackops)
extends_documentation_fragment:
  - stackops.runbook.attributes.state_file
  - stackops.runbook.attributes
  - stackops.runbook.attributes.action_group
  - stackops.runbook.docker_connection
  - stackops.runbook.project_selection
  - stackops.runbook.log_sources
options:
  window:
    description:
      - How far to look back, as V(90s), V(15m), V(1h) or V(3d). With O(state_file) that counts for the first run only.
    type: str
    default: 1h
  state_file:
    description:
      - A file on the target that keeps how far each log was read and what has to be known of clients and routes. Then only what
        was written since the last run counts, and what is usual can be learned.
      - It is written with mode C(0600), and not in check mode.
    type: path
  rule_window_seconds:
    description:
      - The span over which the rules count. It moves over all of O(window).
    type: int
    default: 300
  disabled_rules:
    description:
      - Rules that are off.
    type: list
    elements: str
    choices:
      - auth_failures
      - auth_burst_ip
      - auth_spray
      - auth_success_after_burst
      - path_scan
      - unusual_method
      - unexpected_write
      - write_rate
      - source_quality
    default: []
  auth_failures_warning:
    description:
      - From this number of requests answered with 401, or of lines that tell of a failed login, the rule V(auth_failures) is
        V(warning).
    type: int
    default: 51
  auth_failures_critical:
    description:
      - From this number on it is V(critical).
    type: int
    default: 501
  burst_capacity:
    description:
      - The rule V(auth_burst_ip) fires for a client with more than so many answers 401 or 403 that have not leaked yet.
    type: int
    default: 10
  login_capacity:
    description:
      - The same on O(login_paths), where 400 counts as well.
    type: int
    default: 5
  leak_seconds:
    description:
      - After so long one failure of a client is forgotten.
    type: float
    default: 10
  spray_addresses:
    description:
      - The rule V(auth_spray) fires where the failures of O(auth_failures_warning) come from so many clients, none of which fails
        often enough for V(auth_burst_ip).
    type: int
    default: 10
  success_window_seconds:
    description:
      - So long after a client failed too often its successful login is V(critical), by the rule V(auth_success_after_burst).
    type: int
    default: 900
  scan_paths:
    description:
      - The rule V(path_scan) fires for a client that asked for more than so many distinct paths which were refused or are not there.
        Files such as images and paths that differ in numbers only do not count.
    type: int
    default: 10
  sensitive_paths:
    description:
      - The same from so many paths on that nobody has a link to, such as C(/.env), C(/.git/config) or C(/wp-login.php).
    type: int
    default: 3
  unusual_methods:
    description:
      - The rule V(unusual_method) fires for more than so many requests with other O(methods).
    type: int
    default: 5
  methods:
    description:
      - The methods that the application has.
    type: list
    elements: str
    default: [GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS]
  login_paths:
    description:
      - A regular expression for paths at which people log in. By default these are paths with a word like C(login), C(token), C(auth)
        or C(session) in them.
    type: str
  openapi:
    description:
      - Where the OpenAPI document of a service is, a path on the target or a URL, by the service's name or by project and service
        as C(shop/backend). Writes to routes that it does not list make the rule V(unexpected_write) fire.
      - Without a document, the writes of the first O(learn_days) are taken as usual; that needs O(state_file).
    type: dict
  openapi_lookup:
    description:
      - Whether to ask the applications of Compose projects for their C(/openapi.json).
    type: bool
    default: true
  learn_days:
    description:
      - How long to learn what is usual before V(unexpected_write), without a document, and V(write_rate) fire.
    type: float
    default: 7
  write_floor:
    description:
      - The rule V(write_rate) fires for more than so many writes to one route, if that is more than O(write_factor) times what is
        usual at that hour.
    type: int
    default: 20
  write_factor:
    description:
      - See O(write_floor).
    type: float
    default: 5
  known_writes:
    description:
      - Writes that are fine although no document lists them, as V(POST /hooks/{name}), for V(unexpected_write).
    type: list
    elements: str
    default: []
  ignore_clients:
    description:
      - Addresses and networks of clients that may do all that, such as a scanner of your own.
    type: list
    elements: str
    default: []
  mask_addresses:
    description:
      - Whether to return only the networks of clients, C(/24) and of IPv6 C(/48).
    type: bool
    default: false
  latency:
    description:
      - Whether to return RV(requests), how long the requests of the last O(window) took and which failed.
    type: bool
    default: true
  slow_request_ms:
    description:
      - From this many milliseconds on, a request counts as slow.
    type: float
    default: 1000
  max_bytes:
    description:
      - How much to read at most. Where there is more, the newest part is read and RV(logs[].truncated) is true.
    type: int
    default: 268435456
notes:
  - Where the engine cannot be reached, the module does not fail. The result's RV(status) is then V(unknown), and RV(errors) says what was tried and
    what to do.
  - A success is an answer 2xx to a C(POST), C(PUT) or C(PATCH). Applications that answer a failed login with a redirect or with 200 look as if
    nothing had happened.
seealso:
  - module: stackops.runbook.log_error_rate
  - module: stackops.runbook.stack_facts
"""

EXAMPLES = r"""
- name: Look for suspicious requests of the last hour in all Compose projects of the host
  stackops.runbook.log_requests:
  become: true
  register: requests

- name: Show what was found
  ansible.builtin.debug:
    msg: "{{ item.summary }}: {{ item.samples | first | default('') }}"
  loop: "{{ requests.findings }}"
  loop_control:
    label: "{{ item.rule }}"

- name: Look at what a proxy wrote in a day, and fail where somebody may have guessed a password
  stackops.runbook.log_requests:
    paths: [/var/log/nginx/access.log]
    window: 1d
    latency: false
  become: true
  register: proxy
  failed_when: proxy.status == 'critical'

- name: Judge what came since the last run, for a job that is started every five minutes
  stackops.runbook.log_requests:
    project_name: shop
    state_file: /var/lib/stackops/requests.json
    auth_failures_warning: 21
    ignore_clients: [192.0.2.0/24]
    disabled_rules: [write_rate]
  become: true

- name: Know the writes of an application from its own document
  stackops.runbook.log_requests:
    project_name: shop
    openapi:
      backend: http://127.0.0.1:8000/openapi.json
  become: true
"""

RETURN = r"""
status:
  description:
    - The worst status of RV(findings), V(ok), V(warning), V(critical) or V(unknown). It is V(unknown) as well where a log could not be read,
      where no log has any request in it, and where only a client's address could tell.
  returned: always
  type: str
  sample: warning
summary:
  description: What was found, in one line.
  returned: always
  type: str
  sample: "shop: 60 requests answered with 401 in 300 s (and 1 more)"
metrics:
  description: Numbers over all logs. Where a proxy and the application both log, the same request is counted in each.
  returned: always
  type: dict
  sample:
    requests: {value: 3051, unit: ""}
    unauthorized_401: {value: 60, unit: ""}
    forbidden_403: {value: 0, unit: ""}
    not_found_404: {value: 12, unit: ""}
    failed_writes: {value: 60, unit: ""}
    failed_logins: {value: 0, unit: ""}
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
      sample: /var/log/nginx/access.log
    reason:
      description: What came back.
      type: str
      returned: always
      sample: permission denied
    hint:
      description: What to do about it.
      type: str
      returned: always
      sample: Run with become, or let the user read the file.
window_seconds:
  description: The span over which the rules count.
  returned: always
  type: float
  sample: 300
findings:
  description: The rules that fired, one entry for each rule and project, of the log that shows it best.
  returned: always
  type: list
  elements: dict
  contains:
    rule:
      description: The rule, as in O(disabled_rules).
      type: str
      returned: always
      sample: auth_burst_ip
    stack:
      description: The Compose project; empty for logs that belong to none.
      type: str
      returned: always
      sample: shop
    log:
      description: The log, a path, C(journald:) and the unit, or C(container:) with project and service for all containers of a service.
      type: str
      returned: always
      sample: container:shop/proxy
    also_in:
      description: Other logs of the project that show the same.
      type: list
      elements: str
      returned: always
      sample: [/srv/shop/logs/app.log]
    status:
      description: V(warning), V(critical) or, where it cannot be known, V(unknown).
      type: str
      returned: always
      sample: warning
    summary:
      description: What was found.
      type: str
      returned: always
      sample: 1 client failed to authenticate more often than people do
    count:
      description: How many requests or lines made the rule fire.
      type: int
      returned: always
      sample: 55
    clients:
      description: The clients with the most of them. Of IPv6 it is the network of 64 bits.
      type: list
      elements: dict
      returned: always
      sample: [{address: 203.0.113.9, count: 55}]
    paths:
      description: What they asked for most.
      type: list
      elements: dict
      returned: always
      sample: [{path: POST /login, count: 55}]
    user_agents:
      description: What they said they were.
      type: list
      elements: dict
      returned: always
      sample: [{user_agent: curl/8.14.1, count: 55}]
    first_at:
      description: When the first of them was.
      type: str
      returned: always
      sample: "2026-11-23T11:58:20Z"
    last_at:
      description: When the last of them was.
      type: str
      returned: always
      sample: "2026-11-23T11:59:19Z"
    samples:
      description: Three of them, made safe to show.
      type: list
      elements: str
      returned: always
      sample: ['2026-11-23T11:58:20Z 203.0.113.9 "POST /login" 401 curl/8.14.1']
    hint:
      description: What to do. To block a client it is a rule that published ports pass, unlike those of ufw.
      type: str
      returned: always
      sample: "To block (published ports do not pass the INPUT chain, so 'ufw deny' does not help): iptables -I DOCKER-USER -s 203.0.113.9 -j DROP"
clients:
  description:
    - The clients with the most requests that were no ordinary ones - those that were refused or failed, that wrote, or used an unusual method -
      with the endpoints that they asked for. Where a proxy and an application log the same, the log counts that has more of a client.
  returned: always
  type: list
  elements: dict
  contains:
    address:
      description: The client. Of IPv6 it is the network of 64 bits.
      type: str
      returned: always
      sample: 203.0.113.9
    stack:
      description: The Compose project; empty for logs that belong to none.
      type: str
      returned: always
      sample: shop
    log:
      description: The log that counts.
      type: str
      returned: always
      sample: container:shop/proxy
    requests:
      description: How many such requests it made in O(window).
      type: int
      returned: always
      sample: 62
    statuses:
      description: How they were answered.
      type: dict
      returned: always
      sample: {"200": 1, "401": 60, "404": 1}
    failed_writes:
      description: How many of them were writes that were not answered with success.
      type: int
      returned: always
      sample: 60
    paths:
      description: How many distinct paths it asked for in them.
      type: int
      returned: always
      sample: 2
    endpoints:
      description: The endpoints that it asked for most, with C(endpoint), C(count) and C(statuses).
      type: list
      elements: dict
      returned: always
      sample: [{endpoint: POST /login, count: 61, statuses: {"200": 1, "401": 60}}]
    first_at:
      description: When the first of them was.
      type: str
      returned: always
      sample: "2026-11-23T11:58:20Z"
    last_at:
      description: When the last of them was.
      type: str
      returned: always
      sample: "2026-11-23T11:59:19Z"
logs:
  description: What was read.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: The log, as RV(findings[].log).
      type: str
      returned: always
      sample: container:shop/proxy
    stack:
      description: The Compose project that it belongs to.
      type: str
      returned: always
      sample: shop
    service:
      description: The service that it belongs to.
      type: str
      returned: always
      sample: proxy
    lines:
      description: The lines that were read.
      type: int
      returned: always
      sample: 3053
    requests:
      description: The requests among them.
      type: int
      returned: always
      sample: 3051
    unread_requests:
      description: Lines that look like requests and could not be understood.
      type: int
      returned: always
      sample: 0
    statuses:
      description: How often each status was answered.
      type: dict
      returned: always
      sample: {"200": 2979, "401": 60, "404": 12}
    failed_writes:
      description: Requests with C(POST), C(PUT), C(PATCH) or C(DELETE) that were not answered with success.
      type: int
      returned: always
      sample: 60
    failed_logins:
      description: Lines that tell of a failed login and are no requests.
      type: int
      returned: always
      sample: 0
    clients_known:
      description: Whether clients can be told apart.
      type: bool
      returned: always
      sample: true
    busiest_private_client:
      description: The private address with the most requests; null where there is none, or where the log names no clients.
      type: str
      returned: always
      sample: null
    busiest_private_client_percent:
      description: Its share of the requests, or that of requests without a client.
      type: float
      returned: always
      sample: 0.0
    learning:
      description: Whether it is too early to say which writes are unexpected.
      type: bool
      returned: always
      sample: true
    truncated:
      description: Whether only part of what there is was read, because of O(max_bytes) or because there are too many suspicious requests.
      type: bool
      returned: always
      sample: false
    error:
      description: Why it could not be read; null where it could.
      type: str
      returned: always
      sample: null
requests:
  description:
    - How the requests of the last O(window) fared, with the 50th, 95th and 99th percentile of their duration and the worst paths; null without O(latency).
    - Percentiles are at most two percent off.
  returned: always
  type: dict
  sample:
    status: ok
    summary: 3000 requests in 1 logs, 2 slower than 1000 ms
    slow_request_ms: 1000
    sources:
      - {name: /srv/shop/logs/app.log, requests: 3000, slow: 2, errors_5xx: 0, p50_ms: 20.1, p95_ms: 104.3, p99_ms: 211.4, max_ms: 1382.9}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.stackops.runbook.plugins.module_utils._arguments import (
    docker_connection_arguments,
    log_source_arguments,
    project_selection_arguments,
)
from ansible_collections.stackops.runbook.plugins.module_utils._request_check import check_requests


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **docker_connection_arguments(),
            **project_selection_arguments(),
            **log_source_arguments(),
            "window": {"type": "str", "default": "1h"},
            "state_file": {"type": "path"},
            "rule_window_seconds": {"type": "int", "default": 300},
            "disabled_rules": {
                "type": "list",
                "elements": "str",
                "choices": [
                    "auth_failures",
                    "auth_burst_ip",
                    "auth_spray",
                    "auth_success_after_burst",
                    "path_scan",
                    "unusual_method",
                    "unexpected_write",
                    "write_rate",
                    "source_quality",
                ],
                "default": [],
            },
            "auth_failures_warning": {"type": "int", "default": 51},
            "auth_failures_critical": {"type": "int", "default": 501},
            "burst_capacity": {"type": "int", "default": 10},
            "login_capacity": {"type": "int", "default": 5},
            "leak_seconds": {"type": "float", "default": 10},
            "spray_addresses": {"type": "int", "default": 10},
            "success_window_seconds": {"type": "int", "default": 900},
            "scan_paths": {"type": "int", "default": 10},
            "sensitive_paths": {"type": "int", "default": 3},
            "unusual_methods": {"type": "int", "default": 5},
            "methods": {"type": "list", "elements": "str", "default": ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]},
            "login_paths": {"type": "str"},
            "openapi": {"type": "dict"},
            "openapi_lookup": {"type": "bool", "default": True},
            "learn_days": {"type": "float", "default": 7},
            "write_floor": {"type": "int", "default": 20},
            "write_factor": {"type": "float", "default": 5},
            "known_writes": {"type": "list", "elements": "str", "default": []},
            "ignore_clients": {"type": "list", "elements": "str", "default": []},
            "mask_addresses": {"type": "bool", "default": False},
            "latency": {"type": "bool", "default": True},
            "slow_request_ms": {"type": "float", "default": 1000},
            "max_bytes": {"type": "int", "default": 268435456},
        },
        supports_check_mode=True,
    )
    try:
        found = check_requests(module.params, module.check_mode)
    except ValueError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()
