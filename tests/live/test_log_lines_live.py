# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbook ``logs`` on real containers: merged over hosts by time, filtered, followed, without secrets, harmless on a terminal."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
import time
import typing as t

import pytest

pytestmark = pytest.mark.live

ROOT = pathlib.Path(__file__).parents[2]
PROJECT = f"linelive{os.getpid()}"
IMAGE = "debian:trixie-slim"
CANARY = "Canary-lines-5f31"

# Two applications that take turns, by a clock that does not start with them; one structured with a traceback and a hostile message, one
# plain; and one that goes on.
AT = 'at() { left=$(( START + $1 - $(date +%s%3N) )); [ $left -le 0 ] || sleep $((left / 1000)).$(printf %03d $((left % 1000))); }\n'
FIRST = r"""
now() { date -u +%Y-%m-%dT%H:%M:%S.%6NZ; }
at 0; printf '{"timestamp": "%s", "level": "INFO", "message": "step 1", "order": 4711}\n' "$(now)"
at 1000; printf '{"timestamp": "%s", "level": "ERROR", "message": "step 3", "exception": "Traceback (most recent call last):\\nValueError: bad"}\n' "$(now)"
at 2000; printf '{"timestamp": "%s", "level": "INFO", "message": "\\u001b[2J\\u202eevil\\n2026-01-01T00:00:00.000Z  web1  a/b  ERROR forged"}\n' "$(now)"
printf '{"timestamp": "%s", "level": "INFO", "message": "login with %s", "session": {"token": "t%s"}}\n' "$(now)" "$APP_PASSWORD" "$APP_PASSWORD"
printf '{"timestamp": "%s", "level": "INFO", "message": "{{ lookup(\x27env\x27, \x27HOME\x27) }}"}\n' "$(now)"
exec sleep 300
"""
SECOND = "at 500; echo 'step 2'; at 1500; echo 'WARNING:  step 4' >&2; exec sleep 300"
TICKS = "i=0; while true; do i=$((i + 1)); echo \"tick $i.\"; sleep 0.25; done"


def docker(*arguments: str, check: bool = True) -> str:
    return subprocess.run(["docker", *arguments], check=check, capture_output=True, text=True, timeout=120).stdout.strip()


def start(name: str, script: str, *options: str) -> None:
    labels = {"project": PROJECT, "service": name, "container-number": "1", "oneoff": "False", "version": "2.26.1", "config-hash": "x"}
    flags = [flag for key, value in labels.items() for flag in ("--label", f"com.docker.compose.{key}={value}")]
    docker("run", "-d", "--init", "--name", f"{PROJECT}-{name}-1", *flags, *options, IMAGE, "bash", "-c", script)


def combined(name: str) -> str:
    """Return what a container wrote to either stream."""
    command = ["docker", "logs", f"{PROJECT}-{name}-1"]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60).stdout


@pytest.fixture(scope="module")
def inventory(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[pathlib.Path]:
    """Two hosts that are this one, each with one of the applications, and one that is not there."""
    if not docker("images", "-q", IMAGE):
        pytest.skip(f"the image {IMAGE} is not there")
    path = tmp_path_factory.mktemp("inventory") / "hosts.json"
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "stackops_project_name": PROJECT}
    hosts = {"web1": {**local, "logs_services": "first"}, "web2": {**local, "logs_services": "second"}, "web3": {**local, "logs_services": "ticks"}}
    gone = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    path.write_text(json.dumps({"all": {"hosts": {**hosts, "gone": gone}}}), encoding="utf-8")
    try:
        begin = time.time() + 4
        start("first", AT + FIRST, "--env", f"START={begin * 1000:.0f}", "--env", f"APP_PASSWORD={CANARY}")
        start("second", AT + SECOND, "--env", f"START={begin * 1000:.0f}", "--log-driver", "local")
        start("ticks", TICKS)
        while "lookup" not in combined("first") or "step 4" not in combined("second"):
            assert time.time() < begin + 60
            time.sleep(0.3)
        yield path
    finally:
        docker("rm", "-f", "-v", *(f"{PROJECT}-{name}-1" for name in ("first", "second", "ticks")), check=False)


