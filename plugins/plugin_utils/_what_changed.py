# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What is different on a host since the last report: images, configuration, ``.env``, migrations, limits, restarts.

It is no finding: most of it was meant to be. Beside a cause it is the first thing to ask about. Pure.
"""

from __future__ import annotations

import typing as t

from ._text import harmless, human_value

Facts = t.Mapping[str, t.Any]
Change = dict[str, t.Any]

_MAXIMUM = 100

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
        "at": "（{at}）",
        "colon": " ",
    },
}


def what_changed(before: Facts, now: Facts) -> list[Change]:
    """Return what differs between two times' facts of one host, each with *object*, *what*, *before*, *after* and *at*.

    Where a collector gave nothing, then or now, nothing is said of it.
    """
    return [*_containers(before, now), *_env_files(before, now), *_migrations(before, now)][:_MAXIMUM]


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
    return changes


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
