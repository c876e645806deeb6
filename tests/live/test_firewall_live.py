# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the walk over the rules says against what a connection from outside finds, with real iptables, nft and ufw in namespaces of their own."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import random
import socket
import subprocess
import time
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._engine import Engine, EngineOptions
from ansible_collections.stackops.runbook.plugins.module_utils._published_ports import check_ports

from tests.support import network_lab as lab

pytestmark = pytest.mark.live

BRIDGE = lab.BRIDGE


@pytest.fixture(name="net")
def fixture_net(tmp_path):
    """A host, a container and somebody outside."""
    reason = lab.missing()
    if reason:
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    made = lab.Lab(tmp_path)
    yield made
    made.close()


# -- rules as Docker makes them, by what they do --------------------------------------------------------------------------


def docker_rules(address=lab.CONTAINER4, port=8080, inner=80, bind="", protocol="tcp", version=4, forward="DROP"):
    """As engines before 28 make them."""
    width = 32 if version == 4 else 128
    target = f"{address}:{inner}" if version == 4 else f"[{address}]:{inner}"
    at = f"-d {bind}/{width} " if bind else ""
    return f"""*nat
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A DOCKER -i {BRIDGE} -j RETURN
-A DOCKER {at}! -i {BRIDGE} -p {protocol} -m {protocol} --dport {port} -j DNAT --to-destination {target}
COMMIT
*filter
:FORWARD {forward} [0:0]
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o {BRIDGE} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o {BRIDGE} -j DOCKER
-A FORWARD -i {BRIDGE} ! -o {BRIDGE} -j ACCEPT
-A DOCKER -d {address}/{width} ! -i {BRIDGE} -o {BRIDGE} -p {protocol} -m {protocol} --dport {inner} -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
COMMIT
"""


def docker28_rules(bind="", port=8080, inner=80):
    """As engines from 28 on make them: chains of their own, and drops of what comes by another way."""
    at = f"-d {bind}/32 " if bind else ""
    loopback = f"-A PREROUTING -d {bind}/32 ! -i lo -p tcp -m tcp --dport {port} -j DROP\n" if bind.startswith("127.") else ""
    return f"""*raw
:PREROUTING ACCEPT [0:0]
-A PREROUTING -d {lab.CONTAINER4}/32 ! -i {BRIDGE} -j DROP
{loopback}COMMIT
*nat
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A DOCKER {at}! -i {BRIDGE} -p tcp -m tcp --dport {port} -j DNAT --to-destination {lab.CONTAINER4}:{inner}
COMMIT
*filter
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-BRIDGE - [0:0]
:DOCKER-CT - [0:0]
:DOCKER-FORWARD - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-FORWARD
-A DOCKER -d {lab.CONTAINER4}/32 ! -i {BRIDGE} -o {BRIDGE} -p tcp -m tcp --dport {inner} -j ACCEPT
-A DOCKER ! -i {BRIDGE} -o {BRIDGE} -j DROP
-A DOCKER-BRIDGE -o {BRIDGE} -j DOCKER
-A DOCKER-CT -o {BRIDGE} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-FORWARD -j DOCKER-CT
-A DOCKER-FORWARD -j DOCKER-BRIDGE
-A DOCKER-FORWARD -i {BRIDGE} -j ACCEPT
COMMIT
"""


def docker_nft_rules(bind="", version=4):
    """As the engine's own nftables back end makes them."""
    family, daddr = ("ip", lab.CONTAINER4) if version == 4 else ("ip6", lab.CONTAINER6)
    target = f"{daddr}:80" if version == 4 else f"[{daddr}]:80"
    at = f"{family} daddr {bind} " if bind else ""
    loopback = f'iifname != "lo" {family} daddr {bind} tcp dport 8080 counter drop' if bind.startswith("127.") else ""
    return f"""
table {family} docker-bridges {{
  map in-jumps {{ type ifname : verdict; elements = {{ "{BRIDGE}" : jump in__bridge }} }}
  map out-jumps {{ type ifname : verdict; elements = {{ "{BRIDGE}" : jump out__bridge }} }}
  chain in__bridge {{
    ct state established,related counter accept
    iifname "{BRIDGE}" counter accept
    {family} daddr {daddr} tcp dport 80 counter accept
    counter drop
  }}
  chain out__bridge {{
    ct state established,related counter accept
    counter accept
  }}
  chain nat-rules {{ iifname != "{BRIDGE}" {at}tcp dport 8080 counter dnat to {target}; }}
  chain filter-FORWARD {{
    type filter hook forward priority filter; policy accept;
    oifname vmap @in-jumps
    iifname vmap @out-jumps
  }}
  chain nat-PREROUTING {{
    type nat hook prerouting priority dstnat; policy accept;
    fib daddr type local counter jump nat-rules
  }}
  chain raw-PREROUTING {{
    type filter hook prerouting priority raw; policy accept;
    {family} daddr {daddr} iifname != "{BRIDGE}" counter drop
    {loopback}
  }}
}}
"""


