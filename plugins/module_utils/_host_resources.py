# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The host itself: processor, memory, file systems, clock, largest processes, kills by the kernel. Read from /proc.

What needs two samples takes the first in :meth:`HostCollector.begin` and the second in :meth:`HostCollector.finish`, so
that others can work in between.
"""

from __future__ import annotations

import ctypes
import dataclasses
import errno
import os
import re
import time
import typing as t

from ._envelope import CheckError, Thresholds, envelope, metric, rfc3339, worst
from ._process import Outcome, run_command, run_side_by_side

if t.TYPE_CHECKING:
    from ._discovery import ContainerRef, Stack
    from ._engine import Engine

GIB = 1024**3
_LARGEST_PROCESSES = 10
_BUSIEST_PROCESSES = 3
_CALL_TIMEOUT_SECONDS = 2.0
_KERNEL_LOG_LIMIT = 16 * 1024 * 1024
_OOM_WINDOW_SECONDS = 24 * 3600.0
_HEX_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_STA_UNSYNC = 0x40

#: Has storage of its own that can fill up. Images of read-only file systems are always full, and nobody's trouble.
_STORAGE_TYPES = frozenset({
    "ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "jfs", "reiserfs", "bcachefs", "nilfs2", "ocfs2", "gfs2", "vfat", "exfat", "ntfs", "ntfs3",
    "fuseblk", "nfs", "nfs4", "cifs", "smb3", "ceph", "glusterfs", "fuse.glusterfs", "fuse.sshfs", "fuse.mergerfs", "lustre", "9p", "virtiofs",
})  # fmt: skip
_TMPFS_MOUNTS = frozenset({"/tmp", "/run", "/var/tmp"})  # noqa: S108
_READ_ONLY_TYPES = frozenset({"squashfs", "iso9660", "udf", "cramfs", "erofs"})
_NO_STORAGE_BELOW = ("/proc", "/sys", "/dev", "/run/docker.sock", "/var/run/docker.sock", "/etc/localtime", "/etc/timezone")


@dataclasses.dataclass(frozen=True)
class HostLimits:
    """At or above which numbers the host is no longer fine. Those of single samples have none: a second is no trend.

    A file system is judged by its used percentage and, so that a large one is not reported with hundreds of GiB free,
    by its free space as well.
    """

    memory: Thresholds = Thresholds(90.0, 97.0)
    swap: Thresholds = Thresholds(80.0, None)
    load_per_cpu: Thresholds = Thresholds(8.0, None)
    steal: Thresholds = Thresholds(30.0, None)
    disk: Thresholds = Thresholds(85.0, 95.0)
    inodes: Thresholds = Thresholds(85.0, 95.0)
    disk_warning_free_bytes: int = 50 * GIB
    disk_critical_free_bytes: int = 20 * GIB

    def disk_status(self, used_percent: float, available_bytes: int) -> str:
        """Return the verdict on a file system."""
        verdict = self.disk.verdict(used_percent)
        if verdict == "critical":
            return "critical" if available_bytes < self.disk_critical_free_bytes else "warning"
        if verdict == "warning":
            return "warning" if available_bytes < self.disk_warning_free_bytes else "ok"
        return verdict


# -- processor and processes -------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class CpuTimes:
    """The first line of /proc/stat in ticks: all, idle, waiting for I/O, stolen by the hypervisor."""

    total: int
    idle: int
    iowait: int
    steal: int


def parse_cpu_times(text: str) -> tuple[t.Optional[CpuTimes], int]:
    """Return the times of all processors together and how many there are, from /proc/stat."""
    times: t.Optional[CpuTimes] = None
    count = 0
    for line in text.splitlines():
        fields = line.split()
        if not fields or not fields[0].startswith("cpu"):
            continue
        if fields[0] != "cpu":
            count += 1
            continue
        # Guest time is part of user time already; old kernels have fewer columns.
        numbers = [int(field) for field in fields[1:9] if field.isdecimal()] + [0] * 8
        times = CpuTimes(sum(numbers[:8]), numbers[3], numbers[4], numbers[7])
    return times, count


def cpu_shares(first: CpuTimes, second: CpuTimes) -> t.Optional[tuple[float, float, float]]:
    """Return busy, stolen and I/O-waiting percent between two samples; ``None`` where no tick has passed."""
    total = second.total - first.total
    if total <= 0:
        return None

    def share(ticks: int) -> float:
        # The kernel's iowait may run backwards.
        return round(min(100.0, max(0.0, 100.0 * ticks / total)), 1)

    idle, iowait, steal = second.idle - first.idle, second.iowait - first.iowait, second.steal - first.steal
    return share(total - idle - iowait - steal), share(steal), share(iowait)


@dataclasses.dataclass(frozen=True)
class ProcessSample:
    """One process at one moment; *started* tells a new one from an old one of the same number."""

    pid: int
    name: str
    ticks: int
    started: int
    memory_bytes: int


def parse_process_stat(text: str, page_bytes: int) -> t.Optional[ProcessSample]:
    """Return what /proc/<pid>/stat says, ``None`` where it is not that; a name may hold anything, brackets included."""
    before, dummy, after = text.rpartition(")")
    pid, dummy, name = before.partition("(")
    fields = after.split()
    try:
        return ProcessSample(int(pid), name, int(fields[11]) + int(fields[12]), int(fields[19]), max(0, int(fields[21])) * page_bytes)
    except (IndexError, ValueError):
        return None


def _read(path: str, limit: int = 1024 * 1024) -> str:
    with open(path, "rb") as handle:
        return handle.read(limit).decode("utf-8", "replace")


def sample_processes() -> dict[int, ProcessSample]:
    """Return all processes that may be seen, by pid; kernel threads are left out."""
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdecimal():
            continue
        try:
            sample = parse_process_stat(_read(f"/proc/{entry}/stat", 4096), page_bytes)
        except OSError:
            continue
        if sample is not None and sample.memory_bytes:
            found[sample.pid] = sample
    return found


def container_ids(text: str) -> list[str]:
    """Return all container ids in a cgroup path or a /proc/<pid>/cgroup, outermost first."""
    return list(dict.fromkeys(str(one) for one in _HEX_ID.findall(text)))


def own_container_ids() -> frozenset[str]:
    """Return the ids of the containers that this whole host lives in, where it is one itself."""
    try:
        return frozenset(container_ids(_read("/proc/1/cgroup", 65536)))
    except OSError:
        return frozenset()


def container_of_cgroup(text: str, known: t.Container[str] = (), own: t.Container[str] = ()) -> t.Optional[str]:
    """Return the id of the container that a cgroup path or a whole /proc/<pid>/cgroup belongs to.

    It works for version 1 and 2, for cgroupfs and systemd. Paths of nested containers hold several ids: the innermost
    *known* one counts, else the innermost. Those of *own* are this host.
    """
    best: list[str] = []
    for line in text.splitlines():
        ids = [one for one in container_ids(line) if one not in own]
        known_ids = [one for one in ids if one in known]
        if known_ids:
            return known_ids[-1]
        if len(ids) > len(best):
            best = ids
    return best[-1] if best else None


def _users() -> dict[int, str]:
    """Return the host's user names; the C library would ask LDAP, which may hang."""
    users: dict[int, str] = {}
    try:
        for line in _read("/etc/passwd").splitlines():
            fields = line.split(":")
            if len(fields) > 2 and fields[2].isdecimal():
                users.setdefault(int(fields[2]), fields[0])
    except OSError:
        pass
    return users


