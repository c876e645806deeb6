# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From rules to rows: classes, reasons, fixes, what is expected, and what is not known. Against real connections it is in tests/live."""

from __future__ import annotations

import dataclasses
import json

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _published_ports as ports
from ansible_collections.stackops.runbook.plugins.module_utils._address_ranges import PRIVATE, PUBLIC, Ranges
from ansible_collections.stackops.runbook.plugins.module_utils._discovery import ContainerRef, Stack
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError
from ansible_collections.stackops.runbook.plugins.module_utils._firewall_intent import UfwPolicy, parse_ufw_rules
from ansible_collections.stackops.runbook.plugins.module_utils._host_net import Sight
from ansible_collections.stackops.runbook.plugins.module_utils._packet_filter import parse_iptables_save
from ansible_collections.stackops.runbook.plugins.module_utils._packet_walk import Evidence, HostNet, Interface, Route
from ansible_collections.stackops.runbook.plugins.module_utils._ports import Listening, Socket

BRIDGE = "br-0123456789ab"
HOST = HostNet(
    (Interface("lo", ("127.0.0.1", "::1")), Interface("eth0", ("198.51.100.1", "2001:db8:1::1", "fe80::1")), Interface(BRIDGE, ("172.30.0.1",))),
    (
        Route(Ranges.network("0.0.0.0/0"), "eth0", 0, 4),
        Route(Ranges.network("172.30.0.0/16"), BRIDGE, 16, 4),
        Route(Ranges.network("::/0"), "eth0", 0, 6),
    ),
    {4: True, 6: True},
)
DNAT = "*nat\n:PREROUTING ACCEPT [0:0]\n:DOCKER - [0:0]\n-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\n{}COMMIT\n"
PUBLISH = DNAT.format(f"-A DOCKER ! -i {BRIDGE} -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.30.0.2:80\n")
INPUT_DROPS = "*filter\n:INPUT DROP [0:0]\n-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\nCOMMIT\n"
UFW = UfwPolicy(tuple(parse_ufw_rules("### tuple ### allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in\n", 4)))
WEB = ports.Entrance(
    "published", 4, "tcp", "0.0.0.0", 8080, "shop", "web", "shop-web-1", 80, "172.30.0.2", apply="cd /srv/shop && docker compose -p shop up -d web"
)
LISTENING = [Socket("tcp", "0.0.0.0", 22), Socket("tcp", "0.0.0.0", 6379), Socket("tcp6", "::", 9000), Socket("tcp", "127.0.0.1", 5000)]


def sight(text="", version=4, **more):
    return Sight(ruleset=parse_iptables_save(text, "iptables-nft-save", version), host=HOST, **more)


def judge(text="", policy=None, expected=None, **more):
    return ports.Judge(sight(text, **more), LISTENING, policy, expected)


def process(port, version=4, host_ip="", protocol="tcp"):
    return ports.Entrance("process", version, protocol, host_ip or ("0.0.0.0" if version == 4 else "::"), port, process="server")


# -- classes ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "policy", "entrance", "wanted"),
    [
        (PUBLISH, None, WEB, ("exposed_no_firewall", "reachable", "warning")),
        (PUBLISH, UFW, WEB, ("exposed_bypass", "reachable", "critical")),
        (PUBLISH + INPUT_DROPS, None, WEB, ("exposed_bypass", "reachable", "critical")),
        (INPUT_DROPS, None, process(22), ("exposed_intended", "reachable", "ok")),
        (INPUT_DROPS, UFW, process(22), ("exposed_intended", "reachable", "ok")),
        (INPUT_DROPS, UFW, process(9000), ("filtered", "filtered", "ok")),
        ("", None, process(22), ("exposed_no_firewall", "reachable", "ok")),
        ("", None, process(9000, 6), ("exposed_no_firewall", "reachable", "warning")),
        ("", None, process(6379), ("exposed_no_firewall", "reachable", "critical")),
        ("", None, process(5000, host_ip="127.0.0.1"), ("loopback_only", "local", "ok")),
        ("", None, process(5000, 6, "::1"), ("loopback_only", "local", "ok")),
        ("", None, process(9999), ("closed", "closed", "ok")),
        ("", None, process(22, host_ip="172.30.0.1"), ("private_bind", "filtered", "ok")),
        ("", None, process(22, host_ip="192.0.2.99"), ("private_bind", "filtered", "ok")),
    ],
)
def test_classes(text, policy, entrance, wanted):
    row = judge(text, policy).row(entrance)
    assert (row["class"], row["verdict"], row["status"]) == wanted
    assert row["reason"]
    json.dumps(row)