def user_chain(rule, version=4):
    """A rule in DOCKER-USER, before all others."""
    return f"*filter\n-I DOCKER-USER {rule}\nCOMMIT\n"


# The end of ufw's after.rules as the project ufw-docker tells people to write it, by what it does.
UFW_DOCKER = f"""
*filter
:ufw-user-forward - [0:0]
:DOCKER-USER - [0:0]
-A DOCKER-USER -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN
-A DOCKER-USER -m conntrack --ctstate INVALID -j DROP
-A DOCKER-USER -i {BRIDGE} -j ACCEPT
-A DOCKER-USER -j RETURN -s 10.0.0.0/8
-A DOCKER-USER -j ufw-user-forward
-A DOCKER-USER -j DROP -p tcp -m conntrack --ctstate NEW -d 172.16.0.0/12
-A DOCKER-USER -j RETURN
COMMIT
"""

# As firewalld has its own table: everything that was translated passes, or, strictly, only what a port forwards.
FIREWALLD = """
table inet firewalld {
  chain filter_FORWARD {
    type filter hook forward priority filter + 10; policy accept;
    ct state { established, related } accept
    %s
    iifname "lo" accept
    jump filter_FORWARD_POLICIES
    ct state invalid drop
    reject with icmpx admin-prohibited
  }
  chain filter_FORWARD_POLICIES { iifname "eth0" jump filter_FWD_public; }
  chain filter_FWD_public { reject with icmpx admin-prohibited; }
  chain filter_INPUT {
    type filter hook input priority filter + 10; policy accept;
    ct state { established, related } accept
    ct status dnat accept
    iifname "lo" accept
    meta l4proto { icmp, ipv6-icmp } accept
    tcp dport 22 ct state new,untracked accept
    reject with icmpx admin-prohibited
  }
}
"""

GOTO = """*filter
:mine - [0:0]
-I DOCKER-USER -i eth0 -g mine
-A mine -s 203.0.113.0/24 -j RETURN
-A mine -j DROP
COMMIT
"""

# As somebody writes rules by hand.
INPUT_DROPS = """*filter
:INPUT DROP [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -m state --state ESTABLISHED,RELATED -j ACCEPT
-A INPUT -p tcp --dport 22 -j ACCEPT
COMMIT
"""

NFT_SETS = """
table inet mine {
  set office { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 192.168.0.0/16 }; }
  chain i {
    type filter hook input priority 0; policy drop;
    ct state established accept
    ip saddr @office tcp dport { 22, 9000 } accept
    ip6 saddr fd00::/8 tcp dport 9000-9001 accept
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } accept
  }
}
"""

NFT_MAPS = """
table inet mine {
  chain office { accept; }
  chain i {
    type filter hook input priority 0; policy drop;
    ct state vmap { established : accept, invalid : drop }
    meta l4proto . th dport vmap { tcp . 9000 : jump office, udp . 53 : accept }
    meta l4proto ipv6-icmp accept
  }
}
"""

NFT_ORIGINAL = """
table inet mine {
  chain f {
    type filter hook forward priority -10;
    meta l4proto tcp ct original proto-dst 8080 ct status dnat drop
  }
}
"""

PUBLISHED4 = {
    "origin": "published", "version": 4, "protocol": "tcp", "host_ip": "0.0.0.0", "host_port": 8080, "container": "web", "container_port": 80,
    "container_address": lab.CONTAINER4,
}  # fmt: skip
PUBLISHED6 = {**PUBLISHED4, "version": 6, "host_ip": "::", "container_address": lab.CONTAINER6}
LOOPBACK = {**PUBLISHED4, "host_ip": "127.0.0.1"}
PUBLISHED_UDP = {**PUBLISHED4, "protocol": "udp", "host_port": 5353, "container_port": 53}
PROCESS4 = {"origin": "process", "version": 4, "protocol": "tcp", "host_ip": "0.0.0.0", "host_port": 9000, "process": "server"}
PROCESS6 = {**PROCESS4, "version": 6, "host_ip": "::"}


