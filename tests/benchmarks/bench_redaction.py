# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How fast the files of a support bundle are redacted, and how fast the result is searched once more.

    PYTHONPATH=.venv/collections .venv/bin/python tests/benchmarks/bench_redaction.py [--megabytes 20] [--json build/bench_redaction.json]

The logs are those of an application (JSON and text), a proxy and a database, one line in fifty with a secret, an e-mail address or a
value of a row in it; the secrets of 5 services and the names of 20 hosts are known. The best of three runs counts, processor time.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import random
import time
import typing as t

import log_corpus
from ansible_collections.stackops.runbook.plugins.plugin_utils._bundle_redaction import BundleRedactor
from ansible_collections.stackops.runbook.plugins.plugin_utils._identities import Identities
from ansible_collections.stackops.runbook.plugins.plugin_utils._private_map import PrivateMap

RUNS = 3
LETTERS = "abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
SECRETS = tuple("".join(random.Random(number).choices(LETTERS + "+/@" * (number > 5), k=20 + number)) for number in range(8))
HOSTS = tuple(f"web{number:02d}.prod.example.net" for number in range(1, 19)) + ("db1.prod.example.net", "db2.prod.example.net")
RARE = (
    "login of alice{n}@customers.example.org failed, token=abc{n}Def",
    "connecting to postgresql+asyncpg://shop:" + SECRETS[0] + "@db1.prod.example.net:5432/shop",
    "DETAIL:  Key (email)=(bob{n}@customers.example.org) already exists.",
    'settings: {{"api_key": "' + SECRETS[1] + '", "debug": false}}',
    "odd place <" + SECRETS[2] + "> in a log of web07",
)


def corpus(megabytes: float) -> str:
    """Return about so much of logs, the same for the same arguments."""
    lines: list[str] = []
    size = 0
    writers = (log_corpus.as_json, log_corpus.as_text, log_corpus.as_combined, log_corpus.as_docker)
    for number, (moment, record) in enumerate(log_corpus.records(int(megabytes * 6000), 1.0, 7, 0.01)):
        line = writers[number // 1000 % 4](moment, record)
        if number % 50 == 0:
            line += "\n" + moment.strftime("%Y-%m-%d %H:%M:%S ") + RARE[number // 50 % len(RARE)].format(n=number)
        lines.append(line)
        size += len(line) + 1
        if size > megabytes * 1e6:
            break
    return "\n".join(lines) + "\n"


def timed(function: t.Callable[[], object]) -> float:
    """Return the best processor time of a few runs."""
    best = float("inf")
    for dummy in range(RUNS):
        begin = time.process_time()
        function()
        best = min(best, time.process_time() - begin)
    return best


def main() -> None:
    """Measure, print a row each, and fail where redaction is slower than what is promised."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=float, default=20)
    parser.add_argument("--json", type=pathlib.Path)
    arguments = parser.parse_args()
    text = corpus(arguments.megabytes)
    data = text.encode()
    redactor = BundleRedactor(PrivateMap(b"s" * 32), SECRETS, Identities(HOSTS, ["alice", "deployer"]))
    redacted = redactor.file("text", data)
    assert not any(secret.encode() in redacted for secret in SECRETS) and b"customers.example" not in redacted and b"172.18." not in redacted
    facts = json.dumps(
        [{"Name": f"c{number}", "Env": ["PATH=/bin", f"DB_PASSWORD={SECRETS[3]}"], "Lines": text.split("\n")[number : number + 20]} for number in range(500)]
    ).encode()
    fleet = [*SECRETS, *("".join(random.Random(100 + number).choices(LETTERS, k=16 + number % 20)) for number in range(1000))]
    large = BundleRedactor(PrivateMap(b"s" * 32), fleet, Identities([f"web{number:04d}.prod.example.net" for number in range(1000)]))
    rows = {
        "the same, 1000 secrets": (len(data), timed(lambda: large.file("text", data))),
        "redact logs": (len(data), timed(lambda: redactor.file("text", data))),
        "redact JSON": (len(facts), timed(lambda: redactor.file("json", facts))),
        "search once more": (len(redacted), timed(lambda: redactor.search(redacted))),
    }
    result = {
        name: {"megabytes": round(size / 1e6, 1), "seconds": round(seconds, 3), "mb_per_s": round(size / 1e6 / seconds, 1)}
        for name, (size, seconds) in rows.items()
    }
    for name, row in result.items():
        print(f"{name:24} {row['megabytes']:7.1f} MB {row['seconds']:8.3f} s {row['mb_per_s']:8.1f} MB/s")
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
