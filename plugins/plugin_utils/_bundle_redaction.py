# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Redacts the files of a support bundle, each by its structure, and searches the result once more.

JSON, YAML and files of variables are read as what they are, so that a value is replaced as a whole and the file stays valid.
Text is searched. Known secrets go wherever they stand, encoded ones included. What cannot be read as what it claims to
be is not redacted but left out, by whoever catches :class:`NotRedactable`.

Texts are handled as their bytes, one character each: positions then mean the same in every copy, and what is not valid
UTF-8 comes out as it came in.
"""

from __future__ import annotations

import base64
import codecs
import collections
import json
import re
import typing as t
import urllib.parse
import zlib

import yaml

from ..module_utils._redaction import can_be_replaced, replaced
from ..module_utils._secret_shapes import (
    Span,
    find_personal,
    find_secrets,
    is_secret_name,
    looks_like_a_secret,
    lowered_of,
    name_strength,
    shaped_secrets,
    sql_literals,
)
from ._identities import Identities
from ._private_map import PrivateMap

MAX_STRUCTURED_LINE = 1 << 20
MAX_YAML_BYTES = 2 << 20
MAX_UNPACKED_BYTES = 64 << 20
#: Up to here each form of a secret is searched for by itself.
_FEW_SECRETS = 12
_ANCHOR = 6
# From what is rare in logs to what is everywhere.
_RARITY = {character: rank for rank, character in enumerate("QXZJKVYWHUGBFPMNLDCSRTAEIO~^!#$&*%+@?jqxzkvwygbhpfumlcdnsrtoaie_9876543210=/-.:,")}
#: Shorter known secrets of letters and digits alone only count where a word begins and ends with them.
_SHORT_WORD = 8

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?)")
_VARIABLE = re.compile(r"(?P<head>[ \t]*#?[ \t]*(?:export[ \t]+)?(?P<name>[A-Za-z_][\w.-]*)[ \t]*(?:=|:[ \t])[ \t]*)", re.ASCII)
_ENTRY = re.compile(r"(?P<name>[A-Za-z_][\w.-]{0,120})=(?P<value>.*)\Z", re.ASCII | re.DOTALL)
_PLAIN_VALUE = re.compile(r"(?:true|false|yes|no|on|off|none|null|debug|info|warn|warning|error|critical|\d{1,5}(?:\.\d{1,3})?|\$\{?\w+\}?)?\Z", re.IGNORECASE)
_OPTION = re.compile(r"--?(?P<name>[\w-]+)\Z", re.ASCII)
_BASE64_RUN = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_="
_NAME_KEYS = ("name", "Name", "key", "Key", "variable")
_VALUE_KEYS = ("value", "Value")
_STATEMENT_KEYS = frozenset(("query", "statement", "last_query", "sql"))
_INHERITED = frozenset(("value", "data", "raw", "content", "plaintext", "current", "previous", "old", "new"))
_HEADERS = ("authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key")
_IDENTITY_KINDS = frozenset(("ipv4", "dashed", "ipv6", "mac", "email", "host", "domain", "user"))

_LINE = "line:"
_BETWEEN_TEXTS = "\n\0\n"
_LOOKED_AT_BYTES = 1 << 16
_NO_TEXT = bytes(byte for byte in range(32) if byte not in b"\t\n\r\x1b")

Known = tuple[str, str, str]


class NotRedactable(Exception):
    """The file cannot be redacted; it says why, without a word of the file."""


class GateError(Exception):
    """A secret was found in what was about to be written. It says where, never what."""


def view_of(text: str) -> str:
    """Return *text* as its UTF-8 bytes, one character each."""
    return text if text.isascii() else text.encode("utf-8", "surrogatepass").decode("latin-1")


def text_of(view: str) -> str:
    """Return what :func:`view_of` was given."""
    if view.isascii():
        return view
    data = view.encode("latin-1")
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return data.decode("utf-8", "replace")


class BundleRedactor:
    """Redacts files with the secrets and names of a whole fleet.

    *secrets* are the values known to be secret; *names* are those the bundle cannot do without (services, projects,
    databases), which are no secrets wherever they stand.
    """

    def __init__(self, private_map: PrivateMap, secrets: t.Iterable[str], identities: t.Optional[Identities] = None, names: t.Iterable[str] = ()) -> None:
        self._map = private_map
        self._identities = identities
        kept = {name.lower() for name in names}
        values = sorted({value for value in secrets if value}, key=lambda value: (-len(value), value))
        self._known: list[Known] = [known for value in values if can_be_replaced(value) and value.lower() not in kept for known in _variants(value)]
        self._exact = frozenset(values)
        self._anchors: dict[str, list[Known]] = {}
        self._first: t.Optional[re.Pattern[str]] = None
        if len(self._known) > _FEW_SECRETS:
            for known in self._known:
                self._anchors.setdefault(_anchor_of(known[0]), []).append(known)
            self._first = re.compile("[" + re.escape("".join(sorted({anchor[0] for anchor in self._anchors}))) + "]")
        self.counts: collections.Counter[str] = collections.Counter()
        self._ipv4: dict[str, str] = {}
        # Of the document at hand: its texts as searched all at once, and those in which something is announced.
        self._searched: dict[str, str] = {}
        self._announcing: set[str] = set()

    # -- files ---------------------------------------------------------------------------------------------------------

    def file(self, kind: str, data: bytes) -> bytes:
        """Return the content of a file redacted; *kind* is ``json``, ``yaml``, ``variables`` or ``text``.

        :raises NotRedactable: it is not what it claims to be.
        """
        self.counts.clear()
        self._searched, self._announcing = {}, set()
        text = _decoded(data)
        try:
            if kind == "json":
                return self._json_file(text).encode("utf-8", "replace")
            if kind == "yaml":
                return self._yaml_file(text).encode("utf-8", "replace")
        except RecursionError:
            raise NotRedactable("it is nested too deeply") from None
        view = view_of(text)
        active = self._active(view)
        redacted = self._variables(view, active) if kind == "variables" else self._lines(view, active)
        return redacted.encode("latin-1")

    def name(self, name: str) -> str:
        """Return a file's name or another short text redacted."""
        view = view_of(name)
        return text_of(self._plain(view, self._active(view)))

    def tree(self, value: t.Any) -> t.Any:
        """Return a copy of *value*, as JSON has it, redacted by its structure."""
        self._search_texts(value)
        return self._walk(value, "", self._active(view_of(json.dumps(value, ensure_ascii=False))))

    def search(self, data: bytes) -> t.Optional[int]:
        """Return the number of the line in *data* that has a known secret or something that shows to be one, if there is one."""
        view = data.decode("latin-1")
        spans = self._known_spans(view, self._active(view)) or [
            span for span in shaped_secrets(view, lowered_of(view)) if "[" not in view[span.start : span.end]
        ]
        return view.count("\n", 0, min(span.start for span in spans)) + 1 if spans else None

    # -- text ----------------------------------------------------------------------------------------------------------

    def _active(self, view: str) -> list[Known]:
        """Return the known secrets that are in *view*. Many are looked for by a part of each that begins with a rare character."""
        if self._first is None:
            return [known for known in self._known if known[0] in view]
        anchors = self._anchors
        found = {part for part in [view[match.start() : match.start() + _ANCHOR] for match in self._first.finditer(view)] if part in anchors}
        return [known for part in found for known in anchors[part] if known[0] in view]

    def _known_spans(self, view: str, active: t.Sequence[Known]) -> list[Span]:
        spans = []
        for literal, kind, value in active:
            position = view.find(literal)
            while position >= 0:
                end = position + len(literal)
                if kind == "base64":
                    begin = position
                    while begin > 0 and view[begin - 1] in _BASE64_RUN and position - begin < 4096:
                        begin -= 1
                    while end < len(view) and view[end] in _BASE64_RUN and end - position < 8192:
                        end += 1
                    spans.append(Span(begin, end, f"known:{value}"))
                elif not (len(value) < _SHORT_WORD and value.isalnum() and _inside_a_word(view, position, end)):
                    spans.append(Span(position, end, kind))
                position = view.find(literal, end)
        return spans

    def _plain(self, view: str, active: t.Sequence[Known], announced: t.Optional[list[int]] = None) -> str:
        """Return *view* with everything replaced that can be found by searching."""
        spans = self._all_spans(view, lowered_of(view), active, announced)
        return replaced(view, spans, self._replacement) if spans else view

    def _all_spans(self, view: str, lowered: str, active: t.Sequence[Known], announced: t.Optional[list[int]]) -> list[Span]:
        spans = find_secrets(view, lowered, announced)
        spans += find_personal(view, lowered)
        spans += self._known_spans(view, active)
        if self._identities is not None:
            spans += self._identities.spans(view, lowered)
        return spans

    def _lines(self, view: str, active: t.Sequence[Known]) -> str:
        """Return the redacted text of a log; JSON in its lines is redacted as such where a name in it announces a secret."""
        if "\x1b" in view:
            view = _ANSI.sub("", view)
            active = self._active(view)
        announced: list[int] = []
        spans = self._all_spans(view, lowered_of(view), active, announced)
        structured = self._structured_lines(view, announced, active)
        spans += [Span(start, end, f"{_LINE}{start}") for start, (end, dummy) in structured.items()]
        if not spans:
            return view
        if not structured:
            return replaced(view, spans, self._replacement)

        def replacement(value: str, kind: str) -> str:
            return structured[int(kind[len(_LINE) :])][1] if kind.startswith(_LINE) else self._replacement(value, kind)

        return replaced(view, _outside(spans, structured), replacement)

    def _structured_lines(self, view: str, announced: t.Iterable[int], active: t.Sequence[Known]) -> dict[int, tuple[int, str]]:
        """Return where JSON begins in lines in which something is announced: its end, and what it becomes."""
        found: dict[int, tuple[int, str]] = {}
        covered = -1
        for position in announced:
            if position < covered:
                continue
            begin = view.rfind("\n", 0, position) + 1
            covered = view.find("\n", position)
            covered = len(view) if covered < 0 else covered
            brace = view.find("{", begin, covered)
            end = begin + len(view[begin:covered].rstrip())
            if brace < 0 or end - brace > MAX_STRUCTURED_LINE or view[end - 1] != "}":
                continue
            try:
                document = json.loads(text_of(view[brace:end]))
            except (ValueError, RecursionError):
                continue
            compact = '": ' not in view[brace : brace + 200]
            try:
                walked = self._walk(document, "", self._active_in(document, active))
            except RecursionError:
                continue
            found[brace] = (end, view_of(json.dumps(walked, ensure_ascii=False, separators=(",", ":") if compact else None)))
        return found

    def _active_in(self, document: t.Any, active: t.Sequence[Known]) -> t.Sequence[Known]:
        return active if not self._known else self._active(view_of(json.dumps(document, ensure_ascii=False)))

    def _replacement(self, value: str, kind: str) -> str:
        if kind in _IDENTITY_KINDS:
            return self._pseudonym(value, kind)
        if kind == "personal":
            self.counts["values"] += 1
            return self._map.token(text_of(value), "value")
        self.counts["secrets"] += 1
        real = text_of(value)
        if kind == "url":
            real = urllib.parse.unquote(real)
        elif kind.startswith("known:"):
            real = kind[len("known:") :]
        return self._map.token(real)

    def _pseudonym(self, value: str, kind: str) -> str:
        if kind == "ipv4":
            self.counts["addresses"] += 1
            known = self._ipv4.get(value)
            if known is None:
                known = self._ipv4[value] = self._new_pseudonym(value, kind)
            return known
        self.counts["addresses" if kind in ("dashed", "ipv6", "mac") else "names"] += 1
        return self._new_pseudonym(value, kind)

    def _new_pseudonym(self, value: str, kind: str) -> str:
        if kind == "dashed":
            return self._map.address(value.replace("-", ".")).replace(".", "-")
        if kind in ("ipv4", "ipv6"):
            try:
                return self._map.address(value)
            except ValueError:
                # Leading zeros make it no address for Python, and still one for others.
                return self._map.address(".".join(str(int(octet)) for octet in value.split(".")))
        return {"mac": self._map.mac, "email": self._map.email, "host": self._map.host, "domain": self._map.domain, "user": self._map.user}[kind](value)

    # -- files of variables --------------------------------------------------------------------------------------------

    def _variables(self, view: str, active: t.Sequence[Known]) -> str:
        """Return ``NAME=value`` lines with tokens for their values; only what says on, off, a level or a small number stays."""
        pieces = []
        position = 0
        while position < len(view):
            end = view.find("\n", position)
            end = len(view) if end < 0 else end
            match = _VARIABLE.match(view, position, end)
            if match is None:
                pieces.append(self._plain(view[position:end], active))
            else:
                value, end = _value_of_variable(view, match.end(), end)
                pieces.append(match["head"] + self._variable(match["name"], text_of(value)))
            position = end + 1
        return "\n".join(pieces) + ("\n" if view.endswith("\n") else "")

    def _variable(self, name: str, value: str) -> str:
        if value not in self._exact and not name_strength(name) and _PLAIN_VALUE.match(value):
            return value
        if not value:
            return value
        kind = "secret" if value in self._exact or is_secret_name(name) and "://" not in value else "value"
        self.counts["secrets" if kind == "secret" else "values"] += 1
        return self._map.token(value, kind)

    # -- structures ----------------------------------------------------------------------------------------------------

    def _json_file(self, text: str) -> str:
        try:
            document = json.loads(text)
        except ValueError:
            raise NotRedactable("it is no valid JSON") from None
        walked = self.tree(document)
        indented = "\n" in text.strip()
        return json.dumps(walked, ensure_ascii=False, indent=2 if indented else None) + ("\n" if text.endswith("\n") else "")

    def _walk(self, value: t.Any, name: str, active: t.Sequence[Known], inherited: bool = False) -> t.Any:
        if isinstance(value, str):
            return self._string(value, name, active, inherited)
        if isinstance(value, dict):
            return self._mapping(value, name, active, inherited)
        if isinstance(value, list):
            return self._sequence(value, name, active, inherited)
        if value is not None and not isinstance(value, bool) and (inherited or is_secret_name(name)):
            self.counts["secrets"] += 1
            return self._map.token(json.dumps(value))
        return value

    def _mapping(self, value: dict[str, t.Any], name: str, active: t.Sequence[Known], inherited: bool) -> dict[str, t.Any]:
        inherited = inherited or (is_secret_name(name) and not name.lower().endswith("s"))
        announced = next((value[key] for key in _NAME_KEYS if isinstance(value.get(key), str)), None)
        redacted: dict[str, t.Any] = {}
        for key, item in value.items():
            shown = self._string(key, "", active, False)
            if announced is not None and key in _VALUE_KEYS:
                redacted[shown] = self._walk(item, announced, active)
            else:
                redacted[shown] = self._walk(item, key, active, inherited and key.lower() in _INHERITED)
        return redacted

    def _sequence(self, value: list[t.Any], name: str, active: t.Sequence[Known], inherited: bool) -> list[t.Any]:
        inherited = inherited or (is_secret_name(name) and not name.lower().endswith("s"))
        if len(value) == 2 and isinstance(value[0], str) and value[0].lower() in _HEADERS:
            return [value[0], self._walk(value[1], value[0], active)]
        redacted = []
        option = ""
        for item in value:
            redacted.append(self._walk(item, option, active, inherited))
            match = _OPTION.match(item) if isinstance(item, str) else None
            option = match["name"] if match and is_secret_name(match["name"]) else ""
        return redacted

    def _string(self, value: str, name: str, active: t.Sequence[Known], inherited: bool) -> str:
        """Return a text that stands under *name*."""
        if not value:
            return value
        strength = 2 if inherited else name_strength(name)
        if value in self._exact and (strength or can_be_replaced(value)):
            self.counts["secrets"] += 1
            return self._map.token(value)
        if strength and looks_like_a_secret(value, strength) and not self._is_url(value, name):
            self.counts["secrets"] += 1
            scheme = re.match(r"(?i)(?:basic|bearer|digest|token|negotiate)\s+", value)
            if scheme and scheme.end() < len(value):
                return scheme[0] + self._map.token(value[scheme.end() :])
            return self._map.token(value)
        entry = _ENTRY.match(value)
        if entry is not None and name_strength(entry["name"]) and " " not in entry["name"]:
            return f"{entry['name']}={self._string(entry['value'], entry['name'], active, False)}"
        announced: list[int] = []
        statement = name in _STATEMENT_KEYS and "'" in value
        searched = None if statement else self._searched.get(value)
        if searched is not None:
            announced = [0] * (value in self._announcing)
            redacted = searched
        else:
            view = view_of(value)
            if statement:
                view = replaced(view, sql_literals(view, 0, len(view)), self._replacement)
            redacted = text_of(self._plain(view, active, announced))
        if announced and value[0] in "{[" and value.rstrip()[-1] in "}]":
            nested = self._nested(value)
            if nested is not None:
                return nested
        return redacted

    def _search_texts(self, document: t.Any) -> None:
        """Search all texts of *document* at once, which takes a fraction of the time of one after the other."""
        self._searched, self._announcing = {}, set()
        views = {text: view_of(text) for text in _texts_of(document) if _BETWEEN_TEXTS not in text}
        joined = _BETWEEN_TEXTS.join(views.values())
        lowered = lowered_of(joined)
        announced: list[int] = []
        spans = self._all_spans(joined, lowered, self._active(joined), announced)
        spans.sort()
        announced.sort()
        position = next_span = next_announced = 0
        for text, view in views.items():
            end = position + len(view)
            first = next_span
            while next_span < len(spans) and spans[next_span].start <= end:
                next_span += 1
            inside = [Span(span.start - position, span.end - position, span.kind) for span in spans[first:next_span]]
            while next_announced < len(announced) and announced[next_announced] <= end:
                next_announced += 1
                self._announcing.add(text)
            # What reaches into the next text was misled by it; that one is then searched by itself.
            if not inside:
                self._searched[text] = text
            elif all(span.end <= len(view) for span in inside):
                self._searched[text] = text_of(replaced(view, inside, self._replacement))
            position = end + len(_BETWEEN_TEXTS)

    @staticmethod
    def _is_url(value: str, name: str) -> bool:
        """Say whether *value* is a URL, or a connection string: of those only the secret parts are replaced."""
        if "://" in value:
            return not value.startswith("-----")
        return name.lower().endswith("dsn") and "=" in value

    def _nested(self, value: str) -> t.Optional[str]:
        """Return JSON inside a text redacted as such, or ``None`` where it is none."""
        try:
            document = json.loads(value)
        except (ValueError, RecursionError):
            return None
        if not isinstance(document, (dict, list)):
            return None
        text = json.dumps(document, ensure_ascii=False)
        walked = self._walk(document, "", self._active(view_of(text)))
        if walked == document:
            return value
        return json.dumps(walked, ensure_ascii=False, separators=(",", ":") if '": ' not in value else None)

    def _yaml_file(self, text: str) -> str:
        """Return YAML with scalars replaced where they stand, so that comments, order and form stay."""
        if len(text) > MAX_YAML_BYTES:
            raise NotRedactable("it is too large for a YAML file")
        try:
            documents = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
        except yaml.YAMLError:
            raise NotRedactable("it is no valid YAML") from None
        active = self._active(view_of(text))
        changes: dict[tuple[int, int], str] = {}
        for document in documents:
            if document is not None:
                self._yaml_node(document, "", self._known if active else active, changes, set())
        pieces = []
        position = 0
        for (start, end), replacement in sorted(changes.items()):
            if start >= position:
                pieces.append(text[position:start])
                pieces.append(replacement)
                position = end
        pieces.append(text[position:])
        return self._yaml_comments("".join(pieces))

    def _yaml_comments(self, text: str) -> str:
        """Return *text* with its comments redacted, which are in no node."""
        if "#" not in text:
            return text
        lines = text.split("\n")
        for number, line in enumerate(lines):
            position = line.find("#")
            if position >= 0:
                view = view_of(line[position:])
                lines[number] = line[:position] + text_of(self._plain(view, self._active(view)))
        return "\n".join(lines)

    def _yaml_node(
        self, node: t.Any, name: str, active: t.Sequence[Known], changes: dict[tuple[int, int], str], seen: set[int], inherited: bool = False
    ) -> None:
        if id(node) in seen:
            return
        seen.add(id(node))
        if isinstance(node, yaml.ScalarNode):
            self._yaml_scalar(node, name, active, changes, inherited)
        elif isinstance(node, yaml.MappingNode):
            inherited = inherited or (is_secret_name(name) and not name.lower().endswith("s"))
            keys = {key.value: item.value for key, item in node.value if isinstance(key, yaml.ScalarNode) and isinstance(item, yaml.ScalarNode)}
            announced = next((keys[key] for key in _NAME_KEYS if key in keys), None)
            for key, item in node.value:
                key_name = key.value if isinstance(key, yaml.ScalarNode) else ""
                self._yaml_node(key, "", active, changes, seen)
                if announced is not None and key_name in _VALUE_KEYS:
                    self._yaml_node(item, announced, active, changes, seen)
                else:
                    self._yaml_node(item, key_name, active, changes, seen, inherited and key_name.lower() in _INHERITED)
        elif isinstance(node, yaml.SequenceNode):
            inherited = inherited or (is_secret_name(name) and not name.lower().endswith("s"))
            option = ""
            for item in node.value:
                self._yaml_node(item, option, active, changes, seen, inherited)
                match = _OPTION.match(item.value) if isinstance(item, yaml.ScalarNode) else None
                option = match["name"] if match and is_secret_name(match["name"]) else ""

    def _yaml_scalar(self, node: yaml.ScalarNode, name: str, active: t.Sequence[Known], changes: dict[tuple[int, int], str], inherited: bool) -> None:
        plain_number = node.style is None and node.tag.rpartition(":")[2] in ("int", "float")
        if plain_number and (inherited or is_secret_name(name)):
            self.counts["secrets"] += 1
            redacted = self._map.token(node.value)
        else:
            redacted = self._string(node.value, name, active, inherited)
        if redacted != node.value:
            # The end of a block scalar is behind its last newline, which belongs to the form and not to the value.
            ending = "\n" if node.style in ("|", ">") else ""
            changes[(node.start_mark.index, node.end_mark.index)] = json.dumps(redacted, ensure_ascii=False) + ending


