# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host's numbers: parsers on recorded files of real hosts and on anything, and this machine's own numbers."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import time

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _host_resources as host
from ansible_collections.stackops.runbook.plugins.module_utils._discovery import ContainerRef, Stack
from hypothesis import given
from hypothesis import strategies as st

FIXTURES = pathlib.Path(__file__).parents[2] / "fixtures" / "host"
KILLED = "11bdf86fc003065f2a9ec657c8a017ac54c4419863fb5d79d6df31dd8199ad9a"
INNER = "ad243020051fec82fe956271199062dcd47d560033f7b63663a04b4546ea9691"
OUTER = "5d59e8b6d30894598e07b201a050a95fa90050bebec6d8e2d2ff534045f9e17e"
GIB = host.GIB


def recorded(name):
    return (FIXTURES / name).read_text()


# -- processor and processes -------------------------------------------------------------------------------------------


def test_cpu_times_of_a_real_host():
    times, count = host.parse_cpu_times(recorded("stat"))
    assert count == 2
    assert times.total > times.idle > 0


def test_cpu_shares():
    first = host.CpuTimes(total=1000, idle=500, iowait=100, steal=10)
    assert host.cpu_shares(first, host.CpuTimes(1200, 550, 130, 30)) == (50.0, 10.0, 15.0)
    assert host.cpu_shares(first, first) is None


@given(*[st.lists(st.integers(0, 2**40), min_size=10, max_size=10)] * 2)
def test_cpu_shares_are_percentages(one, two):
    lines = ["cpu  " + " ".join(map(str, numbers)) + "\ncpu0 1" for numbers in (one, two)]
    shares = host.cpu_shares(*(host.parse_cpu_times(line)[0] for line in lines))
    assert shares is None or all(0 <= share <= 100 for share in shares)


@given(st.text(max_size=200))
def test_parsers_never_raise(text):
    host.parse_cpu_times(text)
    host.parse_cpu_times("cpu " + text)
    host.parse_meminfo(text)
    host.parse_mountinfo(text)
    host.parse_process_stat(text, 4096)
    host.container_of_cgroup(text)
    host.parse_oom_kills(host.parse_kernel_text(text, 0.0))
    host.parse_oom_kills(host.parse_kmsg([text.encode()], 0.0))
    host.parse_oom_kills(host.parse_journal(text))


@given(st.text(max_size=16), st.integers(1, 2**22), st.integers(0, 2**40), st.integers(0, 2**40))
def test_process_names_may_hold_anything(name, pid, ticks, pages):
    fields = ["S", *["0"] * 10, str(ticks), "7", *["0"] * 6, "99", "1", str(pages), "0"]
    sample = host.parse_process_stat(f"{pid} ({name}) {' '.join(fields)}", 4096)
    assert sample == host.ProcessSample(pid, name, ticks + 7, 99, pages * 4096)


def test_this_process_is_seen():
    sample = host.sample_processes()[os.getpid()]
    assert sample.memory_bytes > 1024 * 1024
    assert abs(sample.memory_bytes - int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path("/proc/self/status").read_text()).group(1)) * 1024) < 64 * 1024 * 1024


# -- control groups ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "known", "found"),
    [
        (f"9:name=systemd:/docker/{INNER}", (), INNER),
        (f"0::/system.slice/docker-{INNER}.scope", (), INNER),
        (f"0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{INNER}.scope/container", (), INNER),
        (f"0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{INNER}.scope", (), INNER),
        (f"0::/docker/{OUTER}/docker/{INNER}", (), INNER),
        (f"0::/docker/{OUTER}/system.slice/docker-{INNER}.scope", (OUTER,), OUTER),
        (f"0::/docker/{OUTER}/docker/{INNER}", (OUTER, INNER), INNER),
        ("0::/user.slice/user-0.slice/session-1.scope", (), None),
        (f"0::/docker/{INNER}0", (), None),
        ("", (), None),
    ],
)
def test_container_of_cgroup(path, known, found):
    assert host.container_of_cgroup(path, known) == found


def test_recorded_cgroups_of_a_host_that_is_a_container():
    inside = recorded("cgroup-nested-systemd")
    assert host.container_of_cgroup(inside, {INNER}) == INNER
    own = host.container_ids(recorded("cgroup-host-in-container"))
    assert own == [OUTER]
    assert host.container_of_cgroup(recorded("cgroup-host-in-container"), (), own) is None
    assert host.container_of_cgroup(inside, (), own) == INNER


# -- memory ------------------------------------------------------------------------------------------------------------