def _largest(first: t.Mapping[int, ProcessSample], second: t.Mapping[int, ProcessSample], seconds: float) -> list[tuple[ProcessSample, t.Optional[float]]]:
    """Return the ten largest processes with their CPU percent; a few of the places go to the busiest."""
    ticks_per_second = os.sysconf("SC_CLK_TCK")
    shares: dict[int, t.Optional[float]] = {}
    for pid, sample in second.items():
        before = first.get(pid)
        known = before is not None and before.started == sample.started and seconds > 0
        shares[pid] = round(100.0 * max(0, sample.ticks - (before.ticks if before else 0)) / ticks_per_second / seconds, 1) if known else None
    by_memory = sorted(second, key=lambda pid: second[pid].memory_bytes, reverse=True)
    busy = [pid for pid in sorted(second, key=lambda pid: shares[pid] or 0.0, reverse=True)[:_BUSIEST_PROCESSES] if (shares[pid] or 0.0) >= 10]
    chosen = list(dict.fromkeys([*busy, *by_memory]))[:_LARGEST_PROCESSES]
    return [(second[pid], shares[pid]) for pid in sorted(chosen, key=lambda pid: second[pid].memory_bytes, reverse=True)]


def _process_row(
    sample: ProcessSample, share: t.Optional[float], containers: t.Mapping[str, ContainerRef], own: t.Container[str], users: t.Mapping[int, str]
) -> dict[str, t.Any]:
    identifier: t.Optional[str] = None
    user: t.Optional[str] = None
    try:
        identifier = container_of_cgroup(_read(f"/proc/{sample.pid}/cgroup", 65536), containers, own)
        uid = os.stat(f"/proc/{sample.pid}").st_uid
        # A container has users of its own; the host's name for their number would mislead.
        user = users.get(uid, str(uid)) if identifier is None else str(uid)
    except OSError:
        pass
    container = containers.get(identifier or "")
    return {
        "pid": sample.pid,
        "name": sample.name,
        "user": user,
        "cpu_percent": share,
        "memory_bytes": sample.memory_bytes,
        "container": container.name if container else identifier[:12] if identifier else None,
        "project": container.project if container else None,
        "service": container.service if container else None,
    }