@dataclasses.dataclass(frozen=True)
class Layout:
    """Rules, ports, and what comes out for each port: class and verdict."""

    name: str
    load: t.Callable[[lab.Lab], None]
    # The port, its class, its verdict, and who connects from outside, where that does not follow: from a public and from a private address.
    ports: tuple[tuple[t.Any, ...], ...]
    proxies: tuple[tuple[int, str], ...] = ()
    expected: t.Optional[list[dict[str, t.Any]]] = None
    evidence: str = ""


def only(text, version=4):
    return lambda net: net.iptables(text, version)


def both(*loads):
    def load(net):
        for one in loads:
            one(net)

    return load


def ufw(*commands, **more):
    return lambda net: net.ufw(*commands, **more)


def nft(text):
    return lambda net: net.nft(text)


DOCKER = only(docker_rules())
UFW_ON = ufw("allow 22/tcp", "enable")

LAYOUTS = [
    Layout("nothing but Docker", DOCKER, ((PUBLISHED4, "exposed_no_firewall", "reachable"),)),
    Layout("Docker 28", only(docker28_rules()), ((PUBLISHED4, "exposed_no_firewall", "reachable"),)),
    Layout(
        "ufw denies, published port bypasses it",
        both(DOCKER, ufw("deny 8080/tcp", "deny 9000/tcp", "enable")),
        ((PUBLISHED4, "exposed_bypass", "reachable"), (PROCESS4, "filtered", "filtered"), (PROCESS6, "filtered", "filtered")),
        evidence="DNAT",
    ),
    Layout(
        "ufw allows the host's port",
        both(DOCKER, ufw("allow 8080/tcp", "allow 9000/tcp", "enable")),
        ((PUBLISHED4, "exposed_intended", "reachable"), (PROCESS4, "exposed_intended", "reachable"), (PROCESS6, "exposed_intended", "reachable")),
    ),
    Layout(
        "ufw limits",
        both(DOCKER, ufw("limit 9000/tcp", "enable")),
        ((PROCESS4, "exposed_intended", "reachable"), (PROCESS6, "exposed_intended", "reachable")),
    ),
    Layout(
        "ufw allows one network",
        both(DOCKER, ufw("allow proto tcp from 10.0.0.0/8 to any port 9000", "enable")),
        ((PROCESS4, "allowlisted", "restricted"), (PROCESS6, "filtered", "filtered")),
    ),
    Layout("ufw off", both(DOCKER, ufw("deny 8080/tcp")), ((PUBLISHED4, "exposed_no_firewall", "reachable"),)),
    Layout(
        "ufw without IPv6 rules for the proxy's port",
        both(DOCKER, UFW_ON),
        ((PUBLISHED4, "exposed_bypass", "reachable"), (PUBLISHED6, "filtered", "filtered")),
        proxies=((8080, "::"),),
    ),
    Layout(
        "Docker with IPv6, ufw on",
        both(DOCKER, only(docker_rules(lab.CONTAINER6, version=6), 6), UFW_ON),
        ((PUBLISHED4, "exposed_bypass", "reachable"), (PUBLISHED6, "exposed_bypass", "reachable")),
    ),
    Layout(
        "ufw-docker's rules",
        both(DOCKER, ufw("allow 22/tcp", "enable", after_rules=UFW_DOCKER)),
        ((PUBLISHED4, "allowlisted", "restricted"),),
    ),
    Layout(
        "ufw-docker, route by the host's port does nothing",
        both(DOCKER, ufw("route allow proto tcp from any to any port 8080", "enable", after_rules=UFW_DOCKER)),
        ((PUBLISHED4, "allowlisted", "restricted"),),
    ),
    Layout(
        "ufw-docker, route by the container's port",
        both(DOCKER, ufw("route allow proto tcp from any to any port 80", "enable", after_rules=UFW_DOCKER)),
        ((PUBLISHED4, "exposed_intended", "reachable"),),
    ),
    Layout(
        "ufw-docker, disabled",
        both(DOCKER, ufw("enable", "disable", after_rules=UFW_DOCKER)),
        ((PUBLISHED4, "allowlisted", "restricted"),),
    ),
    Layout(
        "DOCKER-USER by the host's port does nothing",
        both(DOCKER, only(user_chain("-i eth0 -p tcp --dport 8080 -j DROP"))),
        ((PUBLISHED4, "exposed_no_firewall", "reachable"),),
    ),
    Layout("DOCKER-USER by the container's port", both(DOCKER, only(user_chain("-i eth0 -p tcp --dport 80 -j DROP"))), ((PUBLISHED4, "filtered", "filtered"),)),
    Layout(
        "DOCKER-USER by the port that was asked for",
        both(DOCKER, only(user_chain("-i eth0 -p tcp -m conntrack --ctorigdstport 8080 --ctdir ORIGINAL -j DROP"))),
        ((PUBLISHED4, "filtered", "filtered"),),
    ),
    Layout(
        "DOCKER-USER lets one network in",
        both(DOCKER, only(user_chain("-i eth0 ! -s 10.0.0.0/8 -p tcp -m conntrack --ctorigdstport 8080 -j REJECT"))),
        ((PUBLISHED4, "allowlisted", "restricted"),),
    ),
    Layout(
        "DOCKER-USER keeps one network out",
        both(DOCKER, only(user_chain("-s 10.0.0.0/8 -j DROP"))),
        ((PUBLISHED4, "exposed_no_firewall", "reachable", (True, False)),),
    ),
    Layout(
        "DOCKER-USER, range of addresses and several ports",
        both(DOCKER, only(user_chain("-p tcp -m multiport --dports 80,443 -m iprange ! --src-range 10.0.0.0-10.255.255.255 -j DROP"))),
        ((PUBLISHED4, "allowlisted", "restricted"),),
    ),
    Layout(
        "DOCKER-USER marks and drops by mark",
        both(DOCKER, only("*mangle\n-A PREROUTING -i eth0 -p tcp --dport 8080 -j MARK --set-mark 7\nCOMMIT\n"), only(user_chain("-m mark --mark 7 -j DROP"))),
        ((PUBLISHED4, "filtered", "filtered"),),
    ),
    Layout(
        "DOCKER-USER with something nobody can tell",
        both(DOCKER, only(user_chain("-p tcp -m string --string GET --algo bm -j DROP"))),
        ((PUBLISHED4, "unknown", "unknown"),),
    ),
    Layout("goto and return", both(DOCKER, only(GOTO)), ((PUBLISHED4, "allowlisted", "restricted", (True, False)),)),
    Layout(
        "the answer does not get out",
        both(DOCKER, only("*mangle\n-A FORWARD -i br-0123456789ab -p tcp --sport 80 -j DROP\nCOMMIT\n")),
        ((PUBLISHED4, "filtered", "filtered"),),
    ),
    Layout("loopback bind before 28", only(docker_rules(bind="127.0.0.1")), ((LOOPBACK, "loopback_leaky", "restricted", (True, True)),)),
    Layout("loopback bind with 28", only(docker28_rules(bind="127.0.0.1")), ((LOOPBACK, "loopback_only", "local"),), evidence="-d 127.0.0.1/32 ! -i lo"),
    Layout(
        "program on loopback", DOCKER, (({**PROCESS4, "host_ip": "127.0.0.1", "host_port": 9001}, "loopback_only", "local"),), proxies=((9001, "127.0.0.1"),)
    ),
    Layout(
        "host network, INPUT drops",
        both(DOCKER, only(INPUT_DROPS)),
        (({**PROCESS4, "origin": "host_network"}, "filtered", "filtered"), (PUBLISHED4, "exposed_bypass", "reachable")),
    ),
    Layout(
        "rules of one's own that accept the port",
        both(DOCKER, only(INPUT_DROPS.replace("--dport 22", "--dport 9000"))),
        ((PROCESS4, "exposed_intended", "reachable"),),
    ),
    Layout("nothing listens", DOCKER, (({**PUBLISHED4, "host_port": 8081}, "closed", "closed"), ({**PROCESS4, "host_port": 9009}, "closed", "closed"))),
    Layout(
        "nft forward chain drops",
        both(DOCKER, nft("table inet mine {\nchain f { type filter hook forward priority 5; policy drop; ct state established,related accept; }\n}")),
        ((PUBLISHED4, "filtered", "filtered"),),
        evidence="policy drop",
    ),
    Layout(
        "nft keeps the host's port out before it is translated",
        both(DOCKER, nft("table inet mine {\nchain p { type filter hook prerouting priority -150; tcp dport 8080 drop; }\n}")),
        ((PUBLISHED4, "filtered", "filtered"),),
    ),
    Layout(
        "nft by sets, for one network, both versions",
        both(
            DOCKER,
            nft(NFT_SETS),
        ),
        ((PROCESS4, "allowlisted", "restricted"), (PROCESS6, "allowlisted", "restricted")),
    ),
    Layout(
        "nft verdict map and several fields at once",
        both(
            DOCKER,
            nft(NFT_MAPS),
        ),
        ((PROCESS4, "exposed_intended", "reachable"), (PROCESS6, "exposed_intended", "reachable")),
    ),
    Layout(
        "nft ingress drops",
        both(DOCKER, nft('table netdev mine {\nchain g { type filter hook ingress device "eth0" priority 0; ip saddr 203.0.113.0/24 drop; }\n}')),
        ((PUBLISHED4, "exposed_no_firewall", "reachable", (False, True)),),
    ),
    Layout("Docker's own nftables", nft(docker_nft_rules()), ((PUBLISHED4, "exposed_no_firewall", "reachable"),), evidence="dnat to"),
    Layout(
        "Docker's own nftables, IPv6, and a chain of one's own",
        both(nft(docker_nft_rules(version=6)), nft(NFT_ORIGINAL)),
        ((PUBLISHED6, "filtered", "filtered"),),
    ),
    Layout("Docker's own nftables, loopback", nft(docker_nft_rules("127.0.0.1")), ((LOOPBACK, "loopback_only", "local"),)),
    Layout(
        "firewalld's rules",
        both(DOCKER, nft(FIREWALLD % "ct status dnat accept")),
        ((PUBLISHED4, "exposed_bypass", "reachable"), (PROCESS4, "filtered", "filtered")),
    ),
    Layout("firewalld's rules, strict", both(DOCKER, nft(FIREWALLD % "")), ((PUBLISHED4, "filtered", "filtered"),)),
    Layout(
        "firewalld's rules, strict, port forwarded",
        both(DOCKER, nft(FIREWALLD % "meta l4proto tcp ct status dnat ct original proto-dst 8080 accept")),
        ((PUBLISHED4, "exposed_bypass", "reachable"),),
    ),
    Layout("legacy back end", lambda net: net.iptables(docker_rules(), backend="legacy"), ((PUBLISHED4, "exposed_no_firewall", "reachable"),)),
    Layout(
        "legacy and nft side by side",
        both(DOCKER, lambda net: net.iptables("*filter\n-A FORWARD -p tcp --dport 80 -j DROP\nCOMMIT\n", backend="legacy")),
        ((PUBLISHED4, "filtered", "filtered"),),
    ),
    Layout(
        "no forwarding", both(DOCKER, lambda net: net.host.run("sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward")), ((PUBLISHED4, "filtered", "filtered"),)
    ),
    Layout("UDP", only(docker_rules(port=5353, inner=53, protocol="udp")), ((PUBLISHED_UDP, "exposed_no_firewall", "reachable"),)),
    Layout(
        "expected, and not expected",
        both(DOCKER, ufw("allow 9000/tcp", "allow 8080/tcp", "enable")),
        ((PUBLISHED4, "exposed_intended", "reachable"), (PROCESS4, "exposed_unexpected", "reachable")),
        expected=[{"port": 8080}],
    ),
]