def _texts_of(document: t.Any) -> dict[str, None]:
    """Return every text in *document*, keys included, once and in an order that the document alone decides."""
    texts: dict[str, None] = {}
    waiting = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            texts[value] = None
        elif isinstance(value, dict):
            texts.update(dict.fromkeys(value))
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
    return texts


def _outside(spans: t.Iterable[Span], structured: t.Mapping[int, tuple[int, str]]) -> list[Span]:
    """Return *spans* without those that begin inside a structured line, and with those that reach into one cut off before it."""
    if not structured:
        return list(spans)
    kept = []
    ranges = sorted((start, end) for start, (end, dummy) in structured.items())
    index = 0
    for span in sorted(spans, key=lambda one: (one.start, not one.kind.startswith(_LINE))):
        while index < len(ranges) and ranges[index][1] <= span.start:
            index += 1
        if not span.kind.startswith(_LINE) and index < len(ranges):
            start, end = ranges[index]
            if start <= span.start < end:
                continue
            if span.start < start < span.end:
                span = Span(span.start, start, span.kind)
        kept.append(span)
    return kept


def _inside_a_word(view: str, start: int, end: int) -> bool:
    return (start > 0 and view[start - 1].isalnum()) or (end < len(view) and view[end].isalnum())


def _value_of_variable(view: str, start: int, end: int) -> tuple[str, int]:
    """Return the value that begins at *start*, without its quotes, and where its last line ends."""
    quote = view[start : start + 1]
    if quote not in ('"', "'") or not quote:
        return view[start:end].rstrip(), end
    closing = start + 1
    while True:
        closing = view.find(quote, closing)
        if closing < 0:
            return view[start:end].rstrip(), end
        if quote == '"' and view[closing - 1] == "\\":
            closing += 1
            continue
        break
    line_end = view.find("\n", closing)
    return view[start + 1 : closing], len(view) if line_end < 0 else line_end


