# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What is different on a host since the last report: images, configuration, ``.env``, migrations, limits, restarts, memory, connections,
and errors of a shape that was not there.

It is no finding: most of it was meant to be. Beside a cause it is the first thing to ask about. Pure.
"""

from __future__ import annotations

import typing as t

from ._text import harmless, human_value

Facts = t.Mapping[str, t.Any]
Change = dict[str, t.Any]

_MAXIMUM = 100
#: A program breathes. Only what is half as much again, and worth looking at, is a change.
_FACTOR = 1.5
_LEAST_MEMORY_BYTES = 64 << 20
_LEAST_CONNECTIONS = 10
_MAXIMUM_SHAPES = 3

_TEXTS: dict[str, dict[str, str]] = {
    "en": {
        "service-added": "is new",
        "service-removed": "is gone",
        "image": "runs another image: {before} → {after}",
        "configuration": "was recreated with another configuration",
        "recreated": "was recreated",
        "limit": "has another limit ({name}): {before} → {after}",
        "restarts": "was restarted by its policy: {before} → {after} times",
        "restarted": "was restarted",
        "env-file": "does not have what was changed in {after} yet",
        "migration": "its database was migrated: {before} → {after}",
        "migration-heads": "its code brings other migrations: {before} → {after}",
        "memory_bytes": "takes another amount of memory: {before} → {after}",
        "connections": "has another number of connections: {before} → {after}",
        "error-shape": "logs an error that was not there before: {after}",
        "others": "+{count} more",
        "at": " (at {at})",
        "colon": " ",
    },
    "zh_TW": {
        "service-added": "是新出現的服務",
        "service-removed": "已不存在",
        "image": "換了映像檔：{before} → {after}",
        "configuration": "以不同的設定重新建立",
        "recreated": "已重新建立",
        "limit": "的限制（{name}）已變更：{before} → {after}",
        "restarts": "被重新啟動：{before} → {after} 次",
        "restarted": "已重新啟動",
        "env-file": "尚未套用 {after} 的變更",
        "migration": "的資料庫已遷移：{before} → {after}",
        "migration-heads": "的程式帶來不同的遷移：{before} → {after}",
        "memory_bytes": "的記憶體用量明顯不同：{before} → {after}",
        "connections": "的連線數明顯不同：{before} → {after}",
        "error-shape": "記錄了先前沒有的錯誤：{after}",
        "others": "另 {count} 項",
        "at": "（{at}）",
        "colon": " ",
    },
}


def what_changed(before: Facts, now: Facts) -> list[Change]:
    """Return what differs between two times' facts of one host, each with *object*, *what*, *before*, *after* and *at*.

    Where a collector gave nothing, then or now, nothing is said of it.
    """
    found = [*_containers(before, now), *_env_files(before, now), *_migrations(before, now), *_connections(before, now), *_error_shapes(before, now)]
    return found[:_MAXIMUM]


def changes_of(row: Facts) -> list[Change]:
    """Return the changes in a *row* of a report; an entry that is none of those known here is left out."""
    listed = row.get("what_changed")
    return [change for change in listed if _is_known(change)] if isinstance(listed, list) else []


def _is_known(change: t.Any) -> bool:
    if not isinstance(change, dict) or not {"object", "what", "before", "after", "at"} <= change.keys():
        return False
    what, at = change["what"], change["at"]
    named = isinstance(what, str) and (what.startswith("limit-") or (what in _TEXTS["en"] and what not in ("limit", "others", "at", "colon")))
    return named and isinstance(change["object"], str) and (at is None or isinstance(at, str))


def news(changes: t.Sequence[Change], name: str, of_stack: bool, language: str, maximum: int) -> list[str]:
    """Return at most *maximum* lines, and one more that counts the rest, of what changed near the object *name*: in all of its stack, or only of itself."""
    near = [change for change in changes_near(changes, name) if of_stack or change["object"] == name]
    lines = [told(change, language) for change in near[:maximum]]
    return [*lines, _TEXTS[language]["others"].format(count=len(near) - maximum)] if len(near) > maximum else lines


def changes_near(changes: t.Iterable[Change], name: str) -> list[Change]:
    """Return those of *changes* that are in the same stack as the object *name*: its own first, then the latest."""
    project = name.partition("/")[0]
    near = sorted((change for change in changes if change["object"].partition("/")[0] == project), key=lambda change: change["at"] or "", reverse=True)
    return sorted(near, key=lambda change: change["object"] != name)


def told(change: Change, language: str) -> str:
    """Return one change as a line, safe for a terminal."""
    texts = _TEXTS[language]
    kind, dummy, limit = change["what"].partition("limit-")
    values = {key: human_value(limit if limit else key, change[key], language) for key in ("before", "after")}
    text = texts["limit" if limit else kind].format(name=limit, **values)
    at = texts["at"].format(at=change["at"].replace("T", " ")[:16]) if change["at"] else ""
    return harmless(f"{change['object']}{texts['colon']}{text}{at}", 300)


def _change(name: str, what: str, before: t.Any, after: t.Any, at: t.Any = None) -> Change:
    return {"object": name, "what": what, "before": before, "after": after, "at": at if isinstance(at, str) else None}


def _listed(facts: Facts, *keys: str) -> t.Optional[list[dict[str, t.Any]]]:
    value: t.Any = facts
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return [element for element in value if isinstance(element, dict)] if isinstance(value, list) else None


def _by_object(elements: t.Sequence[Facts]) -> dict[str, Facts]:
    """Return *elements* by service; of several replicas the first stands for all."""
    found: dict[str, Facts] = {}
    for element in elements:
        found.setdefault(f"{element.get('project')}/{element.get('service')}", element)
    return found


def _containers(before: Facts, now: Facts) -> list[Change]:
    then, present = _listed(before, "compose", "containers"), _listed(now, "compose", "containers")
    if then is None or present is None:
        return []
    old, new = ({name: container for name, container in _by_object(some).items() if not container.get("oneoff")} for some in (then, present))
    changes = [_change(name, "service-added", None, new[name].get("state"), new[name].get("created_at")) for name in new if name not in old]
    changes += [_change(name, "service-removed", old[name].get("state"), None) for name in old if name not in new]
    for name in new:
        if name in old:
            changes += _container(name, old[name], new[name])
    return changes


def _container(name: str, old: Facts, new: Facts) -> list[Change]:
    changes = []
    created = new.get("created_at")
    image_before, image = old.get("image") or {}, new.get("image") or {}
    if image.get("id") and image_before.get("id") and image["id"] != image_before["id"]:
        changes.append(_change(name, "image", _image(image_before), _image(image), created))
    if _differ(old, new, "config_hash"):
        changes.append(_change(name, "configuration", None, None, created))
    if not changes and _differ(old, new, "id"):
        changes.append(_change(name, "recreated", None, None, created))
    limits_before, limits = old.get("limits") or {}, new.get("limits") or {}
    for key in ("memory_bytes", "cpus", "pids"):
        if key in limits and key in limits_before and limits[key] != limits_before[key]:
            changes.append(_change(name, f"limit-{key}", limits_before[key], limits[key], created))
    restarts, restarts_before = new.get("restart_count"), old.get("restart_count")
    if not _differ(old, new, "id") and isinstance(restarts, int) and isinstance(restarts_before, int) and restarts > restarts_before:
        changes.append(_change(name, "restarts", restarts_before, restarts, new.get("started_at")))
    elif not _differ(old, new, "id") and _differ(old, new, "started_at"):
        changes.append(_change(name, "restarted", old["started_at"], new["started_at"], new["started_at"]))
    memory_before, memory = ((container.get("stats") or {}).get("memory_bytes") for container in (old, new))
    if _is_much(memory_before, memory, _LEAST_MEMORY_BYTES):
        changes.append(_change(name, "memory_bytes", memory_before, memory))
    return changes


def _is_much(before: t.Any, after: t.Any, least: float) -> bool:
    if any(isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0 for value in (before, after)):
        return False
    less, more = sorted((before, after))
    return bool(more - less >= least and more >= less * _FACTOR)


def _differ(old: Facts, new: Facts, key: str) -> bool:
    return bool(old.get(key) and new.get(key) and old[key] != new[key])


def _image(image: Facts) -> str:
    identity = str(image.get("id")).rpartition(":")[2][:12]
    return f"{image.get('reference')} ({identity})"


def _env_files(before: Facts, now: Facts) -> list[Change]:
    then, present = _listed(before, "compose", "projects"), _listed(now, "compose", "projects")
    if then is None or present is None:
        return []
    old = {project.get("name"): set(project.get("env_newer_than_containers") or ()) for project in then}
    changes = []
    for project in present:
        fresh = sorted(set(project.get("env_newer_than_containers") or ()) - old.get(project.get("name"), set()))
        changes += [_change(f"{project.get('name')}/{service}", "env-file", None, project.get("env_file")) for service in fresh]
    return changes


def _migrations(before: Facts, now: Facts) -> list[Change]:
    then, present = _listed(before, "migrations", "applications"), _listed(now, "migrations", "applications")
    if then is None or present is None:
        return []
    old, new = _by_object(then), _by_object(present)
    changes = []
    for name in new:
        for key, what in (("current", "migration"), ("heads", "migration-heads")):
            was, is_now = (old.get(name) or {}).get(key), new[name].get(key)
            if was and is_now and sorted(was) != sorted(is_now):
                changes.append(_change(name, what, ", ".join(was), ", ".join(is_now)))
    return changes


def _connections(before: Facts, now: Facts) -> list[Change]:
    then, present = ({_owner(instance): instance for instance in _listed(facts, "postgres", "instances") or ()} for facts in (before, now))
    changes = []
    for name, instance in present.items():
        was, is_now = ((one.get("connections") or {}).get("used") for one in (then.get(name) or {}, instance))
        if _is_much(was, is_now, _LEAST_CONNECTIONS):
            changes.append(_change(name, "connections", was, is_now))
    return changes


def _owner(element: Facts) -> str:
    if element.get("project") and element.get("service"):
        return f"{element['project']}/{element['service']}"
    return str(element.get("name"))


def _error_shapes(before: Facts, now: Facts) -> list[Change]:
    """Return the shapes of errors that no log of their service had, the most frequent first; a log that is new here is no news."""
    then, present = _shapes(before), _shapes(now)
    changes = []
    for name, shapes in present.items():
        if name in then:
            fresh = sorted((shape for shape in shapes if shape not in then[name]), key=lambda shape: (-shapes[shape][0], shape))
            changes += [_change(name, "error-shape", None, shape, shapes[shape][1]) for shape in fresh[:_MAXIMUM_SHAPES]]
    return changes


def _shapes(facts: Facts) -> dict[str, dict[str, tuple[int, t.Any]]]:
    """Return the shapes of errors, with how many and since when, by the service whose logs could be read."""
    found: dict[str, dict[str, tuple[int, t.Any]]] = {}
    for source in _listed(facts, "logs", "sources") or ():
        groups = _listed(source, "groups")
        if groups is None or source.get("status") == "unknown":
            continue
        shapes = found.setdefault(_owner(source), {})
        for group in groups:
            if isinstance(group.get("shape"), str) and group.get("level") != "warning":
                count = group.get("count")
                shapes.setdefault(group["shape"], (count if isinstance(count, int) else 0, group.get("first_seen")))
    return found