def test_the_headline_says_what_says_no_and_what_lets_in():
    row = judge(PUBLISH, UFW).row(WEB)
    assert row["label"] == "shop/web"
    assert row["reason"] == "open to everybody although ufw says no: DEFAULT_INPUT_POLICY=DROP"
    assert row["policy"] == {"engine": "ufw", "verdict": "deny", "rules": ["DEFAULT_INPUT_POLICY=DROP"]}
    assert [one["rule"] for one in row["evidence"]] == [f"-A DOCKER ! -i {BRIDGE} -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.30.0.2:80"]
    assert (row["reachable_from"], row["interfaces"], row["path"]) == (["0.0.0.0/0"], ["eth0"], "forwarded")


def test_senders_that_are_listed_are_told():
    row = judge("*filter\n:INPUT DROP [0:0]\n-A INPUT -s 10.0.0.0/8 -j ACCEPT\n-A INPUT -s 203.0.113.5/32 -j ACCEPT\nCOMMIT\n").row(process(22))
    assert (row["class"], row["verdict"], row["reachable_from"]) == ("allowlisted", "restricted", ["10.0.0.0/8", "203.0.113.5/32"])


@pytest.mark.parametrize(
    ("peers", "opened"), [(PUBLIC[4], True), (PRIVATE[4], False), (PUBLIC[4] - Ranges.network("1.0.0.0/8"), True), (Ranges.network("8.0.0.0/6"), False)]
)
def test_the_internet_at_large_is_more_than_half_of_it(peers, opened):
    assert ports.is_open(peers, 4) == opened


def test_a_loopback_bind_that_leaks():
    bound = DNAT.format(f"-A DOCKER -d 127.0.0.1/32 ! -i {BRIDGE} -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.30.0.2:80\n")
    entrance = ports.Entrance("published", 4, "tcp", "127.0.0.1", 8080, "shop", "web", "shop-web-1", 80, "172.30.0.2")
    row = judge(bound).row(entrance)
    assert (row["class"], row["status"]) == ("loopback_leaky", "warning")
    assert row["fix"][-1]["commands"] == ["iptables -t raw -I PREROUTING -d 127.0.0.1 ! -i lo -p tcp --dport 8080 -j DROP"]
    guarded = "*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -d 127.0.0.1/32 ! -i lo -p tcp -m tcp --dport 8080 -j DROP\nCOMMIT\n"
    row = judge(guarded + bound).row(entrance)
    assert (row["class"], row["status"], row["evidence"][0]["table"]) == ("loopback_only", "ok", "raw")


def test_a_rule_that_nobody_can_tell():
    row = judge("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -m string --string x --algo bm -j DROP\nCOMMIT\n").row(process(22))
    assert (row["class"], row["status"]) == ("unknown", "unknown")
    assert "--string x" in row["reason"]
    assert row["evidence"][0]["rule"].startswith("-A INPUT -m string")


def test_without_rights_nothing_is_taken_for_granted():
    denied = CheckError("iptables-nft-save", "Permission denied", "Run as root (become: true).", "permission-denied")
    blind = judge(complete=False, errors=[denied])
    for entrance in (WEB, process(22), process(9000, 6)):
        row = blind.row(entrance)
        assert (row["class"], row["status"], row["reason"]) == ("unknown", "unknown", "iptables-nft-save: Permission denied")
        assert row["fix"][0]["text"] == "Run as root (become: true)."
    # What the kernel itself keeps out is known all the same.
    assert blind.row(process(5000, 6, "::1"))["class"] == "loopback_only"
    assert blind.row(process(5000, host_ip="127.0.0.1"))["class"] == "loopback_only"


# -- fixes ------------------------------------------------------------------------------------------------------------------


def test_fixes_work_for_the_host():
    actions = [one["action"] for one in judge(PUBLISH, UFW).row(WEB)["fix"]]
    assert actions == ["bind_loopback", "unpublish", "nft_forward"]
    user = PUBLISH + "*filter\n:FORWARD ACCEPT [0:0]\n:DOCKER-USER - [0:0]\n-A FORWARD -j DOCKER-USER\nCOMMIT\n"
    fix = judge(user, UFW).row(WEB)["fix"]
    assert fix[0]["commands"] == ['"127.0.0.1:8080:80"', "cd /srv/shop && docker compose -p shop up -d web"]
    alone = dataclasses.replace(WEB, project=None, service=None, apply="")
    assert judge(user, UFW).row(alone)["fix"][0] == {
        "action": "bind_loopback", "text": "Publish it on this host only: make shop-web-1 anew with --publish 127.0.0.1:8080:80.", "commands": [],
    }  # fmt: skip
    assert fix[2]["commands"] == ["iptables -I DOCKER-USER -i eth0 -p tcp -m conntrack --ctorigdstport 8080 --ctdir ORIGINAL -j DROP"]
    assert "/etc/ufw/after.rules" in fix[2]["text"]
    assert [one["action"] for one in judge(INPUT_DROPS.replace("22", "9000"), None, []).row(process(9000))["fix"]] == ["listen_loopback", "input_drop"]


