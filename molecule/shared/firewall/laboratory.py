# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host whose firewall is switched from state to state, and another one from which every verdict is tried."""

from __future__ import annotations

import functools
import json
import pathlib
import typing as t

import testinfra
import yaml

#: Whether the one outside gets through, by class; of others the layout says it.
REACHED = {
    "exposed_intended": True, "exposed_bypass": True, "exposed_no_firewall": True,
    "filtered": False, "closed": False, "loopback_only": False, "loopback_leaky": False, "private_bind": False,
}  # fmt: skip
FAMILIES = ("ipv4", "ipv6")
_LOOPBACK = ("loopback_only", "loopback_leaky")


class Case(t.NamedTuple):
    """One layout in one family."""

    state: str
    port: int
    layout: str
    family: str
    verdict: str
    reached: t.Optional[bool]

    def __str__(self) -> str:
        return f"{self.state} | {self.port} {self.layout} | {self.family}"


def cases(path: pathlib.Path) -> list[Case]:
    """Return the layouts of the file, one for each family that it has a verdict for."""
    found = []
    for state in yaml.safe_load(path.read_text(encoding="utf-8"))["states"]:
        for port in state["ports"]:
            for family in FAMILIES:
                if family in port:
                    verdict = port[family]
                    reached = family in port["reached"] if "reached" in port and verdict not in REACHED else REACHED.get(verdict)
                    found.append(Case(state["state"], port["port"], port["layout"], family, verdict, reached))
    return found


class Laboratory:
    """Puts the host into a state and says what the module and what a connect say of it."""

    def __init__(self, host: t.Any, path: pathlib.Path) -> None:
        self._host = host
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        self._states = {state["state"]: state for state in content["states"]}
        self._reset = content.get("reset", "")
        self._now = ""
        (self._outside,) = testinfra.get_hosts(["ansible://outside"], ansible_inventory=host.backend.ansible_inventory)
        self._private = host.backend.get_variables()["ansible_host"]
        octets = self._private.split(".")
        self._addresses = {"ipv4": f"198.51.100.{octets[3]}", "ipv6": f"2001:db8::{octets[2]}:{octets[3]}"}

    @functools.cache  # noqa: B019 - one laboratory lives as long as the tests
    def enter(self, state: str) -> tuple[dict[str, t.Any], dict[tuple[int, str], bool]]:
        """Return, for the host in *state*, the module's result and whether each port is reached from outside."""
        wanted = self._states[state]
        self._now = state
        script = wanted["apply"] if wanted.get("keep") else self._reset + wanted["apply"]
        self.run(script)
        result = self._host.ansible("stackops.runbook.published_ports", "", check=False)
        assert "ports" in result, result
        return result, self._try(wanted["ports"])

    def fix(self, result: t.Mapping[str, t.Any], port: int, family: str, action: str) -> None:
        """Type what the module says to do about a port."""
        (fix,) = [one for one in row_of(result, port, family)["fix"] if one["action"] == action]
        self.run("\n".join(fix["commands"]))

    def run(self, script: str) -> None:
        """Run *script* on the host with the firewall."""
        done = self._host.run("bash -e -c %s", script)
        assert done.rc == 0, f"{script}: {done.stderr[-2000:]}"

    def is_now(self, state: str) -> bool:
        """Return whether the host is still in *state*."""
        return self._now == state

    def reached(self, port: int, family: str) -> bool:
        """Return whether a port is reached now; ``neighbour`` is the family of its loopback."""
        prefix, address = ("ip netns exec neighbour ", "127.0.0.1") if family == "neighbour" else ("", self._addresses[family])
        return self._connect(prefix, [(address, port)])[0]

    def _try(self, ports: t.Sequence[t.Mapping[str, t.Any]]) -> dict[tuple[int, str], bool]:
        keys = [(port["port"], family) for port in ports for family in FAMILIES if family in port]
        answers = self._connect("", [(self._addresses[family], port) for port, family in keys])
        tried = dict(zip(keys, answers))
        own = [(port["port"], "private") for port in ports if "private_bind" in port.values()]
        tried.update(zip(own, self._connect("", [(self._private, port) for port, dummy in own])))
        near = [(port["port"], "neighbour") for port in ports if port.get("ipv4") in _LOOPBACK]
        tried.update(zip(near, self._connect("ip netns exec neighbour ", [("127.0.0.1", port) for port, dummy in near])))
        return tried

    def _connect(self, prefix: str, targets: t.Sequence[tuple[str, int]]) -> list[bool]:
        if not targets:
            return []
        answers: list[bool] = json.loads(self._outside.check_output(prefix + "python3 /srv/connect.py %s", json.dumps(targets)))
        return answers


def check(laboratory: Laboratory, case: Case) -> None:
    """Assert that the verdict is the right one, and that a connect from outside sees the same."""
    result, tried = laboratory.enter(case.state)
    row = row_of(result, case.port, case.family)
    if case.reached is not None:
        # On a busy machine an open port may be late; a closed one does not open by asking again.
        seen = tried[case.port, case.family] or (case.reached and laboratory.is_now(case.state) and laboratory.reached(case.port, case.family))
        assert seen == case.reached, f"a connect says otherwise than {case.verdict}"
    if case.verdict == "private_bind":
        assert tried[case.port, "private"]
    if case.verdict in _LOOPBACK and case.family == "ipv4":
        assert tried[case.port, "neighbour"] == (case.verdict == "loopback_leaky")
    assert row["class"] == case.verdict, f"{row['class']}: {row.get('reason')} {row.get('evidence')}"


def row_of(result: t.Mapping[str, t.Any], port: int, family: str) -> dict[str, t.Any]:
    """Return what the module says of one port."""
    rows = [row for row in result["ports"] if (row["host_port"], row["protocol"], row["family"]) == (port, "tcp", family)]
    assert rows, f"the module does not know port {port} in {family}"
    return dict(rows[0])
