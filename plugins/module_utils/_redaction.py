# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Take secrets out of what was collected, before it leaves the host.

Two layers. The secret values that the stack itself knows (its containers' environment) are replaced wherever they
stand, which needs no idea of the format around them. Values nobody declared are found by their shape: a password in
a URL, a credential header, a token, a private key, ``password=...`` in whatever notation.
"""

from __future__ import annotations

import re
import typing as t
import urllib.parse

from ._secret_shapes import Span, find_secrets, is_secret_name, lowered_of

if t.TYPE_CHECKING:
    from ._discovery import Stack

__all__ = ["REDACTED", "Redactor", "can_be_replaced", "is_secret_name", "redactor_of", "replaced", "secrets_of_environment"]

REDACTED = "[redacted]"

#: Shorter values are too likely to stand for something else.
_SHORTEST_SECRET = 6

# Passwords that are words as well: replacing them everywhere would take the text apart and hide nothing.
_COMMON_WORDS = frozenset(
    [
        "postgres",
        "password",
        "secret",
        "admin",
        "default",
        "public",
        "changeme",
        "docker",
        "production",
        "development",
        "example",
        "localhost",
        "backend",
        "database",
    ]
)


def can_be_replaced(value: str) -> bool:
    """Say whether a secret *value* may be replaced wherever it stands, and not only where something announces it."""
    return len(value) >= _SHORTEST_SECRET and value.lower() not in _COMMON_WORDS


def secrets_of_environment(environment: t.Mapping[str, str]) -> set[str]:
    """Return the secret values of one container's *environment*, as written and percent-decoded."""
    found: set[str] = set()
    for name, value in environment.items():
        if is_secret_name(name) and "://" not in value:
            found.add(value)
        for span in find_secrets(value):
            secret = value[span.start : span.end]
            found.update((secret, urllib.parse.unquote(secret)) if span.kind == "url" else (secret,))
    return found


def replaced(text: str, spans: t.Iterable[Span], replacement: t.Callable[[str, str], str]) -> str:
    """Return *text* with every one of *spans* replaced by what *replacement* says for its content and kind.

    Where spans overlap, the first and longest counts, and what others cover beyond its end goes with it.
    """
    pieces: list[str] = []
    position = 0
    last_end = -1
    for span in _longest_first(spans):
        if span.end <= max(position, span.start):
            continue
        if span.start < last_end:
            position = last_end = span.end
            continue
        pieces.append(text[position : span.start])
        pieces.append(replacement(text[span.start : span.end], span.kind))
        position = last_end = span.end
    if not pieces:
        return text
    pieces.append(text[position:])
    return "".join(pieces)


def _longest_first(spans: t.Iterable[Span]) -> list[Span]:
    """Return *spans* in order of their begins, of those with the same one the longest first."""
    ordered = sorted(spans)  # without a key, which takes longer than the sorting
    if any(one.start == other.start for one, other in zip(ordered, ordered[1:])):
        ordered.sort(key=lambda one: (one.start, -one.end))
    return ordered


class Redactor:
    """Replaces secrets in text and in trees of text.

    *secrets* are values known to be secret; those that are short, common words, or among *names* (the names of
    users, databases, services, which the report cannot do without) are left to the patterns.
    """

    def __init__(self, secrets: t.Iterable[str], names: t.Iterable[str] = ()) -> None:
        kept = {name.lower() for name in names}
        values = sorted({value for value in secrets if can_be_replaced(value) and value.lower() not in kept}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, values))) if values else None

    def text(self, text: str) -> str:
        """Return *text* without secrets."""
        spans = find_secrets(text, lowered_of(text))
        if self._known is not None:
            spans += [Span(*match.span()) for match in self._known.finditer(text)]
        return replaced(text, spans, lambda dummy_value, dummy_kind: REDACTED)

    def tree(self, value: t.Any) -> t.Any:
        """Return a copy of *value* (mappings, lists, text, numbers) in which every text is without secrets."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {key: self.tree(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.tree(item) for item in value]
        return value


def redactor_of(stacks: t.Iterable[Stack]) -> Redactor:
    """Return the redactor that knows the secrets of all containers of *stacks*, and leaves their names."""
    containers = [container for stack in stacks for container in stack.siblings]
    secrets = {secret for container in containers for secret in secrets_of_environment(container.env)}
    return Redactor(secrets, {name for container in containers for name in (container.project, container.service, container.name)})
