# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may use the engine."""

from __future__ import annotations

import grp
import os
import pwd
import socket
import stat
import sys

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._docker_access import (
    MEANS_ROOT,
    add_command,
    give_access,
    groups_of,
    read_socket,
    remove_command,
)
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ({"usermod", "gpasswd"}, ("usermod", "-aG", "docker", "deploy")),
        ({"gpasswd"}, ("gpasswd", "-a", "deploy", "docker")),
        ({"addgroup", "delgroup"}, ("addgroup", "deploy", "docker")),
    ],
)
def test_the_command_of_the_distribution(there, expected):
    assert add_command("deploy", "docker", lambda name: name if name in there else None) == expected


def test_the_way_back():
    assert remove_command("deploy", "docker", lambda name: name) == ("gpasswd", "-d", "deploy", "docker")
    assert remove_command("deploy", "docker", lambda name: None) == ("delgroup", "deploy", "docker")


def test_no_command_says_what_to_install():
    with pytest.raises(CheckError, match="no usermod"):
        add_command("deploy", "docker", lambda name: None)


def plan(**params):
    return give_access({"group": "docker", **params}, True)


def some_group():
    return grp.getgrgid(os.getgid()).gr_name


def test_the_plan_says_that_it_means_root():
    user = next(one.pw_name for one in pwd.getpwall() if one.pw_uid and some_group() not in groups_of(one.pw_name))
    result = plan(user=user, group=some_group())
    assert result["status"] == "planned"
    assert MEANS_ROOT in result["summary"]
    assert result["undo"][0].split()[0] in ("gpasswd", "delgroup")


def test_root_needs_no_group():
    assert plan(user="root", group=some_group())["changed"] is False


@pytest.mark.parametrize("params", [{"user": "nobody-of-that-name"}, {"user": "root; id"}, {"user": "root", "group": "no-such-group"}])
def test_what_cannot_be_is_refused(params):
    result = plan(**{"group": some_group(), **params})
    assert result["failed"]
    assert result["errors"][0]["hint"]


def test_what_is_no_socket(tmp_path):
    with pytest.raises(CheckError, match="no such socket"):
        read_socket(str(tmp_path / "docker.sock"))
    with pytest.raises(CheckError, match="no socket"):
        read_socket(str(tmp_path))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
@pytest.mark.skipif(sys.platform != "linux", reason="of Linux")
def test_a_socket_that_everybody_may_write_to_is_put_right(tmp_path):
    path = str(tmp_path / "docker.sock")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        os.chmod(path, 0o666)
        params = {"socket": path, "group": some_group(), "audit_log": str(tmp_path / "log" / "audit.jsonl")}
        planned = give_access(params, True)
        assert "Everybody on this host" in planned["summary"]
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o666
        done = give_access(params, False)
        assert done["verified"]["ok"] is True
        assert read_socket(path).as_facts() == {"owner": "root", "group": some_group(), "mode": "0660"}
        assert give_access(params, False)["changed"] is False