def test_there_are_enough_layouts():
    assert len(LAYOUTS) >= 20
    assert len({layout.name for layout in LAYOUTS}) == len(LAYOUTS)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name.replace(" ", "-"))
def test_the_verdict_is_what_a_connection_finds(net, layout):
    net.listen(net.container, 80)
    net.listen(net.container, 53, protocol="udp")
    net.listen(net.host, 9000)
    for port, address in layout.proxies:
        net.listen(net.host, port, address)
    layout.load(net)
    rows = net.judge([port for port, *dummy in layout.ports], layout.expected)
    attempts, wanted_finds, straight = [], [], []
    for row, (port, wanted_class, wanted, *finds) in zip(rows, layout.ports):
        assert (row["errors"], row["problems"]) == ([], [])
        assert (row["class"], row["verdict"], row["reason"]) == (wanted_class, wanted, row["reason"])
        if row["status"] == "critical":
            assert row["fix"]
        version, protocol = port["version"], port["protocol"]
        sources = (lab.PUBLIC[version], lab.PRIVATE[version])
        target = port["host_ip"] if port["host_ip"].startswith("127.") else lab.HOST4 if version == 4 else lab.HOST6
        usual = {"reachable": (True, True), "restricted": (False, True)}.get(wanted, (False, False))
        if wanted != "unknown":
            for source, find in zip(sources, finds[0] if finds else usual):
                attempts.append((target, port["host_port"], source, protocol, find))
                wanted_finds.append(find)
        if row["direct"] is not None:
            inside = lab.CONTAINER4 if version == 4 else lab.CONTAINER6
            straight.append((row["direct"], [(inside, port["container_port"], source, protocol, False) for source in sources]))
    found = net.reaches([*attempts, *(one for dummy, pair in straight for one in pair)])
    assert found[: len(attempts)] == wanted_finds, f"a connection finds otherwise: {list(zip(attempts, found))}: {rows}"
    rest = found[len(attempts) :]
    assert [any(pair) for pair in zip(rest[::2], rest[1::2])] == [direct for direct, dummy in straight]
    assert layout.evidence in " ".join(one["rule"] for row in rows for one in row["evidence"])


