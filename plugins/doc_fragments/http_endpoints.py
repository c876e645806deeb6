# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """HTTP endpoints as users declare them; the matching argument spec is ``endpoint_arguments`` of ``module_utils/_http_probe.py``."""

    DOCUMENTATION = r"""
options:
  endpoints:
    description:
      - What to ask. Where it is empty, the endpoints of the host's Compose projects are found.
    type: list
    elements: dict
    default: []
    suboptions:
      url:
        description:
          - The URL, C(http) or C(https). A user and a password in it become a header and are never shown.
        type: str
        required: true
      name:
        description:
          - What to call it in results. Without it, it is called by its URL.
        type: str
      project:
        description:
          - The Compose project that it belongs to, for reports.
        type: str
      service:
        description:
          - The service that it belongs to, for reports.
        type: str
      container:
        description:
          - Ask from inside the network of this container. It is a container's name or id, a service, or C(project/service).
          - Names are resolved as that container resolves them. This needs root.
        type: str
      method:
        description:
          - The method. Redirects are followed for V(GET) and V(HEAD) alone.
        type: str
        choices: [DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT]
        default: GET
      headers:
        description:
          - Headers to send. Their values are kept out of logs and results. They do not follow a redirect to another origin
            where their name says that they are secret.
        type: dict
      body:
        description:
          - What to send. It excludes O(endpoints[].json).
        type: str
      json:
        description:
          - What to send as JSON, with the matching C(Content-Type).
        type: raw
      token:
        description:
          - A valid token, from a variable in a vault. It is sent in O(endpoints[].token_header) and never shown.
        type: str
      token_header:
        description:
          - The header for the token.
        type: str
        default: Authorization
      token_prefix:
        description:
          - What stands before the token in the header. It may be empty.
        type: str
        default: "Bearer "
      token_tests:
        description:
          - Ask not only with O(endpoints[].token), but also with an invalid token, with none, and with an expired one where it is given. Each is
            a row of its own in the result. Those must be refused; that one of them is let in is V(critical).
          - Where the endpoint changes something, a service that lets one of them in does so. V({}) is enough to switch them on.
        type: dict
        suboptions:
          invalid:
            description:
              - A token that must be refused. Without it, it is O(endpoints[].token) with another signature if that is a JWT, else a word.
            type: str
          expired:
            description:
              - A token that was valid once. Without it, that is not tested.
            type: str
          rejected_status:
            description:
              - The statuses by which a token is refused.
            type: list
            elements: int
            default: [401, 403]
      expected_status:
        description:
          - The statuses that are as expected. Without any, all from 200 to 399 are.
        type: list
        elements: int
      expected_json:
        description:
          - Conditions that the answer must meet, each like C(status == ok), C(checks.database.ok == true) or
            C(items[0].id != 3). The value is JSON, or a plain word.
        type: list
        elements: str
      expected_text:
        description:
          - Text that the answer must contain.
        type: str
      follow_redirects:
        description:
          - Whether to follow redirects. A status in O(endpoints[].expected_status) is never followed.
        type: bool
        default: true
      max_redirects:
        description:
          - How many redirects to follow at most.
        type: int
        default: 5
      timeout_seconds:
        description:
          - How many seconds one attempt may take. Without it, O(stackops.runbook.http_probe#module:request_timeout) holds.
        type: float
      validate_certs:
        description:
          - Whether the certificate must be valid. When it ends is told in any case.
        type: bool
        default: true
      ca_path:
        description:
          - A file on the target with the certificates of authorities to trust instead of the system's.
        type: path
      retries:
        description:
          - How often to try again what was not as expected. An answer that is as expected, only slow, is not asked again.
        type: int
        default: 0
      retry_delay_seconds:
        description:
          - How many seconds to wait before trying again.
        type: float
        default: 1
      warning_ms:
        description:
          - From this total time on its status is V(warning). Without it, O(stackops.runbook.http_probe#module:warning_ms) holds.
        type: float
      critical_ms:
        description:
          - From this total time on its status is V(critical). Without it, O(stackops.runbook.http_probe#module:critical_ms) holds.
        type: float
      certificate_warning_days:
        description:
          - From this many days before the certificate ends its status is V(warning).
        type: float
        default: 21
      certificate_critical_days:
        description:
          - From this many days before the certificate ends its status is V(critical).
        type: float
        default: 7
"""