# -- memory ------------------------------------------------------------------------------------------------------------


def parse_meminfo(text: str) -> dict[str, int]:
    """Return the fields of /proc/meminfo in bytes."""
    found = {}
    for line in text.splitlines():
        fields = line.split()
        if len(fields) >= 2 and fields[0].endswith(":") and fields[1].isdecimal():
            found[fields[0][:-1]] = int(fields[1]) * (1024 if fields[-1] == "kB" else 1)
    return found


def memory_facts(fields: t.Mapping[str, int]) -> dict[str, t.Any]:
    """Return the memory facts from /proc/meminfo's *fields*."""
    total = fields.get("MemTotal", 0)
    # Kernels before 3.14 have no MemAvailable.
    available = fields.get("MemAvailable", fields.get("MemFree", 0) + fields.get("Buffers", 0) + fields.get("Cached", 0))
    swap_total = fields.get("SwapTotal", 0)
    swap_used = swap_total - fields.get("SwapFree", 0)
    return {
        "memory_total_bytes": total,
        "memory_available_bytes": min(available, total),
        "memory_used_percent": round(100.0 * (total - min(available, total)) / total, 1) if total else 0.0,
        "swap_total_bytes": swap_total,
        "swap_used_bytes": swap_used,
        "swap_used_percent": round(100.0 * swap_used / swap_total, 1) if swap_total else None,
    }


# -- file systems ------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Mount:
    """One line of /proc/self/mountinfo."""

    number: str
    path: str
    kind: str
    device: str
    read_only: bool
    #: What of the file system is mounted: "/" is all of it.
    root: str = "/"

    @property
    def key(self) -> str:
        """The same for every mount of one file system; subvolumes of btrfs have numbers of their own."""
        return self.device if self.kind in ("btrfs", "zfs") else self.number


def parse_mountinfo(text: str) -> list[Mount]:
    """Return the mounts that /proc/self/mountinfo lists, in its order; bad lines are skipped."""
    mounts = []
    for line in text.splitlines():
        before, separator, after = line.partition(" - ")
        fields, rest = before.split(" "), after.split(" ")
        if not separator or len(fields) < 6 or len(rest) < 3:
            continue
        read_only = "ro" in fields[5].split(",") or "ro" in rest[2].split(",")
        mounts.append(Mount(fields[2], _unescape(fields[4]), rest[0], _unescape(rest[1]), read_only, _unescape(fields[3])))
    return mounts


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found.group(1), 8)), text)


def mount_of(path: str, mounts: t.Sequence[Mount]) -> t.Optional[Mount]:
    """Return the mount that *path* (absolute, without links) lies on: the deepest, of equals the last, which hides the others."""
    best: t.Optional[Mount] = None
    for mount in mounts:
        inside = mount.path == "/" or path == mount.path or path.startswith(mount.path + "/")
        if inside and (best is None or len(mount.path) >= len(best.path)):
            best = mount
    return best


def _is_storage(mount: Mount, root_dir: str) -> bool:
    """Whether *mount* is listed for its own sake; those inside the engine's directory are containers' own views."""
    if mount.path in ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf"):
        return False
    if mount.path.startswith((root_dir.rstrip("/") + "/", "/run/docker/", "/var/lib/containers/storage/", "/var/lib/kubelet/", "/snap/")):
        return False
    return mount.kind in _STORAGE_TYPES or (mount.kind == "tmpfs" and mount.path in _TMPFS_MOUNTS)