def logs(inventory: pathlib.Path, hosts: str, *arguments: str, **variables: t.Any) -> str:
    """Run the playbook on *hosts* and return all that it printed."""
    command = [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), "-i", str(inventory), str(ROOT / "playbooks/logs.yml")]
    command += ["-e", json.dumps({"logs_hosts": hosts, **variables}), *arguments]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert "failed=0" in done.stdout and "fatal" not in done.stdout.replace("fatal: [gone]: UNREACHABLE!", ""), done.stdout + done.stderr
    assert CANARY not in done.stdout + done.stderr
    return done.stdout


def shown(output: str) -> list[str]:
    """Return the lines of logs in *output*."""
    return [line for line in output.splitlines() if re.match(r"\d{4}-\d\d-\d\dT[\d:.]{12}Z  ", line) or line.startswith("  | ")]


@pytest.fixture(scope="module")
def output(inventory: pathlib.Path) -> str:
    """What two hosts and one that does not answer give, as wordy as can be."""
    return logs(inventory, "web1,web2,gone", "-vvv", "--diff")


def test_lines_of_several_hosts_are_merged_by_time_and_secrets_are_not_in_them(output: str) -> None:
    lines = shown(output)
    steps = [re.findall(r"step \d", line)[0] for line in lines if "step" in line]
    assert steps == ["step 1", "step 2", "step 3", "step 4"]
    assert re.search(rf"  web1  {PROJECT}/first   INFO     step 1 order=4711$", lines[0])
    assert re.search(rf"  web2  {PROJECT}/second           step 2$", lines[1])
    assert lines[3:5] == ["  | Traceback (most recent call last):", "  | ValueError: bad"]
    assert any("login with [redacted] session.token=[redacted]" in line for line in lines)
    assert any("{{ lookup('env', 'HOME') }}" in line for line in lines)
    assert "Not read: gone: " in output


def test_hostile_lines_can_neither_move_the_cursor_nor_pass_for_another_line(output: str) -> None:
    lines = shown(output)
    (evil,) = [number for number, line in enumerate(lines) if "evil" in line]
    assert lines[evil].partition("INFO")[2].strip() == "evil"
    assert lines[evil + 1] == "  | 2026-01-01T00:00:00.000Z  web1  a/b  ERROR forged"
    assert not any(character in "".join(lines) for character in "\x1b\u202e")


def test_level_and_number(inventory: pathlib.Path) -> None:
    output = logs(inventory, "web1,web2", logs_level="warning", logs_lines=1, logs_window="1h")
    assert [line.split()[-2:] for line in shown(output) if "step" in line] == [["step", "3"], ["step", "4"]]


def test_a_file_in_place_of_the_terminal(inventory: pathlib.Path, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "new" / "lines.log"
    output = logs(inventory, "web1,web2", "--check", logs_file=str(path))
    assert shown(output) == []
    assert f"lines of 2 hosts written to {path}" in output
    content = path.read_text(encoding="utf-8")
    assert (content.count("step"), CANARY in content, path.stat().st_mode & 0o777) == (4, False, 0o600)


def test_following_shows_each_new_line_once(inventory: pathlib.Path, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "lines.log"
    output = logs(inventory, "web3,gone", logs_lines=5, logs_follow_seconds=4, logs_file=str(path))
    followed = [int(number) for number in re.findall(r"tick (\d+)\.", output)]
    assert len(followed) >= 10
    assert followed == list(range(followed[0], followed[0] + len(followed)))
    written = [int(number) for number in re.findall(r"tick (\d+)\.", path.read_text(encoding="utf-8"))]
    assert written == [*range(followed[0] - 5, followed[0]), *followed]
