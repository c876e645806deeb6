# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host's numbers: parsers on recorded files of real hosts and on anything, and this machine's own numbers."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import pathlib
import re
import socket
import subprocess
import time

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _host_resources as host
from ansible_collections.stackops.runbook.plugins.module_utils._discovery import ContainerRef, Stack
from ansible_collections.stackops.runbook.plugins.module_utils._engine import Engine, EngineOptions
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError
from ansible_collections.stackops.runbook.tests.support.engine_socket import serving
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


# -- what this machine does not show by itself -------------------------------------------------------------------------

BOOT, NOW = 500_000.0, 1_000_000.0


def test_a_process_that_is_gone_by_now_has_a_row_without_an_owner():
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    sample = host.ProcessSample(pid=ended.pid, name="true", ticks=0, started=1, memory_bytes=4096)
    row = host._process_row(sample, 12.5, {}, (), {})
    assert (row["pid"], row["name"], row["cpu_percent"], row["memory_bytes"]) == (ended.pid, "true", 12.5, 4096)
    assert (row["user"], row["container"], row["project"]) == (None, None, None)


def test_without_the_files_nobody_is_known(monkeypatch):
    def missing(path, *dummy):
        raise FileNotFoundError(path)

    monkeypatch.setattr(host, "_read", missing)
    assert (host.own_container_ids(), host._users()) == (frozenset(), {})


def test_a_file_system_without_blocks_has_no_row():
    assert host._filesystem_row(host._Place(host.Mount("proc", "/proc", "proc", "proc", False), "/proc"), host.HostLimits()) is None


def running_container(**host_config):
    return ContainerRef({
        "Id": "a" * 64, "Name": "/shop-db-1", "State": {"Status": "running", "Pid": os.getpid()}, "HostConfig": host_config,
        "Config": {"Labels": {"com.docker.compose.project": "shop", "com.docker.compose.service": "db"}},
    })  # fmt: skip


def test_the_memory_file_systems_of_a_container_are_looked_at_from_inside(tmp_path, monkeypatch):
    monkeypatch.setattr(host, "_read", lambda *dummy: "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n")
    rows, errors = host.HostCollector()._filesystems([Stack("shop", containers=[running_container(Tmpfs={str(tmp_path): ""})])], None, ())
    (row,) = [row for row in rows if row["type"] == "tmpfs"]
    assert (row["mount"], row["used_for"], errors) == (f"shop-db-1:{tmp_path}", ["volume:shop/db"], [])
    assert row["size_bytes"] == os.statvfs(tmp_path).f_blocks * os.statvfs(tmp_path).f_frsize
    stopped = ContainerRef({**running_container(Tmpfs={str(tmp_path): ""}).inspect, "State": {"Status": "exited", "Pid": 0}})
    assert host._container_tmpfs([Stack("shop", containers=[stopped])]) == []


@pytest.mark.parametrize(("error", "told"), [(OSError(5, "Input/output error"), True), (PermissionError(13, "no"), False), (FileNotFoundError(2, "no"), False)])
def test_a_file_system_with_a_fault_is_an_error_where_it_is_used(monkeypatch, error, told):
    def statvfs(path):
        raise error

    monkeypatch.setattr(host.os, "statvfs", statvfs)
    monkeypatch.setattr(host, "_read", lambda *dummy: "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n")
    rows, errors = host.HostCollector()._filesystems((), None, ())
    assert rows == []
    assert [(one.source, one.reason, one.code) for one in errors] == ([("/", "[Errno 5] Input/output error", "unreadable")] if told else [])


class LibC:
    """The two system calls whose answers depend on the machine: what the clock's state is, and what the kernel said."""

    def __init__(self, state=0, status=0, log=None):
        self.state, self.status, self.log = state, status, log

    def adjtimex(self, reference):
        reference._obj.status = self.status
        return self.state

    def klogctl(self, action, buffer, size):
        if self.log is None:
            ctypes.set_errno(errno.EPERM)
            return -1
        buffer.value = self.log
        return len(self.log)