def test_memory_of_a_real_host():
    facts = host.memory_facts(host.parse_meminfo(recorded("meminfo")))
    assert facts["memory_total_bytes"] == 24684096 * 1024
    assert 0 < facts["memory_used_percent"] < 100
    assert facts["swap_used_percent"] is None


def test_memory_of_an_old_kernel_and_swap():
    facts = host.memory_facts({"MemTotal": 1000, "MemFree": 100, "Buffers": 50, "Cached": 150, "SwapTotal": 200, "SwapFree": 50})
    assert (facts["memory_available_bytes"], facts["memory_used_percent"]) == (300, 70.0)
    assert (facts["swap_used_bytes"], facts["swap_used_percent"]) == (150, 75.0)


# -- file systems ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("used", "free", "status"),
    [
        (50.0, 10 * GIB, "ok"),
        (86.0, 10 * GIB, "warning"),
        (86.0, 200 * GIB, "ok"),
        (96.0, 1024, "critical"),
        (96.0, 30 * GIB, "warning"),
        (96.0, 200 * GIB, "warning"),
        (100.0, 0, "critical"),
        (85.0, 0, "warning"),
        (95.0, 0, "critical"),
    ],
)
def test_a_file_system_is_judged_by_share_and_by_space(used, free, status):
    assert host.HostLimits().disk_status(used, free) == status


def test_mounts_of_a_real_host_in_a_container():
    mounts = host.parse_mountinfo(recorded("mountinfo-systemd-host"))
    assert len(mounts) > 20
    places = host._places(mounts, [("/", "root"), ("/var/lib/docker", "docker"), ("/var/lib/docker/volumes/shop/_data", "volume:shop/db")], "/var/lib/docker")
    assert [(place.mount.path, place.mount.kind, place.used_for) for place in places] == [
        ("/", "overlay", ["root"]),
        ("/var/lib/docker", "ext4", ["docker", "volume:shop/db"]),
        ("/run", "tmpfs", []),
        ("/tmp", "tmpfs", []),
    ]


def test_mounts_hide_each_other():
    text = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 8:2 / /data rw - xfs /dev/sdb1 rw\n"
    text += "3 1 8:3 / /data ro,x - xfs /dev/sdc1 rw\n4 1 8:4 / /with\\040space rw - ext4 /dev/sdd ro\n"
    mounts = host.parse_mountinfo(text)
    assert host.mount_of("/data/x", mounts).device == "/dev/sdc1"
    assert host.mount_of("/database", mounts).path == "/"
    assert host.mount_of("/with space/x", mounts).read_only
    assert {place.mount.device for place in host._places(mounts, [], "/var/lib/docker")} == {"/dev/sda1", "/dev/sdc1", "/dev/sdd"}


def test_pseudo_and_snap_mounts_are_left_out():
    text = (
        "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 7:1 / /snap/core/1 ro - squashfs /dev/loop1 ro\n3 1 0:5 / /dev/shm rw - tmpfs tmpfs rw\n"
        "4 1 0:9 / /var/lib/docker/overlay2/a/merged rw - overlay overlay rw\n"
        "5 1 8:1 /sub /mnt/bind rw - ext4 /dev/sda1 rw\n6 1 0:7 / /mnt/ceph rw - ceph mon:/ rw\n"
    )
    places = host._places(host.parse_mountinfo(text), [("/snap/core/1/x", "volume:a/b")], "/var/lib/docker")
    assert [place.mount.path for place in places] == ["/", "/mnt/ceph"]


def test_purposes_come_from_mounts():
    raw = {
        "Config": {"Labels": {"com.docker.compose.project": "shop", "com.docker.compose.service": "api"}},
        "LogPath": "/var/lib/docker/containers/x/x-json.log",
        "Mounts": [
            {"Type": "bind", "Source": "/srv/shop/logs", "Destination": "/app/logs", "RW": True},
            {"Type": "volume", "Source": "/var/lib/docker/volumes/data/_data", "Destination": "/data", "RW": True, "Name": "data"},
            {"Type": "bind", "Source": "/etc/ssl", "Destination": "/etc/ssl", "RW": False},
            {"Type": "bind", "Source": "/var/run/docker.sock", "Destination": "/var/run/docker.sock", "RW": True},
        ],
    }
    assert host._purposes([Stack("shop", containers=[ContainerRef(raw)])], "/var/lib/docker", [("shop", "/var/log/shop.log")]) == [
        ("/", "root"),
        ("/var/lib/docker", "docker"),
        ("/srv/shop/logs", "logs:shop"),
        ("/var/lib/docker/volumes/data/_data", "volume:shop/api"),
        ("/var/lib/docker/containers/x/x-json.log", "logs:shop"),
        ("/var/log/shop.log", "logs:shop"),
    ]


