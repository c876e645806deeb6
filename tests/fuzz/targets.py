# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What reads texts that nobody vouches for, each as a function of bytes that ends well, or with the one error that it announces."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import pathlib
import shutil
import tempfile
import typing as t

from ansible_collections.stackops.runbook.plugins.module_utils._app_errors import classify_text
from ansible_collections.stackops.runbook.plugins.module_utils._compose_config import parse_config, parse_depends_on_label
from ansible_collections.stackops.runbook.plugins.module_utils._dotenv_edit import assignments, with_values
from ansible_collections.stackops.runbook.plugins.module_utils._dump_stream import DumpCounter
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError
from ansible_collections.stackops.runbook.plugins.module_utils._extraction import extract_tar
from ansible_collections.stackops.runbook.plugins.module_utils._http_probe import certificate_expiry, check_url, display_url
from ansible_collections.stackops.runbook.plugins.module_utils._log_formats import Clock, learn, learn_whole, parse
from ansible_collections.stackops.runbook.plugins.module_utils._nft_ruleset import parse_nft_json
from ansible_collections.stackops.runbook.plugins.module_utils._scanner_output import parse_grype, parse_scout, parse_trivy
from ansible_collections.stackops.runbook.plugins.plugin_utils._bundle_redaction import BundleRedactor, NotRedactable
from ansible_collections.stackops.runbook.plugins.plugin_utils._conditions import ConditionError, Expression, pattern_problem
from ansible_collections.stackops.runbook.plugins.plugin_utils._private_map import PrivateMap
from ansible_collections.stackops.runbook.plugins.plugin_utils._rules import RuleError, load_rules
from ansible_collections.stackops.runbook.plugins.plugin_utils._support_bundle_reader import BundleError, bundle_rows
from ansible_collections.stackops.runbook.plugins.plugin_utils._text import clip, display_width, harmless, wrap

SECRET = "s3cret-Canary-9q"


def _seeds(name: str) -> tuple[bytes, ...]:
    """Return the seeds in the target's directory; what is no text is written in hexadecimal."""
    paths = sorted((pathlib.Path(__file__).parent / "seeds" / name).iterdir())
    return tuple(bytes.fromhex(path.read_text("ascii")) if path.suffix == ".hex" else path.read_bytes() for path in paths)


@dataclasses.dataclass(frozen=True)
class Target:
    """*read* must not raise; *seeds* are where a fuzzer begins."""

    read: t.Callable[[bytes], None]
    seeds: tuple[bytes, ...]


def _log_line(data: bytes) -> None:
    parse(data, Clock())
    learn(data, Clock())
    learn_whole(data, Clock())


def _app_error(data: bytes) -> None:
    classify_text(data.decode("utf-8", "replace"))


def _variables(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    assignments(text)
    with_values(text, {"DEBUG": "true"})


def _compose(data: bytes) -> None:
    parse_depends_on_label(data.decode("utf-8", "replace"))
    with contextlib.suppress(ValueError, RecursionError):
        document = json.loads(data)
        if isinstance(document, dict):
            parse_config(document)


def _firewall(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        parse_nft_json(data.decode("utf-8", "replace"), data.decode("utf-8", "replace"))


def _scanner(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    for read in (parse_trivy, parse_grype, parse_scout):
        with contextlib.suppress(CheckError):
            read(text, "image:1")


def _dump(data: bytes) -> None:
    counter = DumpCounter()
    for position in range(0, len(data), 7):
        counter.feed(data[position : position + 7])
    counter.finish()


def _archive(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        into = pathlib.Path(scratch) / "into"
        with contextlib.suppress(CheckError):
            extract_tar(io.BytesIO(data), "x.tar", str(into))
        shutil.rmtree(into, ignore_errors=True)
        assert list(pathlib.Path(scratch).iterdir()) == []


def _bundle(data: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        with contextlib.suppress(BundleError):
            bundle_rows(pathlib.Path(file.name))


def _certificate(data: bytes) -> None:
    certificate_expiry(data)


def _url(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        display_url(check_url(data.decode("utf-8", "replace")))


def _rules(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        (pathlib.Path(scratch) / "rules.yml").write_bytes(data)
        with contextlib.suppress(RuleError):
            load_rules([scratch])


def _condition(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    pattern_problem(text)
    with contextlib.suppress(ConditionError):
        Expression(text)({"a": [{"b": 1, "c": "text"}, {"b": None}], "facts": {"host": {"name": "x"}}})


def _redaction(data: bytes) -> None:
    redactor = BundleRedactor(PrivateMap(b"s" * 32), [SECRET])
    for kind in ("json", "yaml", "variables", "text"):
        with contextlib.suppress(NotRedactable):
            assert SECRET.encode() not in redactor.file(kind, data)


def _terminal(data: bytes) -> None:
    text = harmless(data.decode("utf-8", "surrogateescape"))
    assert not any(character in text for character in "\x1b\x9b\x07\r\u202e")
    assert display_width(clip(text, 20)) <= 20
    assert all(display_width(line) <= 30 for line in wrap(text, 30))


TARGETS: dict[str, Target] = {
    "log-line": Target(_log_line, _seeds("log-line")),
    "app-error": Target(_app_error, _seeds("app-error")),
    "variables": Target(_variables, _seeds("variables")),
    "compose": Target(_compose, _seeds("compose")),
    "firewall": Target(_firewall, _seeds("firewall")),
    "scanner": Target(_scanner, _seeds("scanner")),
    "dump": Target(_dump, _seeds("dump")),
    "archive": Target(_archive, _seeds("archive")),
    "bundle": Target(_bundle, _seeds("bundle")),
    "certificate": Target(_certificate, _seeds("certificate")),
    "url": Target(_url, _seeds("url")),
    "rules": Target(_rules, _seeds("rules")),
    "condition": Target(_condition, _seeds("condition")),
    "redaction": Target(_redaction, _seeds("redaction")),
    "terminal": Target(_terminal, _seeds("terminal")),
}
