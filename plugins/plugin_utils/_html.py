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
import pathlib
import string
import typing as t

from ._html_texts import TEXTS, verdict
from ._html_view import index_view, to_json

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


def _details(index: dict[str, Json], details: t.Sequence[t.Optional[Json]], room: int) -> str:
    """Return the elements with the hosts' details, and tell *index* where each host's are.

    Hosts with trouble come first, so that what does not fit into *room* bytes is the details of healthy hosts.
    """
    order = sorted((position for position, detail in enumerate(details) if detail is not None), key=_worst_host_first(index["hosts"]))
    texts = {position: to_json(details[position]) for position in order}
    if sum(len(text.encode()) for text in texts.values()) <= min(room, PLAIN_DETAILS_BYTES):
        for position in order:
            index["hosts"][position]["detail"] = f"plain-{position}"
        return "".join(f'<script type="application/json" id="plain-{position}">{texts[position]}</script>\n' for position in order)
    elements = []
    for number, first in enumerate(range(0, len(order), _HOSTS_PER_PACK)):
        positions = order[first : first + _HOSTS_PER_PACK]
        packed = _packed("{" + ",".join(f'"{position}":{texts[position]}' for position in positions) + "}")
        room -= len(packed) + 80
        if room < 0:
            break
        for position in positions:
            index["hosts"][position]["detail"] = f"packed-{number}"
        elements.append(f'<script type="text/plain" id="packed-{number}">{packed}</script>\n')
    index["without_details"] = sum(1 for position in order if "detail" not in index["hosts"][position])
    return "".join(elements)


def _worst_host_first(hosts: t.Sequence[dict[str, Json]]) -> t.Callable[[int], tuple[int, int]]:
    ranks = {"critical": 0, "warning": 1, "unknown": 2}
    return lambda position: (ranks.get(hosts[position]["status"], 3), position)


def _packed(text: str) -> str:
    return base64.b64encode(gzip.compress(text.encode(), compresslevel=6, mtime=0)).decode()
