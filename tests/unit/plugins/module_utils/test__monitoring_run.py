# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program as cron, Nagios and people start it, with a check that does as it is told and a receiver that listens."""

from __future__ import annotations

import http.server
import json
import pathlib
import threading
import time
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _host_check as host_check
from ansible_collections.stackops.runbook.plugins.module_utils._guarded_files import lock_file, unlock_file
from ansible_collections.stackops.runbook.plugins.module_utils._host_program import main

SECRET = "canary-d41d8cd9"


class Receiver:
    """A receiver of webhooks and heartbeats; *answer* is the status of the next answers."""

    def __init__(self) -> None:
        self.got: list[tuple[str, str]] = []
        self.answer = 200
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # noqa: N802
                body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
                outer.got.append((self.path, body))
                self.send_response(outer.answer)
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *dummy: t.Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def alerts(self) -> list[dict[str, t.Any]]:
        """Return the alerts that came, in order."""
        return [alert for path, body in self.got if path.startswith("/hook") for alert in json.loads(body)["alerts"]]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Host:
    """A host with one check, ``mine``, whose verdict is in a file."""

    def __init__(self, directory: pathlib.Path, receiver: Receiver, **options: t.Any) -> None:
        self.state = directory / "state"
        self.state.mkdir()
        self.receiver = receiver
        self._verdict = directory / "verdict"
        self._script = directory / "check"
        self._script.write_text(f'#!/bin/sh\nread code text < {self._verdict}\necho "$text"\nexit $code\n')
        self._script.chmod(0o755)
        self._configuration = directory / "monitoring.json"
        self.configure(**options)
        self.says(0, "fine")

    def configure(self, **options: t.Any) -> None:
        check = {"type": "command", "argv": [str(self._script)], "fail_after": 2, "recover_after": 1, "schedule": "* * * * *"}
        channel = {"name": "hook", "type": "webhook", "url": f"{self.receiver.url}/hook?key={SECRET}"}
        base = {"host": "web1", "checks": {"mine": check}, "channels": [channel]}
        self._configuration.write_text(json.dumps({"schema_version": 1, "options": {**base, **options}}))
        self._configuration.chmod(0o600)

    def says(self, code: int, text: str) -> None:
        self._verdict.write_text(f"{code} {text}\n")

    def run(self, *arguments: str) -> int:
        words = ["stackops", arguments[0], "--config", str(self._configuration), "--state-directory", str(self.state), *arguments[1:]]
        return main(words, "1.0.0")

    def cron(self) -> int:
        return self.run("check", "mine", "--scheduled")

    def files(self) -> dict[str, bytes]:
        return {str(path.relative_to(self.state)): path.read_bytes() for path in self.state.rglob("*") if path.is_file()}


@pytest.fixture
def receiver() -> t.Iterator[Receiver]:
    one = Receiver()
    yield one
    one.close()


@pytest.fixture
def host(tmp_path: pathlib.Path, receiver: Receiver) -> Host:
    return Host(tmp_path, receiver)


