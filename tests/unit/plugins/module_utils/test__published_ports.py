# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From rules to rows: classes, reasons, fixes, what is expected, and what is not known. Against real connections it is in tests/live."""

from __future__ import annotations

import dataclasses
import json
import pathlib

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _published_ports as ports
from ansible_collections.stackops.runbook.plugins.module_utils._address_ranges import PRIVATE, PUBLIC, Ranges
from ansible_collections.stackops.runbook.plugins.module_utils._discovery import ContainerRef, Stack
from ansible_collections.stackops.runbook.plugins.module_utils._engine import Engine, EngineOptions
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError
from ansible_collections.stackops.runbook.plugins.module_utils._firewall_intent import UfwPolicy, parse_ufw_rules, read_firewalld, read_ufw
from ansible_collections.stackops.runbook.plugins.module_utils._host_net import Sight
from ansible_collections.stackops.runbook.plugins.module_utils._packet_filter import Ruleset, parse_iptables_save
from ansible_collections.stackops.runbook.plugins.module_utils._packet_walk import Evidence, HostNet, Interface, Route
from ansible_collections.stackops.runbook.plugins.module_utils._ports import Listening, Socket
from ansible_collections.stackops.runbook.plugins.module_utils._process import Completed
from ansible_collections.stackops.runbook.tests.support.engine_socket import serving

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


# -- what is rare -----------------------------------------------------------------------------------------------------------

TEXT_MATCH = "-m string --string x --algo bm"
FIREWALL = pathlib.Path(__file__).parents[2] / "fixtures/firewall"


@pytest.fixture
def firewalld(tmp_path):
    """firewalld as it was recorded: its default zone lets in a few ports, 8080 and 6379 not among them."""
    words = (FIREWALL / "firewalld-zones.txt").read_bytes()
    return read_firewalld(str(tmp_path), lambda argv, *dummy, **more: Completed(tuple(argv), 0, words, b""))


def actions(row):
    return [one["action"] for one in row["fix"]]


def test_a_loopback_bind_that_nobody_can_tell_of():
    doubtful = DNAT.format(f"-A DOCKER -d 127.0.0.1/32 ! -i {BRIDGE} -p tcp -m tcp --dport 8080 {TEXT_MATCH} -j DNAT --to-destination 172.30.0.2:80\n")
    row = judge(doubtful).row(dataclasses.replace(WEB, host_ip="127.0.0.1"))
    assert (row["class"], row["status"], row["verdict"]) == ("unknown", "unknown", "unknown")
    assert f"{TEXT_MATCH} -j DNAT" in row["reason"]
    assert [one["chain"] for one in row["evidence"]] == ["DOCKER"]


def test_a_private_address_that_leads_outside():
    interfaces = (Interface("lo", ("127.0.0.1",)), Interface("eth0", ("10.0.0.5",)))
    inside = Sight(ruleset=parse_iptables_save("", "iptables-nft-save", 4), host=dataclasses.replace(HOST, interfaces=interfaces))
    row = ports.Judge(inside, [Socket("tcp", "10.0.0.5", 7000)]).row(process(7000, host_ip="10.0.0.5"))
    assert (row["class"], row["verdict"], row["interfaces"]) == ("private_bind", "reachable", ["eth0"])
    assert row["reason"] == "bound to the private address 10.0.0.5, which everybody can route to"
    unexpected = ports.Judge(inside, [Socket("tcp", "10.0.0.5", 7000)], None, []).row(process(7000, host_ip="10.0.0.5"))
    assert (unexpected["class"], unexpected["status"]) == ("exposed_unexpected", "critical")
    other = ports.Judge(inside, [Socket("tcp", "10.0.0.6", 7000)]).row(process(7000, host_ip="10.0.0.5"))
    assert other["class"] == "closed"


def test_a_link_local_address_is_for_the_neighbours_alone():
    listening = [Socket("tcp6", "fe80::1", 9000)]
    row = ports.Judge(sight(), listening).row(process(9000, 6, "fe80::1"))
    assert row["verdict"] == "restricted"
    assert row["reachable_from"] and "::/0" not in row["reachable_from"]