def test_a_rule_for_the_address_of_now_does_not_last():
    rule = Evidence("iptables-nft-save", "filter", "DOCKER-USER", "-A DOCKER-USER -d 172.30.0.2/32 -p tcp -j DROP")
    assert ports.survives(WEB, [rule]) is False
    assert ports.survives(WEB, [Evidence("iptables-nft-save", "filter", "DOCKER-USER", "-A DOCKER-USER -d 172.30.0.22/32 -j DROP")]) is True
    assert ports.survives(WEB, [Evidence("iptables-nft-save", "filter", "DOCKER", "-A DOCKER -d 172.30.0.2/32 -j ACCEPT")]) is True
    assert ports.survives(WEB, []) is None
    assert ports.survives(process(22), [rule]) is True


# -- what is expected -------------------------------------------------------------------------------------------------------


def expected(*entries):
    return [ports.Expected.from_params(entry) for entry in entries]


@pytest.mark.parametrize(
    ("wanted", "entrance", "text", "result"),
    [
        ([{"port": 22}], process(22), INPUT_DROPS, ("exposed_intended", "ok", True)),
        ([{"port": 22, "family": "ipv6"}], process(22), INPUT_DROPS, ("exposed_unexpected", "critical", False)),
        ([], process(22), INPUT_DROPS, ("exposed_unexpected", "critical", False)),
        ([{"port": 22, "protocol": "udp"}], process(22), INPUT_DROPS, ("exposed_unexpected", "critical", False)),
        ([{"port": 22, "from": ["10.0.0.0/8"]}], process(22), INPUT_DROPS, ("exposed_unexpected", "critical", False)),
        ([{"port": 8080}], WEB, PUBLISH, ("exposed_intended", "ok", True)),
        ([], WEB, PUBLISH + INPUT_DROPS, ("exposed_bypass", "critical", False)),
        ([{"port": 22, "from": ["10.0.0.0/8"]}], process(22), INPUT_DROPS.replace("-p tcp", "-s 10.1.0.0/16 -p tcp"), ("allowlisted", "ok", True)),
        ([], process(22), INPUT_DROPS.replace("-p tcp", "-s 10.1.0.0/16 -p tcp"), ("allowlisted", "warning", False)),
        ([], process(9000), INPUT_DROPS, ("filtered", "ok", True)),
    ],
)
def test_the_expected_ports_are_the_policy(wanted, entrance, text, result):
    row = judge(text, None, expected(*wanted)).row(entrance)
    assert (row["class"], row["status"], row["expected"]) == result


def test_an_expected_port_that_nobody_reaches_is_missing():
    rows = [judge(INPUT_DROPS, None, expected({"port": 9000})).row(process(9000))]
    assert ports.missing_ports(rows, expected({"port": 9000}, {"port": 443, "family": "ipv6"})) == [
        {"port": 9000, "protocol": "tcp", "family": "any", "reason": "the rules let nobody in"},
        {"port": 443, "protocol": "tcp", "family": "ipv6", "reason": "nothing is published or listens there"},
    ]


def test_an_address_that_is_none_is_told():
    with pytest.raises(CheckError):
        ports.Expected.from_params({"port": 22, "from": ["office"]})


# -- what is open -----------------------------------------------------------------------------------------------------------


def container(service, bindings=None, network="bridge", state="running", project="shop"):
    return ContainerRef({
        "Id": (service * 64)[:64],
        "Name": f"/{project}-{service}-1",
        "State": {"Status": state},
        "Config": {"Labels": {"com.docker.compose.project": project, "com.docker.compose.service": service} if project else {}},
        "HostConfig": {"NetworkMode": network, "PortBindings": {}},
        "NetworkSettings": {"Ports": bindings or {}, "Networks": {"shop_default": {"IPAddress": "172.30.0.2", "GlobalIPv6Address": ""}}},
    })  # fmt: skip


BOTH = {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}, {"HostIp": "::", "HostPort": "8080"}], "81/tcp": None}


def listener(port, address="0.0.0.0", process_name="sshd", protocol="tcp", holder=None):
    return {"protocol": protocol, "address": address, "port": port, "pid": 1, "process": process_name, "container": holder}