def test_a_hanging_file_system_is_an_error_and_the_others_are_there(monkeypatch):
    real = os.statvfs
    monkeypatch.setattr(host, "_CALL_TIMEOUT_SECONDS", 0.3)
    monkeypatch.setattr(host.os, "statvfs", lambda path: time.sleep(1) if path == "/mnt/nfs" else real("/"))
    monkeypatch.setattr(host, "_read", lambda *dummy: "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:50 / /mnt/nfs rw - nfs4 server:/x rw\n")
    rows, errors = host.HostCollector()._filesystems((), None, ())
    assert [row["mount"] for row in rows] == ["/"]
    assert [(error.source, error.code) for error in errors] == [("/mnt/nfs", "timeout")]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_small_full_file_system_is_critical(tmp_path):
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)], capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let us mount")
    try:
        (tmp_path / "fill").write_bytes(b"x" * 1024 * 1000)
        raw = {
            "Config": {"Labels": {"com.docker.compose.project": "shop", "com.docker.compose.service": "db"}},
            "Mounts": [{"Type": "bind", "Source": str(tmp_path), "Destination": "/data", "RW": True}],
        }
        facts = host.collect_host([Stack("shop", containers=[ContainerRef(raw)])])
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=False)
    (row,) = [row for row in facts["filesystems"] if row["mount"] == str(tmp_path)]
    assert (row["type"], row["status"], row["used_for"], row["size_bytes"]) == ("tmpfs", "critical", ["volume:shop/db"], 1024 * 1024)
    assert row["used_percent"] > 95
    assert facts["status"] == "critical"


# -- the kernel's words ------------------------------------------------------------------------------------------------


def one_kill(records, **options):
    (kill,) = host.parse_oom_kills(records, **options)
    return kill


def test_a_real_kill_at_a_limit_from_the_ring_buffer():
    lines = (FIXTURES / "kmsg-memcg-oom.txt").read_bytes().splitlines(keepends=True)
    kill = one_kill(host.parse_kmsg(lines, boot=1795471711.0))
    assert kill == {"at": "2026-11-23T22:46:33.896Z", "process": "tail", "pid": 22244, "container_id": KILLED[:12], "scope": "container"}


def test_the_same_by_syslog_and_by_the_journal():
    text = recorded("syslog-memcg-oom.txt")
    by_syslog = host.parse_kernel_text(text, boot=1795471711.0)
    assert one_kill(by_syslog)["at"] == "2026-11-23T22:46:33.896Z"
    journal = "".join(f"{record.at:.6f} host kernel: {record.text}\n" for record in by_syslog)
    assert one_kill([*host.parse_journal(journal), *by_syslog])["process"] == "tail"
    without_time = "\n".join(line.split("] ", 1)[-1] for line in text.splitlines())
    assert one_kill(host.parse_kernel_text(without_time, 0.0))["at"] is None


def test_a_real_kill_for_want_of_memory_on_the_host_from_the_ring_buffer():
    lines = (FIXTURES / "kmsg-global-oom.txt").read_bytes().splitlines(keepends=True)
    kill = one_kill(host.parse_kmsg(lines, boot=1795640000.0))
    assert (kill["process"], kill["pid"], kill["container_id"], kill["scope"]) == ("python3", 14280, "957daa4256f9", "host")


def test_kills_of_the_host_name_the_victims_container():
    line = f"oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,task_memcg=/docker/{INNER},task=python3,pid=7,uid=0"
    then = "Out of memory: Killed process 7 (python3) total-vm:1kB, anon-rss:1kB"
    kill = one_kill([host.KernelRecord(line, 5.0), host.KernelRecord(then, 5.1)])
    assert (kill["scope"], kill["container_id"], kill["process"]) == ("host", INNER[:12], "python3")


def test_a_limit_of_a_unit_is_no_containers():
    line = "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/system.slice/x.service,"
    line += "task_memcg=/system.slice/x.service,task=a,b,pid=7,uid=0"
    kill = one_kill([host.KernelRecord(line, 5.0)])
    assert (kill["scope"], kill["container_id"], kill["process"]) == ("host", None, "a,b")


def test_old_kernels():
    records = [
        host.KernelRecord(f"Task in /docker/{INNER} killed as a result of limit of /docker/{INNER}", 1.0),
        host.KernelRecord("Memory cgroup out of memory: Kill process 12 (python3) score 1000 or sacrifice child", 1.0),
        host.KernelRecord("Killed process 12 (python3) total-vm:1kB", 1.0),
    ]
    assert one_kill(records) == {"at": "1970-01-01T00:00:01Z", "process": "python3", "pid": 12, "container_id": INNER[:12], "scope": "container"}