def test_a_container_that_no_way_leads_to_has_no_answer_of_its_own():
    lost = dataclasses.replace(HOST, routes=())
    assert ports.Judge(Sight(ruleset=parse_iptables_save(PUBLISH, "iptables-nft-save", 4), host=lost), []).direct(WEB) is None


def test_a_port_that_a_proxy_of_the_host_takes_is_the_hosts_own():
    proxied = ports.Judge(sight(), [Socket("tcp", "0.0.0.0", 8080)])
    row = proxied.row(WEB)
    assert (row["class"], row["path"]) == ("exposed_no_firewall", "local")
    assert actions(row) == ["bind_loopback", "unpublish", "listen_loopback", "input_drop"]


def test_fixes_with_firewalld(firewalld):
    row = judge(PUBLISH, firewalld).row(WEB)
    assert (row["class"], row["policy"]["engine"], row["policy"]["verdict"]) == ("exposed_bypass", "firewalld", "deny")
    assert actions(row) == ["bind_loopback", "unpublish", "nft_forward", "firewalld_strict"]
    assert "no chain DOCKER-USER" in row["fix"][2]["text"]
    chained = PUBLISH + "*filter\n:FORWARD ACCEPT [0:0]\n:DOCKER-USER - [0:0]\n-A FORWARD -j DOCKER-USER\nCOMMIT\n"
    fix = judge(chained, firewalld).row(WEB)["fix"][2]
    assert fix["text"].startswith("Or keep it out in a table of its own, which neither firewalld nor Docker touches.")
    assert fix["commands"][2].endswith("iifname eth0 meta l4proto tcp ct original proto-dst 8080 ct status dnat drop")
    listener_fix = judge("", firewalld).row(process(6379))["fix"]
    assert [one["commands"] for one in listener_fix] == [[], ["firewall-cmd --permanent --remove-port=6379/tcp", "firewall-cmd --reload"]]


def test_a_port_that_ufw_should_keep_is_closed_by_ufw():
    fix = judge("", UFW).row(process(6379))["fix"]
    assert [one["commands"] for one in fix] == [[], ["ufw deny 6379/tcp"]]


# -- what is read of the host -------------------------------------------------------------------------------------------------


def makes_ufw(root, enabled):
    (root / "etc/ufw").mkdir(parents=True)
    (root / "etc/ufw/ufw.conf").write_text(f"ENABLED={enabled}\n")


@pytest.fixture
def installed(tmp_path, monkeypatch, firewalld):
    """Make *commands* the only programs of the host, and its files those below the test's directory."""

    def make(*commands, firewall=lambda: firewalld):
        monkeypatch.setattr(ports, "find_command", lambda name: f"/usr/bin/{name}" if name in commands else "")
        monkeypatch.setattr(ports, "read_ufw", lambda: read_ufw(str(tmp_path)))
        monkeypatch.setattr(ports, "read_firewalld", firewall)
        return tmp_path

    return make


FIREWALLD_TABLE = Ruleset(tables={("nft", "inet", "firewalld"): 3})
UFW_CHAINS = "*filter\n:INPUT DROP [0:0]\n:ufw-user-input - [0:0]\n-A INPUT -j ufw-user-input\nCOMMIT\n"


def test_without_either_there_is_no_policy(installed):
    installed()
    errors = []
    assert (ports.read_policies(sight(), errors), errors) == (ports.Policies(None, ()), [])


@pytest.mark.parametrize(
    ("enabled", "text", "complete", "in_force", "not_in_force"),
    [
        ("yes", UFW_CHAINS, True, True, ()),
        ("yes", "", True, False, ("ufw",)),
        ("yes", "", False, True, ()),
        ("no", "", True, False, ()),
    ],
    ids=["in the kernel", "enabled, and its rules are gone", "nobody sees the rules", "disabled"],
)
def test_ufw_counts_where_the_kernel_has_its_rules(installed, enabled, text, complete, in_force, not_in_force):
    makes_ufw(installed(), enabled)
    errors = []
    found = ports.read_policies(sight(text, complete=complete), errors)
    assert (found.policy is not None, found.installed, found.not_in_force, errors) == (in_force, ("ufw",), not_in_force, [])