@dataclasses.dataclass
class _Place:
    """A file system to look at: where, and what lies on it."""

    mount: Mount
    probe_path: str
    used_for: list[str] = dataclasses.field(default_factory=list)


def _places(mounts: t.Sequence[Mount], purposes: t.Sequence[tuple[str, str]], root_dir: str) -> list[_Place]:
    """Return the file systems to look at; *purposes* are pairs of a path and what it is used for."""
    places: dict[str, _Place] = {}
    for path, purpose in purposes:
        found = mount_of(path, mounts)
        if found is None or found.kind in _READ_ONLY_TYPES:
            continue
        place = places.setdefault(found.key, _Place(found, found.path))
        if purpose not in place.used_for:
            place.used_for.append(purpose)
    # Of several mounts of one file system the whole one stands for it, not a directory of it that is bound elsewhere.
    for mount in sorted(mounts, key=lambda one: (one.root != "/", len(one.path))):
        if _is_storage(mount, root_dir) and mount_of(mount.path, mounts) == mount:
            places.setdefault(mount.key, _Place(mount, mount.path))
    return list(places.values())


def _filesystem_row(place: _Place, limits: HostLimits) -> t.Optional[dict[str, t.Any]]:
    numbers = os.statvfs(place.probe_path)
    if not numbers.f_blocks:
        return None
    used = numbers.f_blocks - numbers.f_bfree
    # As df counts: what is reserved for root is neither used nor available.
    reachable = used + numbers.f_bavail
    used_percent = round(100.0 * used / reachable, 1) if reachable else 100.0
    inodes = round(100.0 * (numbers.f_files - numbers.f_ffree) / numbers.f_files, 1) if numbers.f_files else None
    available = numbers.f_bavail * numbers.f_frsize
    return {
        "mount": place.mount.path,
        "device": place.mount.device,
        "type": place.mount.kind,
        "size_bytes": numbers.f_blocks * numbers.f_frsize,
        "available_bytes": available,
        "used_percent": used_percent,
        "inodes_used_percent": inodes,
        "read_only": place.mount.read_only,
        "used_for": sorted(place.used_for),
        "status": worst([limits.disk_status(used_percent, available), limits.inodes.verdict(inodes) if inodes is not None else "ok"]),
    }


def _purposes(stacks: t.Iterable[Stack], root_dir: str, log_paths: t.Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return pairs of a host path and what it is used for."""
    found = [("/", "root"), (root_dir, "docker")]
    for stack in stacks:
        for container in stack.containers:
            for mount in container.mounts:
                source = mount["source"]
                if mount["type"] not in ("bind", "volume") or mount["read_only"] or not source.startswith("/") or source.startswith(_NO_STORAGE_BELOW):
                    continue
                logs = re.search(r"(?:^|/)logs?(?:/|$)", mount["destination"])
                found.append((source, f"logs:{container.project}" if logs else f"volume:{container.project}/{container.service}"))
            if container.log_path:
                found.append((container.log_path, f"logs:{container.project}"))
    found.extend((path, f"logs:{project}") for project, path in log_paths)
    return found


def _container_tmpfs(stacks: t.Iterable[Stack]) -> list[_Place]:
    """Return the memory file systems that containers ask for; they are in no mount table but the container's."""
    places = []
    for stack in stacks:
        for container in stack.containers:
            if not container.running or container.pid is None:
                continue
            wanted = {one["destination"] for one in container.mounts if one["type"] == "tmpfs"}
            for path in sorted(wanted | set((container.inspect.get("HostConfig") or {}).get("Tmpfs") or {})):
                mount = Mount(f"{container.id}:{path}", f"{container.name}:{path}", "tmpfs", "tmpfs", False)
                places.append(_Place(mount, f"/proc/{container.pid}/root{path}", [f"volume:{container.project}/{container.service}"]))
    return places


# -- the kernel's own words --------------------------------------------------------------------------------------------


class _Timex(ctypes.Structure):
    """The beginning of the kernel's ``struct timex``; the rest is room for what it writes behind."""

    _fields_: t.ClassVar = [
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 512),
    ]


def clock_synchronized() -> t.Optional[bool]:
    """Return whether the kernel holds its clock to be synchronized; ``None`` where it does not say."""
    timex = _Timex()
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else not timex.status & _STA_UNSYNC


