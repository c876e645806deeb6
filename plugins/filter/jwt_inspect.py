# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a JSON Web Token says of itself."""

from __future__ import annotations

import time
import typing as t

from ansible.errors import AnsibleFilterError
from ansible.module_utils.common.text.converters import to_text
from ansible.utils.unsafe_proxy import wrap_var

from ..plugin_utils._jwt import inspect_token

DOCUMENTATION = r"""
name: jwt_inspect
short_description: Say what a JSON Web Token contains, and why a server may refuse it
version_added: 1.0.0
author:
  - stackops.runbook contributors (@stackops)
description:
  - Decodes header and claims of a JSON Web Token (JWT), compares its times with the controller's clock, and names what is wrong
    with it.
  - It never verifies the signature, for which it would need the server's key. Whatever it returns may have been made up by
    whoever wrote the token. Decide nothing about access by it.
  - The signature is not part of the result, so that the result cannot be used as a token. Claims may still be personal; use
    C(no_log) where nobody should see them.
  - A text that is no token does not make it fail; it is a problem of kind V(malformed), with the reason.
positional: _input
options:
  _input:
    description:
      - The token, or the value of a header C(Authorization) with its C(Bearer).
    type: str
    required: true
  algorithms:
    description:
      - The algorithms that the server accepts. One that is not among them is a problem.
    type: list
    elements: str
    default: []
  leeway_seconds:
    description:
      - How far clocks may differ before a token counts as expired or as not valid yet.
    type: float
    default: 0
seealso:
  - module: stackops.runbook.http_probe
  - module: stackops.runbook.log_error_rate
"""

EXAMPLES = r"""
- name: See what is wrong with a token that the API refuses
  ansible.builtin.debug:
    msg: "{{ (api_token | stackops.runbook.jwt_inspect(algorithms=['HS256'])).problems | map(attribute='message') }}"

- name: Stop where the token of the health check ends within a day
  ansible.builtin.assert:
    that:
      - not token.malformed
      - token.expires_in_seconds is not none
      - token.expires_in_seconds > 86400
    fail_msg: "Get a new token, this one ends at {{ token.expires_at }}"
  vars:
    token: "{{ api_token | stackops.runbook.jwt_inspect }}"
"""

RETURN = r"""
_value:
  description: What the token says, and what is wrong with it.
  type: dict
  contains:
    verified:
      description: Always V(false), to say that nobody has looked whether the signature is right.
      type: bool
      returned: always
      sample: false
    malformed:
      description: Whether the text is no token. All else is then empty.
      type: bool
      returned: always
      sample: false
    header:
      description: The header.
      type: dict
      returned: always
      sample: {alg: HS256, typ: JWT, kid: shop-1}
    claims:
      description: The claims.
      type: dict
      returned: always
      sample: {sub: "42", exp: 1795485600}
    algorithm:
      description: The algorithm in the header, or null.
      type: str
      returned: always
      sample: HS256
    key_id:
      description: The name of the key in the header, or null.
      type: str
      returned: always
      sample: shop-1
    signature_bytes:
      description: The length of the signature, or null.
      type: int
      returned: always
      sample: 32
    issued_at:
      description: The claim C(iat) in UTC, or null.
      type: str
      returned: always
      sample: null
    not_before:
      description: The claim C(nbf) in UTC, or null.
      type: str
      returned: always
      sample: null
    expires_at:
      description: The claim C(exp) in UTC, or null.
      type: str
      returned: always
      sample: "2026-11-24T02:00:00Z"
    expired:
      description: Whether it has expired; null where it does not say when it does.
      type: bool
      returned: always
      sample: true
    expires_in_seconds:
      description: The seconds until it expires, negative where it has, or null.
      type: int
      returned: always
      sample: -3600
    problems:
      description:
        - What is wrong with it, each with its kind and a sentence.
        - Kinds are V(malformed), V(expired), V(not-yet-valid), V(missing-expiry), V(expires-before-issue), V(time-not-a-number),
          V(time-unit), V(unsigned), V(missing-algorithm), V(unknown-algorithm), V(unexpected-algorithm),
          V(algorithm-confusion), V(key-from-token) and V(signature-length).
      type: list
      elements: dict
      returned: always
      sample:
        - kind: expired
          message: It expired at 2026-11-24T02:00:00Z, 3600 s ago.
"""


def jwt_inspect(value: t.Any, algorithms: t.Sequence[str] = (), leeway_seconds: float = 0.0) -> t.Any:
    """Return what the token *value* says, as data that is never taken for a template."""
    if value is None or isinstance(value, (bool, int, float, dict, list, tuple)):
        raise AnsibleFilterError("jwt_inspect needs a token as text")
    if isinstance(algorithms, str) or not all(isinstance(name, str) for name in algorithms):
        raise AnsibleFilterError("jwt_inspect: algorithms must be a list of names, for example ['HS256']")
    try:
        leeway = float(leeway_seconds)
    except (TypeError, ValueError):
        raise AnsibleFilterError("jwt_inspect: leeway_seconds must be a number") from None
    return wrap_var(inspect_token(to_text(value), time.time(), algorithms, leeway))


class FilterModule:
    """The filter, by its name."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filters of this file."""
        return {"jwt_inspect": jwt_inspect}