def test_firewalld_counts_where_its_table_is_there(installed, firewalld):
    makes_ufw(installed("firewall-cmd"), "no")
    found = ports.read_policies(Sight(ruleset=FIREWALLD_TABLE, host=HOST), [])
    assert (found.policy, found.installed) == (firewalld, ("ufw", "firewalld"))


def test_firewalls_that_cannot_be_read_are_errors(installed, monkeypatch):
    def refuses():
        raise CheckError("firewall-cmd --list-all-zones", "not authorized", "Run as root (become: true).", "permission-denied")

    def forbidden():
        raise CheckError("/etc/ufw/user.rules", "Permission denied", "Run as root (become: true).", "permission-denied")

    installed("firewall-cmd", firewall=refuses)
    monkeypatch.setattr(ports, "read_ufw", forbidden)
    errors = []
    found = ports.read_policies(Sight(ruleset=FIREWALLD_TABLE, host=HOST), errors)
    assert (found.policy, found.installed) == (None, ("firewalld",))
    assert [error.source for error in errors] == ["/etc/ufw/user.rules", "firewall-cmd --list-all-zones"]


@pytest.mark.parametrize(
    ("script", "found"),
    [("echo 'tcp LISTEN 0 128 *:8081 *:*'", {8081}), ("echo 'tcp LISTEN 0 128 *:8081 *:*'; exit 1", None), (None, None)],
    ids=["told", "failed", "no ss"],
)
def test_ss_is_asked_for_sockets_of_both_versions(tmp_path, monkeypatch, script, found):
    program = tmp_path / "ss"
    if script:
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    monkeypatch.setattr(ports, "find_command", lambda name: str(tmp_path / name) if script else "")
    assert ports._dual_ports() == found


def test_a_program_that_cannot_be_started_tells_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(ports, "find_command", lambda name: str(tmp_path / name))
    assert ports._dual_ports() is None


# -- with an engine -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path):
    pytest.importorskip("docker", reason="the Docker SDK for Python is not installed")
    with serving(tmp_path) as running:
        yield running


def has(server, *containers):
    """Let the engine have *containers*, and two networks."""
    listed = [{"Id": one.id, "Labels": one.labels} for one in containers]
    server.answers["/containers/json"] = (200, json.dumps(listed).encode())
    for one in containers:
        server.answers[f"/containers/{one.id}/json"] = (200, json.dumps(one.inspect).encode())
    networks = [
        {"Id": "0123456789abcdef", "Driver": "bridge", "Options": None},
        {"Id": "fedcba", "Driver": "bridge", "Options": {"com.docker.network.bridge.name": "shop0"}},
        {"Id": "aa", "Driver": "overlay", "network_interface": "podman1"},
        {"Id": "bb", "Driver": "host"},
    ]
    server.answers["/networks"] = (200, json.dumps(networks).encode())


def engine_of(server):
    return Engine.connect(EngineOptions(docker_host=f"unix://{server.server_address}", timeout_seconds=5))


def test_bridges_of_the_engines_networks(server):
    has(server)
    errors = []
    assert ports._bridges(engine_of(server), errors) == {BRIDGE, "shop0", "podman1"}
    assert (ports._bridges(None, errors), errors) == (frozenset(), [])
    server.answers["/networks"] = (500, b'{"message": "broken"}')
    assert ports._bridges(engine_of(server), errors) == frozenset()
    assert ["broken" in error.reason for error in errors] == [True]


def test_containers_of_no_stack_have_ports_as_well(server):
    ours, other = container("web", BOTH), container("alone", BOTH, project="")
    has(server, ours, other)
    errors = []
    found = ports._others(engine_of(server), [Stack("shop", containers=[ours])], errors)
    assert ([one.name for one in found], errors) == (["-alone-1"], [])
    server.answers["/containers/json"] = (500, b'{"message": "broken"}')
    assert ports._others(engine_of(server), [], errors) == []
    assert len(errors) == 1


