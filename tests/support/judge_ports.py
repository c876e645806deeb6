# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Judge ports on the host whose namespaces this process is in; the request comes as JSON on standard input, the rows go out as JSON."""

from __future__ import annotations

import json
import sys

from ansible_collections.stackops.runbook.plugins.module_utils import _published_ports as ports
from ansible_collections.stackops.runbook.plugins.module_utils._host_net import look
from ansible_collections.stackops.runbook.plugins.module_utils._ports import sockets_of


def main() -> None:
    """Answer one request."""
    request = json.load(sys.stdin)
    sight = look()
    errors: list = []
    policy = ports.read_policies(sight, errors).policy
    expected = None if request["expected"] is None else [ports.Expected.from_params(one) for one in request["expected"]]
    judge = ports.Judge(sight, sockets_of("self") or [], policy, expected)
    rows = [judge.row(ports.Entrance(**one)) for one in request["entrances"]]
    for row in rows:
        row["errors"] = [error.as_dict() for error in [*errors, *sight.errors]]
        row["problems"] = sight.ruleset.problems
        row["rules_in"] = sight.backends
    json.dump(rows, sys.stdout)


if __name__ == "__main__":
    main()