def test_a_host_in_a_container_tells_only_its_own_kills():
    def line(path, pid):
        return host.KernelRecord(f"oom-kill:constraint=CONSTRAINT_MEMCG,oom_memcg={path},task_memcg={path},task=x,pid={pid},uid=0", 1.0 * pid)

    records = [line(f"/docker/{KILLED}", 100), line(f"/docker/{OUTER}/docker/{'1' * 64}", 200), line(f"/docker/{INNER}", 300)]
    kills = host.parse_oom_kills(records, known={INNER}, own={OUTER})
    assert [(kill["pid"], kill["container_id"]) for kill in kills] == [(200, "1" * 12), (300, INNER[:12])]


@pytest.mark.parametrize(
    ("limit", "own", "scope"),
    [
        (f"/docker/{INNER}", (), "container"),
        (f"/docker/{OUTER}/docker/{INNER}", (OUTER,), "container"),
        (f"/docker/{OUTER}", (OUTER,), "host"),
        ("/shops.slice", (), "host"),
        ("/", (), "host"),
    ],
)
def test_a_limit_that_containers_share_is_the_hosts(limit, own, scope):
    line = f"oom-kill:constraint=CONSTRAINT_MEMCG,oom_memcg={limit},task_memcg={limit.rstrip('/')}/docker/{INNER},task=java,pid=7,uid=0"
    kill = one_kill([host.KernelRecord(line, None)], known={INNER}, own=own)
    assert (kill["scope"], kill["container_id"]) == (scope, INNER[:12])


@given(st.integers(1, 2**22), st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\u2028\u2029\x85"), min_size=1, max_size=15))
def test_any_process_name(pid, name):
    line = f"oom-kill:constraint=CONSTRAINT_MEMCG,oom_memcg=/docker/{INNER},task_memcg=/docker/{INNER},task={name},pid={pid},uid=0"
    kill = one_kill([host.KernelRecord(line, None)])
    assert (kill["pid"], kill["process"]) == (pid, name)


def test_docker_disk_of_a_real_engine():
    usage = json.loads(recorded("system-df.json"))
    facts = host.docker_disk_facts(usage)
    assert facts["images_bytes"] == usage["LayersSize"]
    assert facts["volumes_bytes"] == sum(volume["UsageData"]["Size"] for volume in usage["Volumes"])
    assert 0 < facts["reclaimable_bytes"] < facts["images_bytes"] + facts["volumes_bytes"]
    assert host.docker_disk_facts({"Volumes": [{"UsageData": None}, {"UsageData": {"Size": -1, "RefCount": -1}}]})["volumes_bytes"] == 0


# -- all together ------------------------------------------------------------------------------------------------------

KEYS = {
    "status", "summary", "metrics", "errors", "cpu_count", "load_1m", "load_5m", "load_15m", "load_per_cpu", "cpu_percent", "cpu_steal_percent",
    "cpu_iowait_percent", "memory_total_bytes", "memory_available_bytes", "memory_used_percent", "swap_total_bytes", "swap_used_bytes",
    "swap_used_percent", "uptime_seconds", "clock", "filesystems", "processes", "kernel_oom_kills", "docker_disk",
}  # fmt: skip


def test_this_machine():
    begin = time.monotonic()
    facts = host.collect_host()
    assert 1.0 <= time.monotonic() - begin < 20
    assert set(facts) == KEYS
    assert facts["cpu_count"] >= 1
    assert 0 <= facts["cpu_percent"] <= 100
    assert 0 < len(facts["processes"]) <= 10
    memory = [process["memory_bytes"] for process in facts["processes"]]
    assert memory == sorted(memory, reverse=True)
    root = next(row for row in facts["filesystems"] if "root" in row["used_for"])
    assert root["mount"] == "/"
    assert facts["clock"]["synchronized"] in (True, False, None)
    json.dumps(facts)


def test_df_agrees():
    facts = host.collect_host()
    row = next(row for row in facts["filesystems"] if row["mount"] == "/")
    shown = subprocess.run(["df", "-P", "/"], capture_output=True, text=True, check=True).stdout.splitlines()[1].split()
    assert abs(row["used_percent"] - int(shown[4].rstrip("%"))) <= 1.1


def test_waiting_is_shared(monkeypatch):
    collector = host.HostCollector(sample_seconds=0.5)
    collector.begin()
    time.sleep(0.6)
    waits = []
    monkeypatch.setattr(host.time, "sleep", waits.append)
    collector.finish()
    assert waits == [0.0]