def _anchor_of(literal: str) -> str:
    """Return the part of a secret that begins with its rarest character."""
    begin = min(range(len(literal) - _ANCHOR + 1), key=lambda position: _RARITY.get(literal[position], 30))
    return literal[begin : begin + _ANCHOR]


def _variants(value: str) -> t.Iterator[Known]:
    """Yield the forms in which *value* may stand in a text: the form, its kind, and the value itself."""
    forms = {
        value: None,
        urllib.parse.quote(value, safe=""): None,
        urllib.parse.quote(value, safe="/"): None,
        urllib.parse.quote_plus(value): None,
        json.dumps(value)[1:-1]: None,
        json.dumps(value, ensure_ascii=False)[1:-1]: None,
        json.dumps(json.dumps(value)[1:-1])[1:-1]: None,
    }
    for form in forms:
        yield view_of(form), f"known:{value}", value
    data = value.encode("utf-8", "surrogatepass")
    if len(data) < 8:
        return
    encoded: dict[str, None] = {}
    for offset, skipped in ((0, 0), (1, 2), (2, 3)):
        whole = base64.b64encode(b"\0" * offset + data).decode()[skipped : (offset + len(data)) * 8 // 6]
        encoded[whole] = None
        encoded[whole.replace("+", "-").replace("/", "_")] = None
    for form in encoded:
        yield form, "base64", value


def _decoded(data: bytes) -> str:
    """Return the text of a file, whatever its encoding.

    :raises NotRedactable: it is no text.
    """
    if data[:2] == b"\x1f\x8b":
        unpacker = zlib.decompressobj(31)
        try:
            data = unpacker.decompress(data, MAX_UNPACKED_BYTES)
        except zlib.error:
            raise NotRedactable("it is a damaged gzip file") from None
        if unpacker.unconsumed_tail:
            raise NotRedactable("it is too large when it is unpacked")
    for mark, encoding in ((codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")):
        if data.startswith(mark):
            try:
                return data.decode(encoding)
            except UnicodeDecodeError:
                raise NotRedactable(f"it is no valid {encoding.upper()}") from None
    if data.startswith(codecs.BOM_UTF8):
        data = data[3:]
    if b"\0" in data:
        for encoding in ("utf-16-le", "utf-16-be"):
            high, low = (data[::2], data[1::2]) if encoding.endswith("be") else (data[1::2], data[::2])
            if len(high) == len(low) and high.count(0) > 0.8 * len(high) and low.count(0) < 0.2 * len(low):
                try:
                    return data.decode(encoding)
                except UnicodeDecodeError:
                    break
        # A log that was cut while a program went on writing has a hole of them.
        data = data.replace(b"\0", b"")
    begin = data[:_LOOKED_AT_BYTES]
    if len(begin.translate(None, _NO_TEXT)) < 0.9 * len(begin):
        raise NotRedactable("it is binary")
    text = data.decode("utf-8", "replace")
    if text.count("\ufffd") > 0.1 * len(text):
        raise NotRedactable("it is binary")
    return text