@pytest.fixture
def host(monkeypatch, installed):
    """Make the rules of the host those of a published port."""
    installed()
    monkeypatch.setattr(ports, "look", lambda: sight(PUBLISH))
    monkeypatch.setattr(ports, "_dual_ports", set)


def params(server, **more):
    return {"docker_host": f"unix://{server.server_address}", "timeout": 5, "tls": False, "validate_certs": False, **more}


WEB_PORT = {"port": 8080, "family": "ipv4"}


def test_the_module_tells_of_one_project(server, host):
    has(server, container("web", BOTH), container("blog", {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "9090"}]}, project="blog"))
    facts = ports.check_ports(params(server, project_name="shop", expected=[WEB_PORT]))
    assert [(row["project"], row["host_port"], row["family"], row["class"]) for row in facts["ports"]] == [
        ("shop", 8080, "ipv4", "exposed_intended"),
        ("shop", 8080, "ipv6", "closed"),
    ]
    assert (facts["status"], facts["missing"], facts["errors"]) == ("ok", [], [])
    assert facts["summary"] == "2 ports, 1 of them open to everybody"
    assert facts["host_firewall"]["docker_version"] == "26.1.5"


def test_without_a_choice_containers_of_no_project_have_rows_too(server, host):
    has(server, container("web", BOTH), container("alone", {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "9090"}]}, project=""))
    facts = ports.check_ports(params(server))
    rows = [(row["label"], row["project"], row["host_port"], row["class"]) for row in facts["ports"] if row["container"] and row["family"] == "ipv4"]
    assert rows == [("shop/web", "shop", 8080, "exposed_no_firewall"), ("-alone-1", None, 9090, "closed")]


def test_a_missing_port_is_the_headline_where_nothing_is_worse(server, host):
    has(server, container("web", BOTH))
    facts = ports.check_ports(params(server, project_name="shop", expected=[WEB_PORT, {"port": 443}]))
    assert (facts["status"], facts["summary"]) == ("warning", "port 443/tcp is expected to be reachable, and is not: nothing is published or listens there")


def test_what_could_not_be_read_is_the_headline_where_nothing_is_worse(server, host):
    has(server, container("web", BOTH))
    server.answers["/networks"] = (500, b'{"message": "broken"}')
    facts = ports.check_ports(params(server, project_name="shop", expected=[WEB_PORT]))
    assert facts["status"] == "unknown"
    assert facts["summary"].startswith("2 ports, 0 of them unknown: networks: ")


@pytest.mark.parametrize("more", [{"project_name": "gone"}, {"expected": [{"port": 22, "from": ["office"]}]}], ids=["no such project", "no address"])
def test_what_cannot_be_done_is_unknown_with_its_reason(server, host, more):
    has(server, container("web", BOTH))
    facts = ports.check_ports(params(server, **more))
    assert (facts["status"], facts["ports"], facts["host_firewall"], len(facts["errors"])) == ("unknown", [], None, 1)
    assert facts["summary"] == f"{facts['errors'][0]['source']}: {facts['errors'][0]['reason']}"


def test_a_host_without_an_engine_has_ports_too_and_one_that_does_not_answer_is_told(server, host, tmp_path):
    absent = ports.check_ports(params(server, docker_host=f"unix://{tmp_path}/none.sock"))
    assert (absent["errors"], absent["host_firewall"]["docker_version"]) == ([], None)
    server.answers["/version"] = (500, b'{"message": "broken"}')
    broken = ports.check_ports(params(server))
    assert [error["source"] for error in broken["errors"]] == [f"unix://{server.server_address}"]
    assert broken["status"] != "ok"
    assert broken["host_firewall"] is not None
    assert ports.check_ports(params(server, project_name="shop"))["host_firewall"] is None