def test_each_ip_version_is_a_row_of_its_own():
    found = ports.entrances([container("web", BOTH)], [])
    assert [(one.origin, one.version, one.host_port, one.container_port, one.container_address) for one in found] == [
        ("published", 4, 8080, 80, "172.30.0.2"),
        ("published", 6, 8080, 80, ""),
    ]


def test_the_proxy_of_a_published_port_is_no_port_of_the_host():
    listeners = [listener(8080, process_name="docker-proxy", holder="shop-web-1"), listener(8080, "::", "docker-proxy", "tcp6", "shop-web-1"), listener(22)]
    found = ports.entrances([container("web", BOTH)], listeners)
    assert [(one.origin, one.host_port, one.process) for one in found if one.origin != "published"] == [("process", 22, "sshd")]


def test_a_container_in_the_hosts_network():
    (found,) = ports.entrances([container("web", network="host")], [listener(80, process_name="nginx", holder="shop-web-1")])
    assert (found.origin, found.project, found.service, found.container, found.container_port) == ("host_network", "shop", "web", "shop-web-1", 80)


def test_sockets_for_both_versions():
    assert [one.version for one in ports.entrances([], [listener(80, "::", protocol="tcp6")], {80})] == [4, 6]
    assert [one.version for one in ports.entrances([], [listener(80, "::", protocol="tcp6")], set())] == [6]
    assert [one.host_ip for one in ports.entrances([], [listener(80, "::ffff:127.0.0.1", protocol="tcp6")], set())] == ["127.0.0.1"]


def test_a_container_that_does_not_run_publishes_nothing():
    assert ports.entrances([container("web", BOTH, state="exited")], []) == []


def test_what_ss_says_of_sockets_for_both_versions():
    text = "tcp LISTEN 0 128 0.0.0.0:22 0.0.0.0:*\ntcp LISTEN 0 128 *:8081 *:*\ntcp LISTEN 0 128 [::]:8082 [::]:*\nudp UNCONN 0 0 *:5353 *:*\n"
    assert ports.dual_ports(text) == {8081, 5353}


# -- all together -----------------------------------------------------------------------------------------------------------


class FakeEngine:
    """An engine on another machine."""

    remote = True


def test_a_remote_engine_is_not_judged_by_the_rules_of_this_host():
    with pytest.raises(CheckError) as caught:
        ports.collect_firewall([], FakeEngine())
    assert caught.value.code == "remote-engine"


def test_the_envelope(monkeypatch):
    monkeypatch.setattr(ports, "look", lambda: sight(PUBLISH + INPUT_DROPS))
    monkeypatch.setattr(ports, "read_policies", lambda sight, errors: ports.Policies(UFW, ("ufw",)))
    monkeypatch.setattr(ports, "_dual_ports", set)
    seen = Listening(LISTENING, [], [listener(22), listener(9000, "::", "server", "tcp6")])
    facts = ports.collect_firewall([Stack("shop", containers=[container("web", BOTH)])], None, expected({"port": 443}), listening=lambda *dummy: seen)
    assert facts["status"] == "critical"
    assert facts["summary"].startswith("port 22/tcp (ipv4, sshd): open to everybody, and not among the expected ports")
    assert [(row["host_port"], row["family"], row["class"]) for row in facts["ports"]] == [
        (22, "ipv4", "exposed_unexpected"),
        (8080, "ipv4", "exposed_bypass"),
        (8080, "ipv6", "closed"),
        (9000, "ipv6", "exposed_bypass"),
    ]
    assert facts["missing"][0]["port"] == 443
    assert facts["metrics"]["exposed_bypass"] == {"value": 2, "unit": ""}
    assert facts["host_firewall"]["engine"] == "ufw"
    assert facts["host_firewall"]["outside_interfaces"] == ["eth0"]


def test_every_class_has_a_status():
    assert set(ports.CLASSES.values()) <= {"ok", "warning", "critical", "unknown"}


def test_keeping_one_sender_out_is_no_firewall():
    text = PUBLISH + "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -s 203.0.113.7/32 -j DROP\nCOMMIT\n"
    row = judge(text).row(WEB)
    assert (row["class"], row["policy"]["engine"]) == ("exposed_no_firewall", "none")


def test_the_containers_address_itself():
    assert judge(PUBLISH).row(WEB)["direct"] is True
    guard = f"*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -d 172.30.0.2/32 ! -i {BRIDGE} -j DROP\nCOMMIT\n"
    assert judge(guard + PUBLISH).row(WEB)["direct"] is False
    assert judge(PUBLISH).row(process(22))["direct"] is None