@dataclasses.dataclass(frozen=True)
class KernelRecord:
    """One line of the kernel's log; *at* in seconds since the epoch, ``None`` where the line has no time."""

    text: str
    at: t.Optional[float] = None


def parse_kmsg(records: t.Iterable[bytes], boot: float) -> list[KernelRecord]:
    """Return the records of /dev/kmsg; *boot* is the epoch of the kernel's time 0."""
    found = []
    for raw in records:
        head, dummy, text = raw.decode("utf-8", "replace").partition(";")
        fields = head.split(",")
        at = boot + int(fields[2]) / 1e6 if len(fields) > 2 and fields[2].isdecimal() else None
        found.append(KernelRecord(text.split("\n", 1)[0], at))
    return found


def parse_kernel_text(text: str, boot: float) -> list[KernelRecord]:
    """Return the lines of the kernel's buffer as ``syslog(2)`` gives them: ``<6>[ 12.345678] text``."""
    found = []
    for line in text.splitlines():
        matched = re.match(r"(?:<\d+>)?(?:\[\s*(\d{1,12}\.\d{1,9})\] ?)?(.*)", line)
        if matched:
            found.append(KernelRecord(matched.group(2), boot + float(matched.group(1)) if matched.group(1) else None))
    return found


def parse_journal(text: str) -> list[KernelRecord]:
    """Return the lines of ``journalctl -o short-unix``: ``1700000000.123456 host kernel: text``."""
    found = []
    for line in text.splitlines():
        matched = re.match(r"(\d{1,12}\.\d{1,9}) \S+ kernel: (.*)", line)
        if matched:
            found.append(KernelRecord(matched.group(2), float(matched.group(1))))
    return found


def _read_kmsg() -> tuple[list[bytes], bool]:
    """Return all records of the kernel's ring buffer and whether none has been overwritten yet."""
    descriptor = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    records: list[bytes] = []
    size = 0
    try:
        while size < _KERNEL_LOG_LIMIT:
            try:
                record = os.read(descriptor, 16384)
            except BlockingIOError:
                break
            except OSError as error:
                # The record was overwritten while we read: the next read has the following one.
                if error.errno == errno.EPIPE:
                    continue
                raise
            if not record:
                break
            size += len(record)
            records.append(record)
    finally:
        os.close(descriptor)
    return records, bool(records) and records[0].split(b",", 2)[1:2] == [b"0"]


