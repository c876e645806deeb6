# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The report as one HTML file that needs no network.

What was collected gets into the page as JSON in elements that a browser never runs, and from there into the document
as text nodes only; the page's policy allows its own script and style by their hashes and nothing else.
"""

from __future__ import annotations

import base64
import datetime
import gzip
import hashlib
import html
import itertools
import pathlib
import string
import typing as t

from ._html_texts import TEXTS, verdict
from ._html_view import Details, index_view, to_json

Json = t.Any

#: What one page may have. Mail systems and browsers are at ease below it.
PAGE_LIMIT_BYTES = 5_000_000
#: Details up to this size stay readable in the file; a bigger fleet's are packed.
PLAIN_DETAILS_BYTES = 1_500_000

_HOSTS_PER_PACK = 8
_ASSETS = pathlib.Path(__file__).parent / "_html_assets"
_SCRIPTS = ("base.js", "charts.js", "tables.js", "findings.js", "hosts.js", "main.js")


def render_html(report: dict[str, Json], language: str, now: datetime.datetime) -> str:
    """Return the page for *report*, which is as ``report.json`` holds it.

    *language* is ``en`` or ``zh_TW`` and chooses the page's own words; the findings' texts are the report's. *now* is
    what ages are counted to.
    """
    index, details = index_view(report, now, language)
    index["texts"] = TEXTS[language]
    index["verdict"] = verdict(language, [str(host["status"]) for host in index["hosts"]])
    style = _asset("uplot/uPlot.min.css") + _asset("page.css")
    script = _asset("uplot/uPlot.iife.min.js") + "\n(() => {\n'use strict';\n" + "\n".join(_asset(name) for name in _SCRIPTS) + "\n})();\n"
    shell = {
        "lang": {"en": "en", "zh_TW": "zh-Hant-TW"}[language],
        "policy": _policy(script, style),
        "style": style,
        "script": script,
        "verdict": html.escape(index["verdict"]),
        **{f"text_{key}": html.escape(text) for key, text in TEXTS[language].items()},
    }
    fixed = sum(len(part.encode()) for part in (style, script)) + 20_000
    # The index says which details the page has, so they come first, and get what the index itself leaves over.
    room = PAGE_LIMIT_BYTES - fixed - len(to_json(index).encode()) - 12 * len(details)
    elements = _details(index, details, room)
    return string.Template(_asset("page.html")).substitute(shell, index=to_json(index), details=elements)


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")


def _policy(script: str, style: str) -> str:
    def source(text: str) -> str:
        return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"

    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {source(script)}",
            f"style-src {source(style)}",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
        )
    )


def _details(index: dict[str, Json], details: Details, room: int) -> str:
    """Return the elements with the hosts' details, and tell *index* where each host's are.

    Hosts with trouble come first, so that what does not fit into *room* bytes is the details of healthy hosts.
    """
    order = sorted(range(len(details)), key=_worst_host_first(index["hosts"]))
    texts: dict[int, str] = {}
    waiting = iter(order)
    size = 0
    for position in waiting:
        detail = details[position]
        if detail is not None:
            texts[position] = to_json(detail)
            size += len(texts[position].encode())
        if size > min(room, PLAIN_DETAILS_BYTES):
            return _packed_details(index, details, itertools.chain(texts.items(), _texts(details, waiting)), room)
    for position in texts:
        index["hosts"][position]["detail"] = f"plain-{position}"
    return "".join(f'<script type="application/json" id="plain-{position}">{text}</script>\n' for position, text in texts.items())


def _texts(details: Details, positions: t.Iterable[int]) -> t.Iterator[tuple[int, str]]:
    return ((position, to_json(detail)) for position in positions if (detail := details[position]) is not None)


def _packed_details(index: dict[str, Json], details: Details, texts: t.Iterator[tuple[int, str]], room: int) -> str:
    """Return the elements with as many hosts' details as fit into *room*, some hosts in each; the rest are not even made."""
    elements = []
    for number in range(len(details)):
        pairs = list(itertools.islice(texts, _HOSTS_PER_PACK))
        packed = _packed("{" + ",".join(f'"{position}":{text}' for position, text in pairs) + "}") if pairs else ""
        room -= len(packed) + 80
        if room < 0 or not pairs:
            break
        for position, dummy in pairs:
            index["hosts"][position]["detail"] = f"packed-{number}"
        elements.append(f'<script type="text/plain" id="packed-{number}">{packed}</script>\n')
    index["without_details"] = sum(1 for position, host in enumerate(index["hosts"]) if details.has(position) and "detail" not in host)
    return "".join(elements)


def _worst_host_first(hosts: t.Sequence[dict[str, Json]]) -> t.Callable[[int], tuple[int, int]]:
    ranks = {"critical": 0, "warning": 1, "unknown": 2}
    return lambda position: (ranks.get(hosts[position]["status"], 3), position)


def _packed(text: str) -> str:
    return base64.b64encode(gzip.compress(text.encode(), compresslevel=6, mtime=0)).decode()