def test_a_failure_and_its_end_arrive_once_with_one_key(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    codes = [host.cron()]
    host.says(2, "disk is gone")
    codes += [host.cron() for dummy in range(4)]
    host.says(0, "fine again")
    codes += [host.cron() for dummy in range(3)]
    assert codes == [0, 2, 2, 2, 2, 0, 0, 0]
    assert [(alert["status"], alert["annotations"]["summary"]) for alert in host.receiver.alerts()] == [("firing", "disk is gone"), ("resolved", "fine again")]
    assert len({alert["fingerprint"] for alert in host.receiver.alerts()}) == 1
    assert capsys.readouterr() == ("", "")


def test_by_hand_nothing_is_written_and_nobody_is_told(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.cron()
    before = host.files()
    host.says(2, "disk is gone | used=97%")
    assert [host.run("check", "mine") for dummy in range(4)] == [2, 2, 2, 2]
    assert host.files() == before and host.receiver.got == []
    assert capsys.readouterr().out.splitlines()[0] == "MINE CRITICAL - command: disk is gone | 'command used'=97%;;;0"


def test_json_is_whole_and_all_is_all(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.configure(checks={name: {"enabled": False} for name in ("health", "errors", "auth", "resources", "database", "backup")} | {
        "one": {"type": "command", "argv": ["/bin/true"]}, "two": {"type": "command", "argv": ["/bin/false"]}})  # fmt: skip
    assert host.run("check", "all", "--json") == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["host"], document["status"], list(document["checks"])) == ("web1", "warning", ["one", "two"])
    assert host.run("check", "all") == 1
    assert capsys.readouterr().out.splitlines()[0] == "ALL WARNING - one ok, two warning"


def test_what_there_is_not_is_unknown_with_a_hint(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    assert host.run("check", "yours") == 3
    assert "CHECK UNKNOWN - yours: there is no such check. There are: health" in capsys.readouterr().out


def test_a_receiver_that_is_down_gets_everything_later_in_order(host: Host) -> None:
    host.receiver.answer = 500
    host.says(2, "one")
    for dummy in range(3):
        host.cron()
    host.says(0, "over")
    host.cron()
    assert host.run("alerts", "status") == 1
    seen = len(host.receiver.got)
    host.receiver.answer = 200
    assert host.run("alerts", "deliver") == 0
    arrived = [alert["status"] for path, body in host.receiver.got[seen:] for alert in json.loads(body)["alerts"]]
    assert arrived == ["firing", "resolved"]
    assert host.run("alerts", "status") == 0


def test_a_test_alert_says_whether_it_arrived(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    assert host.run("alerts", "test") == 0
    assert capsys.readouterr().out == "channel hook: it arrived\n"
    host.receiver.answer = 403
    assert host.run("alerts", "test") == 2
    printed = capsys.readouterr().out
    assert "channel hook: it did not arrive: " in printed and "403" in printed and SECRET not in printed
    assert host.run("alerts", "test", "pager") == 3
    host.configure(channels=[])
    assert host.run("alerts", "test") == 3


def test_no_secret_is_in_any_file_or_output(host: Host, capfd: pytest.CaptureFixture[str]) -> None:
    host.receiver.answer = 404
    host.says(2, "gone")
    for dummy in range(3):
        host.cron()
    host.run("alerts", "status")
    host.run("alerts", "status", "--json")
    assert not any(SECRET.encode() in content for content in host.files().values())
    assert SECRET not in "".join(capfd.readouterr())


def test_the_heartbeat_is_told_of_every_run_and_of_alerts_that_are_stuck(host: Host) -> None:
    host.configure(heartbeat_url=f"{host.receiver.url}/ping/me")
    host.cron()
    host.says(2, "gone")
    host.cron()
    assert [path for path, dummy in host.receiver.got] == ["/ping/me/0", "/ping/me/0"]
    assert "status: critical" in host.receiver.got[1][1]
    host.receiver.answer = 410
    host.cron()
    assert host.receiver.got[-1][0] == "/ping/me/1"


def test_metrics_are_written_for_node_exporter(host: Host, tmp_path: pathlib.Path) -> None:
    (tmp_path / "textfile").mkdir()
    host.configure(textfile_directory=str(tmp_path / "textfile"))
    host.says(1, "so so")
    host.cron()
    text = (tmp_path / "textfile" / "stackops_mine.prom").read_text()
    assert 'stackops_check_status{check="mine"} 1\n' in text
    host.configure(textfile_directory=str(tmp_path / "none"))
    assert host.cron() == 1


def test_a_second_run_of_the_same_check_does_nothing(host: Host) -> None:
    host.cron()
    before = host.files()
    lock = lock_file(str(host.state / "monitoring" / "state-mine.json.lock"), 0, {"pid": 1, "purpose": "test", "since": ""})
    try:
        assert host.cron() == 3
    finally:
        unlock_file(lock)
    assert host.files() == before


def test_in_a_maintenance_window_nobody_is_woken(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["stackops", "maintenance", "--state-directory", str(host.state)]
    assert main([*words, "on", "10m", "--purpose", "new release"], "1.0.0") == 0
    window = capsys.readouterr().out.split()[0]
    host.says(2, "gone")
    for dummy in range(4):
        host.cron()
    assert host.receiver.got == []
    assert main([*words, "list"], "1.0.0") == 0
    assert "everything: new release" in capsys.readouterr().out
    assert main([*words, "off", window], "1.0.0") == 0
    for dummy in range(2):
        host.cron()
    assert [alert["status"] for alert in host.receiver.alerts()] == ["firing"]
    assert main([*words, "on", "soon"], "1.0.0") == 1


def test_a_damaged_state_costs_one_unknown_and_nothing_else(host: Host) -> None:
    host.cron()
    host.cron()
    state = host.state / "monitoring" / "state-mine.json"
    state.write_bytes(b'{"objects": ')
    for dummy in range(3):
        assert host.cron() == 0
    events = [(alert["labels"]["object"], alert["status"]) for alert in host.receiver.alerts()]
    assert events == [("monitoring state", "firing"), ("monitoring state", "resolved")]
    assert list((host.state / "monitoring").glob("state-mine.json.damaged-*"))


def test_a_check_that_hangs_is_unknown_and_recovers(host: Host) -> None:
    hanging = {"mine": {"type": "command", "argv": ["/bin/sleep", "60"], "timeout_seconds": 1.5, "unknown_after": 2, "recover_after": 1}}
    host.configure(checks=hanging)
    began = time.monotonic()
    assert [host.cron() for dummy in range(2)] == [3, 3]
    assert time.monotonic() - began < 40
    host.configure()
    assert host.cron() == 0
    assert [(alert["status"], alert["labels"]["severity"]) for alert in host.receiver.alerts()][0][0] == "firing"
    assert host.receiver.alerts()[-1]["status"] == "resolved"


def test_a_channel_of_the_check_is_told_and_the_others_are_not(host: Host) -> None:
    channels = [{"name": name, "type": "webhook", "url": f"{host.receiver.url}/hook/{name}"} for name in ("day", "night")]
    host.configure(channels=channels, checks={"mine": {"type": "command", "argv": ["/bin/false"], "fail_after": 1, "channels": ["night"]}})
    host.cron()
    assert [path for path, dummy in host.receiver.got] == ["/hook/night"]


def test_what_was_open_of_a_check_that_is_gone_is_ended(host: Host) -> None:
    host.configure(checks={"old": {"type": "command", "argv": ["/bin/false"], "fail_after": 1}, "mine": {"type": "command", "argv": ["/bin/true"]}})
    assert host.run("check", "old", "--scheduled") == 1
    host.configure(checks={"mine": {"type": "command", "argv": ["/bin/true"]}})
    assert [host.cron() for dummy in range(2)] == [0, 0]
    assert [(alert["labels"]["check"], alert["status"]) for alert in host.receiver.alerts()] == [("old", "firing"), ("old", "resolved")]
    assert not list((host.state / "monitoring").glob("state-old.json*[!k]"))


def test_a_link_is_the_check_itself(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(host_check, "run", lambda arguments: seen.extend(arguments.checks) or 0)
    assert main(["/usr/local/sbin/stackops-check", "health"], "1.0.0") == 0
    assert seen == ["health"]