def _read_syslog() -> str:
    """Return the kernel's ring buffer by the system call that ``dmesg`` uses: a container has no /dev/kmsg."""
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(_KERNEL_LOG_LIMIT // 4)
    count = libc.klogctl(3, buffer, len(buffer))
    if count < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return buffer.raw[:count].decode("utf-8", "replace")


def _read_kernel_log(since: float) -> list[KernelRecord]:
    """Return what the kernel said since *since*: from its buffer, and from the journal where the buffer is too young.

    :raises CheckError: ``permission-denied``.
    """
    boot = time.time() - time.clock_gettime(time.CLOCK_MONOTONIC)
    complete = False
    try:
        raw, complete = _read_kmsg()
        records = parse_kmsg(raw, boot)
    except OSError:
        try:
            records = parse_kernel_text(_read_syslog(), boot)
        except OSError as error:
            raise CheckError("kernel log", error.strerror or str(error), "Run as root to see what the kernel has killed.", "permission-denied") from None
    oldest = next((record.at for record in records if record.at is not None), None)
    if complete or boot >= since or (oldest is not None and oldest <= since):
        return records
    try:
        journal = run_command(["journalctl", "-k", "-q", "--no-pager", "-o", "short-unix", "--since", f"@{int(since)}"], _CALL_TIMEOUT_SECONDS)
    except CheckError:
        return records
    return [*parse_journal(journal.text), *records]


_OOM_LINE = re.compile(
    r"oom-kill:constraint=(?P<constraint>\w+)(?:.*?oom_memcg=(?P<limited>[^,]*))?.*?task_memcg=(?P<task>[^,]*),task=(?P<name>.*),pid=(?P<pid>\d{1,10}),uid="
)
_KILLED_LINE = re.compile(r"(Memory cgroup out of memory|Out of memory).*?: Kill(?:ed)? process (\d{1,10}) \((.*?)\)")
_OLD_TASK_LINE = re.compile(r"Task in (\S+) killed as a result of limit of")


def parse_oom_kills(records: t.Iterable[KernelRecord], known: t.Container[str] = (), own: t.Collection[str] = ()) -> list[dict[str, t.Any]]:
    """Return the kills that *records* tell of: ``at``, ``process``, ``pid``, ``container_id`` (12 digits), ``scope``.

    The scope is ``container`` where a container's own limit was the reason, and ``host`` where the host's memory, or a
    limit that is no container's, ran out; the victim may be in a container all the same. Kernels before 5.0 say it in
    other words, which are understood too. Where this host is a container itself, known by *own*, it shares its kernel's
    log with others: only what is known to be its own is told.
    """
    kills: dict[tuple[int, int], dict[str, t.Any]] = {}
    last_task: t.Optional[str] = None

    def add(record: KernelRecord, pid: int, process: str, path: t.Optional[str], limited: bool) -> None:
        if own and not any(one in own or one in known for one in container_ids(path or "")):
            return
        identifier = container_of_cgroup(path, known, own) if path else None
        # The journal and the buffer have the same kill with slightly different times.
        moments = [int(record.at // 10) + step for step in (-1, 0, 1)] if record.at is not None else [0]
        if any((pid, moment) in kills for moment in moments):
            return
        kills[(pid, moments[len(moments) // 2])] = {
            "at": rfc3339(round(record.at, 3)) if record.at is not None else None,
            "process": process,
            "pid": pid,
            "container_id": identifier[:12] if identifier else None,
            "scope": "container" if limited and identifier else "host",
        }

    for record in records:
        matched = _OOM_LINE.search(record.text)
        if matched:
            # Whose limit it was: a container dies of its own, or of the one that all the host's share.
            limit = matched["limited"]
            limited = matched["constraint"] == "CONSTRAINT_MEMCG" and (limit is None or container_of_cgroup(limit, known, own) is not None)
            add(record, int(matched["pid"]), matched["name"], matched["task"], limited)
            continue
        task = _OLD_TASK_LINE.search(record.text)
        if task:
            last_task = task.group(1)
        killed = _KILLED_LINE.search(record.text)
        if killed:
            add(record, int(killed.group(2)), killed.group(3), last_task, killed.group(1).startswith("Memory cgroup"))
            last_task = None
    return list(kills.values())


def kernel_oom_kills(since: float, known: t.Container[str] = ()) -> list[dict[str, t.Any]]:
    """Return the kills since *since* (seconds since the epoch), oldest first, as :func:`parse_oom_kills` has them.

    :raises CheckError: ``permission-denied`` where the kernel's log may not be read.
    """
    records = [record for record in _read_kernel_log(since) if record.at is None or record.at >= since]
    return parse_oom_kills(records, known, own_container_ids())


# -- the engine's disk use ---------------------------------------------------------------------------------------------

_NO_DISK_USE: dict[str, t.Optional[int]] = dict.fromkeys(("images_bytes", "containers_bytes", "volumes_bytes", "build_cache_bytes", "reclaimable_bytes"))


def docker_disk_facts(usage: t.Mapping[str, t.Any]) -> dict[str, t.Optional[int]]:
    """Return the facts from the engine's ``/system/df``, in bytes; sizes the engine does not know count as nothing."""
    images, containers = usage.get("Images") or [], usage.get("Containers") or []
    volumes, cache = usage.get("Volumes") or [], usage.get("BuildCache") or []

    def known(value: t.Any) -> int:
        return max(0, int(value or 0))

    def volume_size(volume: t.Mapping[str, t.Any]) -> int:
        return known((volume.get("UsageData") or {}).get("Size"))

    unused_images = sum(known(one.get("Size")) - known(one.get("SharedSize")) for one in images if not one.get("Containers"))
    stopped = sum(known(one.get("SizeRw")) for one in containers if one.get("State") not in ("running", "paused", "restarting"))
    unused_volumes = sum(volume_size(one) for one in volumes if (one.get("UsageData") or {}).get("RefCount") == 0)
    unused_cache = sum(known(one.get("Size")) for one in cache if not one.get("InUse") and not one.get("Shared"))
    return {
        "images_bytes": known(usage.get("LayersSize")),
        "containers_bytes": sum(known(one.get("SizeRw")) for one in containers),
        "volumes_bytes": sum(volume_size(one) for one in volumes),
        "build_cache_bytes": sum(known(one.get("Size")) for one in cache if not one.get("Shared")),
        "reclaimable_bytes": unused_images + stopped + unused_volumes + unused_cache,
    }


# -- all together ------------------------------------------------------------------------------------------------------


class HostCollector:
    """Collects the ``host`` facts between :meth:`begin` and :meth:`finish`."""

    def __init__(self, limits: t.Optional[HostLimits] = None, sample_seconds: float = 1.0) -> None:
        self.limits = limits or HostLimits()
        self.sample_seconds = sample_seconds
        self._began: t.Optional[float] = None
        self._cpu: t.Optional[CpuTimes] = None
        self._processes: dict[int, ProcessSample] = {}

    def begin(self) -> None:
        """Take the first sample; needs neither engine nor stacks."""
        self._began = time.monotonic()
        self._cpu = parse_cpu_times(_read("/proc/stat"))[0]
        self._processes = sample_processes()

    def finish(
        self,
        stacks: t.Sequence[Stack] = (),
        engine: t.Optional[Engine] = None,
        log_paths: t.Iterable[tuple[str, str]] = (),
        docker_disk: bool = True,
        clock_offset_ms: t.Optional[float] = None,
    ) -> dict[str, t.Any]:
        """Take the second sample, ``sample_seconds`` after the first at the earliest, and return the envelope ``host``.

        *log_paths* are pairs of a project and a host path with logs of it. *docker_disk* asks the engine for its disk
        use where that is cheap. *clock_offset_ms* is what the caller measured against another clock.
        """
        if self._began is None:
            self.begin()
        began = self._began or 0.0
        remote = engine is not None and engine.remote
        local = () if remote else stacks
        containers = {container.id: container for stack in local for container in stack.siblings}
        outcomes = run_side_by_side(
            {
                "filesystems": lambda: self._filesystems(local, None if remote else engine, log_paths),
                "kernel": lambda: kernel_oom_kills(time.time() - _OOM_WINDOW_SECONDS, containers),
                "docker": lambda: self._docker_disk(engine) if docker_disk and engine is not None else None,
            },
            3 * _CALL_TIMEOUT_SECONDS,
        )
        time.sleep(max(0.0, began + self.sample_seconds - time.monotonic()))
        return self._facts(outcomes, containers, time.monotonic() - began, clock_offset_ms)

    def _facts(
        self, outcomes: t.Mapping[str, Outcome[t.Any]], containers: t.Mapping[str, ContainerRef], seconds: float, offset: t.Optional[float]
    ) -> dict[str, t.Any]:
        cpu, count = parse_cpu_times(_read("/proc/stat"))
        processes = sample_processes()
        shares = cpu_shares(self._cpu, cpu) if self._cpu and cpu else None
        load = [float(word) for word in _read("/proc/loadavg").split()[:3]]
        memory = memory_facts(parse_meminfo(_read("/proc/meminfo")))
        errors = [_as_check_error(name, outcome.error) for name, outcome in outcomes.items() if outcome.error is not None and name != "docker"]
        filesystems, unreadable = outcomes["filesystems"].value or ([], [])
        users, own = _users(), own_container_ids()
        facts = {
            "cpu_count": count,
            "load_1m": load[0],
            "load_5m": load[1],
            "load_15m": load[2],
            "load_per_cpu": round(load[1] / max(1, count), 2),
            "cpu_percent": shares[0] if shares else None,
            "cpu_steal_percent": shares[1] if shares else None,
            "cpu_iowait_percent": shares[2] if shares else None,
            **memory,
            "uptime_seconds": float(_read("/proc/uptime").split()[0]),
            "clock": {"synchronized": clock_synchronized(), "offset_ms": offset},
            "filesystems": filesystems,
            "processes": [_process_row(sample, share, containers, own, users) for sample, share in _largest(self._processes, processes, seconds)],
            "kernel_oom_kills": outcomes["kernel"].value or [],
            "docker_disk": outcomes["docker"].value or dict(_NO_DISK_USE),
        }
        return self._envelope(facts, [*errors, *unreadable, *_hidden_processes()])

    def _envelope(self, facts: dict[str, t.Any], errors: t.Sequence[CheckError]) -> dict[str, t.Any]:
        limits = self.limits
        judged = (
            ("memory_used_percent", "%", limits.memory),
            ("swap_used_percent", "%", limits.swap),
            ("load_per_cpu", "", limits.load_per_cpu),
            ("cpu_steal_percent", "%", limits.steal),
        )
        metrics = {name: metric(facts[name], unit, thresholds) for name, unit, thresholds in judged}
        metrics["cpu_percent"] = metric(facts["cpu_percent"], "%")
        metrics["cpu_iowait_percent"] = metric(facts["cpu_iowait_percent"], "%")
        fullest = max(facts["filesystems"], key=lambda one: t.cast(float, one["used_percent"]), default=None)
        if fullest is not None:
            metrics["disk_used_percent"] = metric(fullest["used_percent"], "%", limits.disk)
        verdicts = [thresholds.verdict(facts[name]) for name, dummy, thresholds in judged if facts[name] is not None]
        verdicts += [one["status"] for one in facts["filesystems"]]
        verdicts += ["unknown" for dummy in errors]
        disk = f", {fullest['mount']} {fullest['used_percent']:g} % full" if fullest else ""
        summary = f"memory {facts['memory_used_percent']:g} % used, load {facts['load_per_cpu']:g} per CPU{disk}"
        return envelope(worst(verdicts), summary, metrics, errors, **facts)

    def _filesystems(
        self, stacks: t.Sequence[Stack], engine: t.Optional[Engine], log_paths: t.Iterable[tuple[str, str]]
    ) -> tuple[list[dict[str, t.Any]], list[CheckError]]:
        root_dir = "/var/lib/docker"
        if engine is not None:
            try:
                root_dir = str(engine.info().get("DockerRootDir") or root_dir)
            except CheckError:
                pass
        mounts = parse_mountinfo(_read("/proc/self/mountinfo", 8 * 1024 * 1024))
        purposes = [(os.path.realpath(path), purpose) for path, purpose in _purposes(stacks, root_dir, log_paths)]
        places = [*_places(mounts, purposes, root_dir), *_container_tmpfs(stacks)]
        # A network file system whose server is gone hangs whoever asks.
        work = {str(number): lambda place=place: _filesystem_row(place, self.limits) for number, place in enumerate(places)}
        outcomes = run_side_by_side(work, _CALL_TIMEOUT_SECONDS)
        rows, errors = [], []
        for number, place in enumerate(places):
            outcome = outcomes[str(number)]
            if outcome.value is not None:
                rows.append(outcome.value)
            elif isinstance(outcome.error, CheckError):
                hint = f"Its server may be gone: umount -l {place.mount.path}, or bring it back."
                errors.append(CheckError(place.mount.path, f"{place.mount.kind} file system does not answer", hint, "timeout"))
            elif place.used_for and not isinstance(outcome.error, (PermissionError, FileNotFoundError, type(None))):
                errors.append(CheckError(place.mount.path, str(outcome.error), "Check the mount.", "unreadable"))
        return sorted(rows, key=lambda row: str(row["mount"])), errors

    @staticmethod
    def _docker_disk(engine: Engine) -> t.Optional[dict[str, t.Optional[int]]]:
        """Return the engine's disk use, ``None`` where asking is not cheap: it walks through every volume."""
        info = engine.info()
        if int(info.get("Containers") or 0) > 100 or int(info.get("Images") or 0) > 200:
            return None
        usage = run_side_by_side({"disk usage": engine.disk_usage}, _CALL_TIMEOUT_SECONDS)["disk usage"].value
        return docker_disk_facts(usage) if usage else None


def _as_check_error(name: str, error: BaseException) -> CheckError:
    return error if isinstance(error, CheckError) else CheckError(name, f"{type(error).__name__}: {error}", "", "unreadable")


def _hidden_processes() -> list[CheckError]:
    """Return the error that says that other users' processes are hidden from us, where they are."""
    if os.geteuid() == 0 or not re.search(r"^\S+ /proc proc \S*hidepid=(?:1|2|4|noaccess|invisible|ptraceable)", _read("/proc/self/mounts"), re.MULTILINE):
        return []
    return [CheckError("/proc", "mounted with hidepid: other users' processes are hidden", "Run as root to see all processes.", "permission-denied")]


def collect_host(
    stacks: t.Sequence[Stack] = (), engine: t.Optional[Engine] = None, limits: t.Optional[HostLimits] = None, **options: t.Any
) -> dict[str, t.Any]:
    """Return the envelope ``host`` at once: both samples, a second apart; *options* as of :meth:`HostCollector.finish`."""
    collector = HostCollector(limits)
    collector.begin()
    return collector.finish(stacks, engine, **options)