@pytest.mark.parametrize(
    ("libc", "answer"), [(LibC(), True), (LibC(5, 0x40), False), (LibC(-1), None), (object(), None)], ids=["yes", "no", "forbidden", "no such call"]
)
def test_what_the_kernel_says_of_its_clock(monkeypatch, libc, answer):
    monkeypatch.setattr(host.ctypes, "CDLL", lambda *dummy, **more: libc)
    assert host.clock_synchronized() is answer


@pytest.fixture
def kernel(monkeypatch, tmp_path):
    """Set what the kernel's two logs and the journal hold; a clock that stands still says that it was booted at ``BOOT``.

    Records are read from a socket that keeps them apart, as the device does.
    """
    real = os.open
    monkeypatch.setattr(host.time, "time", lambda: NOW)
    monkeypatch.setattr(host.time, "clock_gettime", lambda dummy: NOW - BOOT)
    monkeypatch.setenv("PATH", str(tmp_path))

    def make(records=None, log=None, journal=None):
        def opened(path, flags, *more, **names):
            if path != "/dev/kmsg":
                return real(path, flags, *more, **names)
            if records is None:
                raise PermissionError(errno.EPERM, "Operation not permitted")
            reading, writing = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            reading.setblocking(False)
            with writing:
                for record in records:
                    writing.send(record)
            return reading.detach()

        monkeypatch.setattr(host.os, "open", opened)
        monkeypatch.setattr(host.ctypes, "CDLL", lambda *dummy, **more: LibC(log=log))
        if journal is not None:
            program = tmp_path / "journalctl"
            program.write_text(f"#!/bin/sh\necho \"$*\" > {tmp_path}/asked\necho '{journal}'\n")
            program.chmod(0o755)

    return make


def said(records):
    return [(record.text, record.at) for record in records]


def test_a_buffer_that_lost_nothing_is_enough(kernel, tmp_path):
    kernel([b"6,0,1000000,-;Linux version", b"4,1,2500000,-;oom\n SUBSYSTEM=x"], journal="999999.5 host kernel: not asked")
    assert said(host._read_kernel_log(0.0)) == [("Linux version", BOOT + 1), ("oom", BOOT + 2.5)]
    assert not (tmp_path / "asked").exists()


@pytest.mark.parametrize("since", [BOOT - 1, BOOT + 300], ids=["the machine is younger", "the buffer is older"])
def test_a_buffer_that_goes_back_far_enough_is_enough(kernel, since, tmp_path):
    kernel([b"6,70,200000000,-;early", b"6,71,900000000,-;late"], journal="999999.5 host kernel: not asked")
    assert [text for text, dummy in said(host._read_kernel_log(since))] == ["early", "late"]
    assert not (tmp_path / "asked").exists()


def test_where_the_buffer_is_too_young_the_journal_is_asked(kernel, tmp_path):
    kernel([b"6,70,400000000000,-;late"], journal=f"{BOOT + 7}00000 host kernel: early")
    assert said(host._read_kernel_log(BOOT + 5)) == [("early", BOOT + 7), ("late", BOOT + 400_000)]
    assert (tmp_path / "asked").read_text() == f"-k -q --no-pager -o short-unix --since @{int(BOOT + 5)}\n"


def test_without_a_journal_the_buffer_is_all_there_is(kernel):
    kernel([b"6,70,400000000000,-;late"])
    assert said(host._read_kernel_log(BOOT + 5)) == [("late", BOOT + 400_000)]


def test_a_container_is_told_by_the_system_call(kernel):
    kernel(log=b"<6>[    1.500000] Linux version\n<4>[  2.000000] Out of memory\n")
    assert said(host._read_kernel_log(BOOT - 1)) == [("Linux version", BOOT + 1.5), ("Out of memory", BOOT + 2)]


def test_without_rights_what_the_kernel_killed_is_not_known(kernel):
    kernel()
    with pytest.raises(CheckError) as caught:
        host._read_kernel_log(BOOT)
    assert (caught.value.code, caught.value.reason) == ("permission-denied", "Operation not permitted")
    assert "Run as root" in caught.value.hint


