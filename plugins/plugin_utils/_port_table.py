# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The ports of each host on the terminal: the bad ones first, each with what to type; those in order on a line of their own."""

from __future__ import annotations

import typing as t

from ._stored import facts_of
from ._text import LANGUAGES, clip, display_width, harmless, wrap

Facts = t.Mapping[str, t.Any]

_COLOURS = {"critical": "1;31", "warning": "1;33", "unknown": "35", "ok": "32", "dim": "2", "bold": "1"}
_WORST_FIRST = ("critical", "warning", "unknown", "ok")
_FAMILIES = {"ipv4": "IPv4", "ipv6": "IPv6"}
_MAXIMUM_BAD = 40
_MAXIMUM_WIDTH_OF_NAME = 28

_WORDS: dict[str, dict[str, str]] = {
    "en": {
        "port": "Port", "whose": "Of", "publish": "publish as {port} in the Compose file, then",
        "way_in": "you come in by it: say so in firewall_check_expected, or let it in from your own networks only",
        "ipv4": "IPv4", "ipv6": "IPv6", "fix": "Fix",
        "why": "Why", "fine": "In order",
        "missing": "Expected, and reachable by nobody",
        "more": "and {count} more: see the report", "none": "no ports", "no_firewall": "no firewall", "rules": "rules of its own", "unread": "not checked",
        "exposed_bypass": "OPEN, {engine} says no", "exposed_no_firewall": "open, no firewall", "exposed_intended": "open, as meant",
        "exposed_unexpected": "OPEN, not expected", "allowlisted": "some senders", "private_bind": "private address", "filtered": "filtered",
        "loopback_only": "this host only", "loopback_leaky": "LEAKS to neighbours", "closed": "closed", "unknown": "unknown",
        "answered": "ANSWERED to {by}", "silent": "no answer to {by}", "tried": "Tried from {by}: {count} ports", "agree": "all as the rules say",
        "disagree": "{count} otherwise than the rules say", "untried": "Not tried from {by}", "colon": ": ",
    },
    "zh_TW": {
        "port": "連接埠", "whose": "屬於", "publish": "在 Compose 檔改為發布 {port}，再執行",
        "way_in": "這是您連入主機的途徑：請列入 firewall_check_expected，或限定只有自己的網路可連入",
        "ipv4": "IPv4", "ipv6": "IPv6", "fix": "處理",
        "why": "原因", "fine": "正常",
        "missing": "應可連線，但無人連得到",
        "more": "另有 {count} 個，請見報告", "none": "沒有連接埠", "no_firewall": "沒有防火牆", "rules": "自訂規則", "unread": "未能檢查",
        "exposed_bypass": "開放，但 {engine} 不允許", "exposed_no_firewall": "開放，沒有防火牆", "exposed_intended": "依設定開放",
        "exposed_unexpected": "開放，不在預期內", "allowlisted": "部分來源", "private_bind": "私有位址", "filtered": "已過濾",
        "loopback_only": "僅限本機", "loopback_leaky": "鄰近主機可連入", "closed": "關閉", "unknown": "不明",
        "answered": "{by} 實際連得到", "silent": "{by} 連不到", "tried": "由 {by} 實測：{count} 個連接埠", "agree": "皆與規則相符",
        "disagree": "{count} 個與規則不符", "untried": "未能由 {by} 實測", "colon": "：",
    },
}  # fmt: skip


def render_ports(report: Facts, color: bool = False, width: int = 100) -> str:
    """Return the table of the ports of all hosts of *report* as text; empty where no host has any."""
    language = str(report.get("language")) if report.get("language") in LANGUAGES else "en"
    tables = [_Table(name, firewall, _WORDS[language], color, width).lines() for name, firewall in _hosts(report)]
    return "\n".join(line.rstrip() for table in tables for line in [*table, ""])


def _hosts(report: Facts) -> list[tuple[str, Facts]]:
    found = []
    for name, row in report["hosts"].items():
        firewall = facts_of(row).get("firewall")
        if isinstance(firewall, dict) and isinstance(firewall.get("ports"), list):
            found.append((str(name), firewall))
    return sorted(found, key=lambda pair: (_WORST_FIRST.index(pair[1].get("status") or "unknown"), pair[0]))