# -- a real engine -----------------------------------------------------------------------------------------------------------

APP = "stackops-test/app"
PROJECT = f"firewalllive{os.getpid()}"


def docker(*arguments):
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=300, check=True).stdout.strip()


@pytest.fixture(name="containers")
def fixture_containers():
    """One that publishes, one that publishes to this host only, and one in the host's network."""
    if subprocess.run(["docker", "image", "inspect", APP], capture_output=True, timeout=60, check=False).returncode != 0:
        subprocess.run([str(pathlib.Path(__file__).parents[2] / "tests/testbed/testbed"), "images", "app"], timeout=900, check=True)
    ports = {name: random.randint(20000, 32000) for name in ("web", "inward", "bare")}
    made = {
        "web": ["--publish", f"{ports['web']}:8000"],
        "inward": ["--publish", f"127.0.0.1:{ports['inward']}:8000"],
        "bare": ["--network", "host"],
    }
    names = []
    try:
        for service, options in made.items():
            names.append(f"{PROJECT}-{service}-1")
            labels = [part for key, value in (("project", PROJECT), ("service", service)) for part in ("--label", f"com.docker.compose.{key}={value}")]
            port = str(ports["bare"]) if service == "bare" else "8000"
            command = ["-m", "http.server", "--bind", "0.0.0.0", port]
            docker("run", "--detach", "--init", "--name", names[-1], *labels, *options, "--entrypoint", "python3", APP, *command)
        deadline = time.monotonic() + 30
        with socket.socket() as probe:
            while probe.connect_ex(("127.0.0.1", ports["bare"])) != 0:
                assert time.monotonic() < deadline, "the container in the host's network does not listen"
                time.sleep(0.1)
        yield ports
    finally:
        docker("rm", "--force", "--volumes", *names)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root sees the rules")
def test_ports_of_a_real_engine(containers):
    params = {"timeout": 30, "project_name": PROJECT, "expected": None}
    assert not Engine.connect(EngineOptions.from_params(params)).remote
    facts = check_ports(params)
    assert facts["errors"] == []
    assert facts["host_firewall"]["readable"]
    rows = {(row["service"], row["family"]): row for row in facts["ports"]}
    web, inward, bare = (rows[(service, "ipv4")] for service in ("web", "inward", "bare"))
    assert {row["label"].partition("/")[0] for row in facts["ports"]} == {PROJECT}
    assert (web["origin"], web["host_port"], web["container_port"], web["path"]) == ("published", containers["web"], 8000, "forwarded")
    assert any("DNAT" in one["rule"] or "dnat" in one["rule"] for one in web["evidence"])
    assert inward["class"] in ("loopback_only", "loopback_leaky")
    assert (bare["origin"], bare["container"], bare["path"]) == ("host_network", f"{PROJECT}-bare-1", "local")
    assert bare["process"].startswith("python")
    everything = check_ports({**params, "project_name": None})
    assert {row["host_port"] for row in everything["ports"]} >= {containers["web"], containers["inward"], containers["bare"]}