def test_records_that_are_overwritten_while_they_are_read_are_passed_over(kernel, monkeypatch):
    kernel([b"6,70,1,-;first", b"6,75,2,-;next"])
    read, overwritten = os.read, [True]

    def reads(descriptor, size):
        if size == 16384 and overwritten:
            overwritten.pop()
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")
        return read(descriptor, size)

    monkeypatch.setattr(host.os, "read", reads)
    assert host._read_kmsg() == ([b"6,70,1,-;first", b"6,75,2,-;next"], False)


def test_a_device_that_fails_is_not_an_empty_log(kernel, monkeypatch):
    kernel([])

    def fails(descriptor, size):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(host.os, "read", fails)
    with pytest.raises(OSError, match="Input/output error"):
        host._read_kmsg()


@pytest.fixture
def server(tmp_path):
    pytest.importorskip("docker", reason="the Docker SDK for Python is not installed")
    with serving(tmp_path) as running:
        yield running


def engine_of(server):
    return Engine.connect(EngineOptions(docker_host=f"unix://{server.server_address}", timeout_seconds=5))


def test_the_engines_directory_is_where_it_says(server, tmp_path, monkeypatch):
    there = os.path.realpath(tmp_path)
    monkeypatch.setattr(host, "_read", lambda *dummy: f"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 8:2 / {there} rw - ext4 /dev/sdb1 rw\n")

    def used_for_docker():
        rows, errors = host.HostCollector()._filesystems((), engine_of(server), ())
        assert errors == []
        return [row["mount"] for row in rows if "docker" in row["used_for"]]

    server.answers["/info"] = (200, json.dumps({"DockerRootDir": there}).encode())
    assert used_for_docker() == [there]
    server.answers["/info"] = (500, b'{"message": "broken"}')
    assert used_for_docker() == ["/"]


USAGE = json.loads(recorded("system-df.json"))


def test_disk_use_is_asked_for_where_that_is_cheap(server):
    server.answers["/info"] = (200, b'{"Containers": 3, "Images": 5}')
    server.answers["/system/df"] = (200, json.dumps(USAGE).encode())
    assert host.HostCollector._docker_disk(engine_of(server)) == host.docker_disk_facts(USAGE)


@pytest.mark.parametrize("info", [{"Containers": 101, "Images": 5}, {"Containers": 3, "Images": 201}])
def test_disk_use_is_not_asked_of_an_engine_with_much_to_count(server, info):
    server.answers["/info"] = (200, json.dumps(info).encode())
    server.answers["/system/df"] = (200, json.dumps(USAGE).encode())
    assert host.HostCollector._docker_disk(engine_of(server)) is None
    assert not [path for path, dummy in server.seen if path.endswith("/system/df")]


def test_an_engine_that_does_not_tell_has_no_disk_use(server):
    server.answers["/info"] = (200, b"{}")
    assert host.HostCollector._docker_disk(engine_of(server)) is None


def test_a_fault_of_ours_is_told_and_not_raised():
    error = host._as_check_error("kernel", KeyError("x"))
    assert (error.source, error.reason, error.code) == ("kernel", "KeyError: 'x'", "unreadable")
    own = CheckError("kernel log", "no", "", "permission-denied")
    assert host._as_check_error("kernel", own) is own


@pytest.mark.parametrize(
    ("user", "options", "hidden"),
    [(1000, "rw,hidepid=2", True), (1000, "rw,nosuid,hidepid=invisible", True), (1000, "rw,hidepid=0", False), (1000, "rw", False), (0, "rw,hidepid=2", False)],
)
def test_processes_that_are_hidden_are_told(monkeypatch, user, options, hidden):
    monkeypatch.setattr(host.os, "geteuid", lambda: user)
    monkeypatch.setattr(host, "_read", lambda path: f"proc /proc proc {options} 0 0\n")
    assert [error.code for error in host._hidden_processes()] == (["permission-denied"] if hidden else [])


def test_the_first_sample_is_taken_where_nobody_has_begun():
    collector = host.HostCollector(sample_seconds=0.0)
    facts = collector.finish(docker_disk=False)
    assert set(facts) == KEYS
    assert facts["processes"]