class _Line(t.NamedTuple):
    """One port of one owner with what is said of it in both families."""

    port: str
    owner: str
    cells: dict[str, dict[str, t.Any]]

    @property
    def status(self) -> str:
        return min((status_of(row) for row in self.cells.values()), key=_WORST_FIRST.index)


def status_of(row: Facts) -> str:
    """Return the status of one row of the table: an answer where the rules say that nobody gets in is the worst there is."""
    probe = row.get("probe") or {}
    if probe.get("agrees") is False and probe.get("result") == "open":
        return "critical"
    status = str(row.get("status") or "unknown")
    return status if status in _WORST_FIRST else "unknown"


def owner_of(row: Facts) -> str:
    """Return what an operator calls the owner of a port."""
    return str(row.get("label") or row.get("container") or row.get("process") or "?")


class _Table:
    """The table of one host."""

    def __init__(self, host: str, firewall: Facts, words: t.Mapping[str, str], color: bool, width: int) -> None:
        self.host = host
        self.firewall = firewall
        self.words = words
        self.color = color
        self.width = width

    def paint(self, text: str, name: str) -> str:
        return f"\x1b[{_COLOURS[name]}m{text}\x1b[0m" if self.color else text

    def lines(self) -> list[str]:
        found = sorted(self._grouped(), key=lambda line: (_WORST_FIRST.index(line.status), int(line.port.partition("/")[0])))
        bad = [line for line in found if line.status != "ok"]
        text = [self._head(len(found)), *self._columns(bad[:_MAXIMUM_BAD])]
        if len(bad) > _MAXIMUM_BAD:
            text.append("  " + self.words["more"].format(count=len(bad) - _MAXIMUM_BAD))
        return [*text, *self._fine([line for line in found if line.status == "ok"]), *self._missing(), *self._probe()]

    def _grouped(self) -> list[_Line]:
        lines: dict[tuple[str, str, str], _Line] = {}
        for row in self.firewall["ports"]:
            port, owner = f"{row['host_port']}/{row['protocol']}", harmless(owner_of(row), 60)
            # Two addresses of one family are two lines.
            place = row["host_ip"] if row["host_ip"] not in ("", "0.0.0.0", "::") else ""  # noqa: S104
            line = lines.setdefault((port, owner, place), _Line(port, owner, {}))
            line.cells[row["family"]] = row
        return list(lines.values())

    def _head(self, count: int) -> str:
        engine = str((self.firewall.get("host_firewall") or {}).get("engine") or "unknown")
        shown = {"none": self.words["no_firewall"], "rules": self.words["rules"], "unknown": self.words["unread"]}.get(engine, engine)
        return self.paint(f"{harmless(self.host, 60)}{self.words['colon']}{shown}", "bold") + (f", {self.words['none']}" if not count else "")

    def _columns(self, lines: t.Sequence[_Line]) -> list[str]:
        if not lines:
            return []
        texts = [(line, {family: self._verdict(row) for family, row in line.cells.items()}) for line in lines]
        first = max(display_width(text) for text in [self.words["port"], *(line.port for line in lines)])
        second = min(_MAXIMUM_WIDTH_OF_NAME, max(display_width(text) for text in [self.words["whose"], *(line.owner for line in lines)]))
        third = max(display_width(text) for text in [self.words["ipv4"], *(cells.get("ipv4", "-") for dummy, cells in texts)])
        shown = ["  " + self.paint("  ".join((_pad(self.words["port"], first), _pad(self.words["whose"], second), _pad("IPv4", third), "IPv6")), "dim")]
        for line, cells in texts:
            cell = [self.paint(_pad(cells.get(family, "-"), third if family == "ipv4" else 0), self._colour(line, family)) for family in ("ipv4", "ipv6")]
            shown.append(f"  {_pad(line.port, first)}  {_pad(clip(line.owner, second), second)}  {cell[0]}  {cell[1]}")
            shown.extend(self._what_to_do(line, first + 4))
        return shown

    def _colour(self, line: _Line, family: str) -> str:
        return status_of(line.cells[family]) if family in line.cells else "dim"

    def _verdict(self, row: Facts) -> str:
        engine = str((row.get("policy") or {}).get("engine") or "")
        text = self.words.get(str(row["class"]), harmless(str(row["class"]), 30)).format(engine={"rules": self.words["rules"]}.get(engine, engine))
        probe = row.get("probe") or {}
        if probe.get("agrees") is False:
            by = harmless(str(probe.get("from")), 40)
            text += f", {self.words['answered' if probe.get('result') == 'open' else 'silent'].format(by=by)}"
        return text

    def _what_to_do(self, line: _Line, indent: int) -> list[str]:
        """Return the shortest fix of each family that is bad; of what nobody can tell the reason as well."""
        text: list[str] = []
        done: set[str] = set()
        for row in line.cells.values():
            if status_of(row) == "ok":
                continue
            if row["class"] == "unknown":
                text += self._labelled(self.words["why"], harmless(str(row["reason"])), indent)
            if row.get("process") == "sshd" and row["class"] != "unknown":
                # To close it would be to lock oneself out.
                text += self._labelled(self.words["fix"], self.words["way_in"], indent)
                continue
            fix = _shortest(row.get("fix") or ())
            # To publish a port on the host itself takes it out of both families.
            if fix and not (fix["action"] == "bind_loopback" and fix["action"] in done):
                done.add(fix["action"])
                text += self._fix(fix, indent)
        return list(dict.fromkeys(text))

    def _fix(self, fix: Facts, indent: int) -> list[str]:
        commands = [harmless(str(command), 500) for command in fix.get("commands") or ()]
        if fix["action"] == "bind_loopback" and len(commands) == 2:
            # The first is what to write in the Compose file.
            text = f"{self.words['publish'].format(port=commands.pop(0))}{self.words['colon'].rstrip()}"
        else:
            text = harmless(str(fix["text"])).removeprefix("Or ")
            text = text[:1].upper() + text[1:]
        # A command stays whole, so that it can be copied.
        return [*self._labelled(self.words["fix"], text, indent), *(" " * indent + self.paint(f"$ {one}", "bold") for one in commands)]

    def _labelled(self, label: str, text: str, indent: int) -> list[str]:
        first, *more = wrap(f"{label}{self.words['colon']}{text}", max(self.width - indent, 30))
        return [" " * indent + first, *(" " * (indent + 2) + one for one in more)]

    def _fine(self, lines: t.Sequence[_Line]) -> list[str]:
        if not lines:
            return []
        by_verdict: dict[str, list[str]] = {}
        for line in lines:
            verdicts = {_FAMILIES[family]: self._verdict(row) for family, row in sorted(line.cells.items())}
            same = len(set(verdicts.values())) == 1
            verdict = next(iter(verdicts.values())) if same else "; ".join(f"{family} {text}" for family, text in verdicts.items())
            by_verdict.setdefault(verdict, []).append(f"{line.port} {line.owner}")
        text = []
        for verdict, ports in by_verdict.items():
            shown = ", ".join(ports[:6]) + (f" (+{len(ports) - 6})" if len(ports) > 6 else "")
            text.append(clip(f"  {self.paint(self.words['fine'], 'ok')}{self.words['colon']}{verdict} – {shown}", self.width + (9 if self.color else 0)))
        return text

    def _missing(self) -> list[str]:
        return [
            self.paint(f"  {self.words['missing']}{self.words['colon']}{one['port']}/{one['protocol']} – {harmless(str(one['reason']))}", "warning")
            for one in self.firewall.get("missing") or ()
        ]

    def _probe(self) -> list[str]:
        probe = self.firewall.get("probe")
        if not probe:
            return []
        by = harmless(str(probe.get("from")), 60)
        if probe.get("reason"):
            return [self.paint(f"  {self.words['untried'].format(by=by)}{self.words['colon']}{harmless(str(probe['reason']))}", "unknown")]
        wrong = int(probe.get("disagreements") or 0)
        verdict = self.words["disagree"].format(count=wrong) if wrong else self.words["agree"]
        tried = self.words["tried"].format(by=by, count=probe.get("tried") or 0)
        return [f"  {tried}{self.words['colon']}{self.paint(verdict, 'critical' if wrong else 'ok')}"]


def _shortest(fixes: t.Sequence[Facts]) -> t.Optional[Facts]:
    """Return the first fix that has something to type, else the first."""
    return next((one for one in fixes if one.get("commands")), fixes[0] if fixes else None)


def _pad(text: str, width: int) -> str:
    return text + " " * max(0, width - display_width(text))
