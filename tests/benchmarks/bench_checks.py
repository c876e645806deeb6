# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What one run of each check costs a host: the whole program as cron starts it, its children included.

Bars: 0.15 s of CPU and 40 MiB for a check of endpoints or of logs at paths, 0.4 s and 64 MiB for one that asks the engine, and the
same for a log of ten gigabytes as for one of ten megabytes. What asks the engine looks at the example stack, which is started for it.

    python tests/benchmarks/bench_checks.py [--rounds 5] [--large 10000] [--json build/bench_checks.json]
"""

from __future__ import annotations

import argparse
import contextlib
import http.server
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import typing as t

import log_corpus

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / ".venv" / "collections")]

from ansible_collections.stackops.runbook.plugins.plugin_utils._zipapp import build, read_sources  # noqa: E402

from tests.support.backup_stack import BackupStack  # noqa: E402

LIGHT, ENGINE = (0.15, 40), (0.4, 64)
PROJECT, PORT = "benchchecks", 8206


class Quiet(http.server.BaseHTTPRequestHandler):
    """An endpoint that is well."""

    def do_GET(self) -> None:  # noqa: N802
        """Answer."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *dummy: object) -> None:
        """Say nothing."""


def measure(argv: t.Sequence[str]) -> tuple[float, float, float]:
    """Return CPU seconds, peak MiB and wall seconds of a command and its children."""
    begin = time.perf_counter()
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    dummy, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1, 2):
        raise SystemExit(f"{' '.join(argv)} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, time.perf_counter() - begin


def write_log(path: pathlib.Path, megabytes: int) -> None:
    """Write a log whose last hour is a day old: what a run finds new in it is what is appended."""
    small = path.with_suffix(".part")
    log_corpus.write(str(small), "json", min(megabytes, 10) * 1_000_000, 1)
    with open(path, "wb") as out:
        for dummy in range(max(1, megabytes // 10)):
            with open(small, "rb") as part:
                shutil.copyfileobj(part, out, 1 << 22)
    small.unlink()


def append(path: pathlib.Path) -> None:
    """Append what an application writes in five minutes: 1,500 lines, some of them errors, some failed logins."""
    now = time.time()
    with open(path, "a", encoding="utf-8") as file:
        for number in range(1500):
            moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now - 300 + number / 5))
            status = 401 if number % 100 == 0 else 500 if number % 150 == 0 else 200
            record = {
                "timestamp": f"{moment}.{number % 1000:03d}Z", "level": "error" if status == 500 else "info", "logger": "shop.access",
                "message": "request completed", "duration_ms": 12.5, "status": status, "method": "GET", "path": f"/api/v1/items/{number}",
                "client_ip": f"198.51.100.{number % 50}", "request_id": f"{number:032x}",
            }  # fmt: skip
            file.write(json.dumps(record) + "\n")


@contextlib.contextmanager
def something_to_look_at(wanted: bool) -> t.Iterator[None]:
    """Have the example stack on this machine's engine."""
    stack = BackupStack(PROJECT, port=PORT)
    try:
        if wanted:
            stack.up()
        yield
    finally:
        if wanted:
            stack.down()


def main() -> None:
    """Measure every check and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--large", type=int, default=10_000, help="megabytes of the large log")
    parser.add_argument("--json", type=pathlib.Path, default=pathlib.Path("build/bench_checks.json"))
    parser.add_argument("--no-engine", action="store_true", help="only the checks that do not ask the engine, which other stacks on the machine lengthen")
    options = parser.parse_args()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    rows = []
    with tempfile.TemporaryDirectory(dir="build") as name, something_to_look_at(not options.no_engine):
        directory = pathlib.Path(name).resolve()
        program = directory / "stackops"
        (directory / "code").mkdir(mode=0o755)
        program.write_bytes(build(read_sources(), "0.0.0", code_directory=str(directory / "code")))
        program.chmod(0o755)
        logs = {"10 MB": directory / "small.log", f"{options.large / 1000:g} GB": directory / "large.log"}
        for path, megabytes in zip(logs.values(), (10, options.large)):
            write_log(path, megabytes)
        checks: dict[str, t.Any] = {"front": {"type": "http", "endpoints": [{"url": f"http://127.0.0.1:{server.server_address[1]}/health"}]}}
        for number, path in enumerate(logs.values()):
            checks[f"errors{number}"] = {"type": "errors", "paths": [str(path)]}
            checks[f"auth{number}"] = {"type": "auth", "paths": [str(path)]}
        configuration = directory / "monitoring.json"
        configuration.write_text(json.dumps({"schema_version": 1, "options": {"host": "bench", "checks": checks}}))
        configuration.chmod(0o600)
        plan: list[tuple[str, str, tuple[float, int], t.Optional[pathlib.Path]]] = [("one endpoint", "front", LIGHT, None)]
        for number, (size, path) in enumerate(logs.items()):
            plan += [(f"errors, log of {size}", f"errors{number}", LIGHT, path), (f"logins, log of {size}", f"auth{number}", LIGHT, path)]
        if not options.no_engine:
            plan += [(f"{check}, all that the engine has", check, ENGINE, None) for check in ("health", "errors", "auth", "resources", "database")]
        for words, check, bar, log in plan:
            argv = [str(program), "check", check, "--scheduled", "--config", str(configuration), "--state-directory", str(directory / "state")]
            # The first run unpacks the program, the second has Python compile it.
            for dummy in range(2):
                measure(argv)
            taken = []
            for dummy in range(options.rounds):
                if log is not None:
                    append(log)
                taken.append(measure(argv))
            cpu, peak, wall = (statistics.median(one[column] for one in taken) for column in range(3))
            met = cpu < bar[0] and peak < bar[1]
            rows.append({"check": words, "cpu_s": round(cpu, 3), "peak_mib": round(peak), "wall_s": round(wall, 2), "bar": bar, "met": met})
    server.shutdown()
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"load": os.getloadavg(), "python": sys.version.split()[0], "rows": rows}, indent=1))
    print(f"| {'check':36} | {'CPU':>7} | {'peak':>7} | {'wall':>6} | bar")
    for row in rows:
        limit = f"{row['bar'][0]} s, {row['bar'][1]} MiB {'met' if row['met'] else 'MISSED'}"
        print(f"| {row['check']:36} | {row['cpu_s']:.3f} s | {row['peak_mib']:>3} MiB | {row['wall_s']:.2f} s | {limit}")
    print(f"median of {options.rounds}, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs")


if __name__ == "__main__":
    main()
