# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""From what the modules of a security scan returned on a host to one list of findings, each with what to do about it."""

from __future__ import annotations

import dataclasses
import hashlib
import typing as t
import urllib.parse

from ..module_utils._envelope import worst
from ..module_utils._ignores import IgnoreList
from ..module_utils._redaction import Redactor
from ..module_utils._scanner_output import SEVERITIES
from ._text import harmless

Facts = dict[str, t.Any]

#: The parts of a scan, in the order of the report.
SECTIONS: tuple[str, ...] = ("images", "containers", "logs", "exposure", "endpoints")
FINDING_SEVERITIES: tuple[str, ...] = ("critical", "warning", "info")

_REACHED = frozenset({"reachable", "restricted"})
_CLASS_WORDS = {
    "exposed_bypass": "is open to everybody although {engine} says no",
    "exposed_no_firewall": "is open to everybody, and the host has no firewall",
    "exposed_unexpected": "is reachable and not expected to be",
    "loopback_leaky": "is published on the host itself, but neighbours in its network reach it",
}
_DOCUMENTATION_PATHS = ("/docs", "/redoc", "/openapi.json")
_SHOWN_PACKAGES = 5
_SHOWN_UPDATES = 8


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that is wrong; *names* are what an entry of the ignore list may call its object."""

    section: str
    rule: str
    severity: str
    object: str
    title: str
    reason: str
    evidence: str = ""
    fix: tuple[str, ...] = ()
    compose: str = ""
    names: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The same from run to run, as long as it is about the same."""
        return hashlib.sha256("\0".join((self.section, self.rule, self.object)).encode()).hexdigest()[:16]

    def as_dict(self) -> Facts:
        """Return it as it stands in a report."""
        shown = dataclasses.asdict(self)
        del shown["names"]
        return {"id": self.id, **shown, "fix": list(self.fix)}


@dataclasses.dataclass(frozen=True)
class NotKnown:
    """Something that nobody could look at, which is not the same as that nothing is wrong with it."""

    section: str
    object: str
    reason: str
    hint: str = ""

    def as_dict(self) -> Facts:
        """Return it as it stands in a report."""
        return dataclasses.asdict(self)


Found = t.Union[Finding, NotKnown]


def judge_host(parts: t.Mapping[str, t.Optional[Facts]], ignore: IgnoreList) -> Facts:
    """Return what is to be said of one host: its ``findings``, what is ``unknown``, what is ``ignored``, and its ``status``.

    *parts* are the results of the modules by section; one that is ``None`` was not asked for.
    """
    found: list[Found] = []
    for section in SECTIONS:
        result = parts.get(section)
        if result is None:
            continue
        if result.get("failed") or "status" not in result:
            found.append(NotKnown(section, section, harmless(str(result.get("msg") or "it gave no result"), 500), "See the play's output."))
            continue
        found.extend(_READERS[section](result, parts))
        found.extend(_errors(section, result))
    findings, ignored = _sorted_out(found, ignore)
    unknown = list(dict.fromkeys(one for one in found if isinstance(one, NotKnown)))
    known_ignored = [one for section in ("images", "containers") for one in _ignored_on_host((parts.get(section) or {}), section)]
    counts = {severity: sum(one.severity == severity for one in findings) for severity in FINDING_SEVERITIES}
    status = worst([*(one.severity for one in findings if one.severity != "info"), *("unknown" for dummy in unknown)])
    return {
        "status": status,
        "summary": {**counts, "unknown": len(unknown), "ignored": len(ignored) + len(known_ignored)},
        "findings": [one.as_dict() for one in findings],
        "unknown": [one.as_dict() for one in unknown],
        "ignored": [*known_ignored, *ignored],
        "ignore_expired": [entry.as_dict() for entry in ignore.expired],
        "images": list((parts.get("images") or {}).get("images") or []),
        "clients": list((parts.get("logs") or {}).get("clients") or []),
        "endpoint_map": endpoint_map((parts.get("logs") or {}).get("clients") or []),
        "requests": (parts.get("logs") or {}).get("metrics") or {},
        "window_seconds": (parts.get("logs") or {}).get("window_seconds"),
        "ports": [_port_row(row) for row in (parts.get("exposure") or {}).get("ports") or []],
    }


def _sorted_out(found: t.Sequence[Found], ignore: IgnoreList) -> tuple[list[Finding], list[Facts]]:
    kept: dict[str, Finding] = {}
    ignored: list[Facts] = []
    for one in found:
        if isinstance(one, NotKnown):
            continue
        entry = ignore.find(one.rule, (one.object, *one.names))
        if entry is None:
            kept.setdefault(one.id, one)
        else:
            ignored.append({"section": one.section, "id": one.rule, "object": one.object, "reason": entry.reason, "expires": entry.expires.isoformat()})
    rank = {one: position for position, one in enumerate(kept)}
    ordered = sorted(kept.values(), key=lambda one: (SECTIONS.index(one.section), FINDING_SEVERITIES.index(one.severity), rank[one.id]))
    return ordered, ignored


def _ignored_on_host(result: Facts, section: str) -> t.Iterator[Facts]:
    for one in result.get("ignored") or []:
        yield {"section": section, **one}
    for image in result.get("images") or []:
        for one in image.get("ignored") or []:
            yield {"section": section, "object": image["image"], **one}


def _errors(section: str, result: Facts) -> t.Iterator[NotKnown]:
    for error in result.get("errors") or []:
        yield NotKnown(section, harmless(str(error.get("source"))), harmless(str(error.get("reason")), 500), harmless(str(error.get("hint") or ""), 500))


# -- images ------------------------------------------------------------------------------------------------------------


def _images(result: Facts, dummy: t.Mapping[str, t.Any]) -> t.Iterator[Found]:
    missing = result.get("scanner_missing")
    if missing and missing.get("code") == "not-installed":
        yield NotKnown("images", "vulnerabilities", f"{missing['source']}: {missing['reason']}", str(missing["hint"]))
    for image in result["images"]:
        yield from _image(image, told=bool(missing))


def _image(image: Facts, told: bool) -> t.Iterator[Found]:
    name, services = harmless(str(image["image"])), image["services"]
    whose = f"{name} ({', '.join(services)})" if services else name
    names = (image["id"], *services)
    error, updates = image.get("error"), image["updates"]
    if error and not (told and not image["scanned"]):
        yield NotKnown("images", whose, harmless(str(error["reason"]), 500), str(error["hint"]))
    if image["scanned"] and image["vulnerabilities"]:
        yield _vulnerable(image, name, whose, names)
    if image["end_of_life"]:
        yield Finding(
            "images", "image-end-of-life", "warning", name, f"{whose} is made from {image['os']}, which gets no fixes any more",
            "What is found in it from now on stays in it, and most of that no scanner knows of.", image["os"], ("Build it from a newer release.",), names=names,
        )  # fmt: skip
    if updates["reason"] and updates["asked"] and not image["scanned"]:
        yield NotKnown("images", f"pending updates of {whose}", harmless(str(updates["reason"]), 500), str(updates["hint"]))
    if updates["security"]:
        yield _pending(image, name, whose, names)
    if (image.get("statuses") or {}).get("age") == "warning":
        yield Finding(
            "images", "image-old", "warning", name, f"the base of {whose} is {image['age_days']:.0f} days old",
            "Fixes of the distribution get into an image only when it is built anew on a new base.", str(image["base_created_at"] or image["created_at"]),
            (_renew(image),), names=names,
        )  # fmt: skip


def _renew(image: Facts) -> str:
    if image.get("source") == "registry":
        what = "Pull it anew; where that brings nothing newer, name a newer release of it in the Compose file first"
    else:
        what = "Build it anew on a fresh base"
    # An image that no stack runs has no project to do it in.
    return f"{what}: `{image['renew']}`" if image.get("renew") else f"{what}."


def _vulnerable(image: Facts, name: str, whose: str, names: tuple[str, ...]) -> Finding:
    counts = ", ".join(f"{image['counts'][severity]} {severity}" for severity in SEVERITIES if image["counts"][severity])
    status = (image.get("statuses") or {}).get("vulnerabilities")
    fixable = [one for one in image["vulnerabilities"] if one["fixed"]]
    worst_first = [*fixable, *(one for one in image["vulnerabilities"] if not one["fixed"])][:_SHOWN_PACKAGES]
    shown = "; ".join(f"{one['package']} {one['installed']} {one['id']} ({one['severity']}, {_fixed(one)})" for one in worst_first)
    fix = (
        (_renew(image),) if fixable else ("There is no fixed version yet: leave the package out where it is not needed, or ignore it with a reason and a day.",)
    )
    return Finding(
        "images", "image-vulnerable", status if status in ("critical", "warning") else "info", name,
        f"{whose} has {counts} vulnerabilities, {len(fixable)} of them fixed in a newer version", "Each of them is public, and so are programs that use it.",
        harmless(shown, 1000), fix, names=names,
    )  # fmt: skip


def _fixed(vulnerability: Facts) -> str:
    return f"fixed in {vulnerability['fixed']}" if vulnerability["fixed"] else "no fix yet"


def _pending(image: Facts, name: str, whose: str, names: tuple[str, ...]) -> Finding:
    packages = [package for package in image["updates"]["packages"] if package["security"]]
    shown = ", ".join(f"{package['package']} {package['installed']} → {package['candidate']}" for package in packages[:_SHOWN_UPDATES])
    more = f" (+{len(packages) - _SHOWN_UPDATES})" if len(packages) > _SHOWN_UPDATES else ""
    severity = "warning" if (image.get("statuses") or {}).get("updates") == "warning" else "info"
    return Finding(
        "images", "pending-update", severity, name, f"{whose} lacks {len(packages)} security updates of {image['os'] or 'its distribution'}",
        "The distribution has published fixes that are not in the image.", harmless(shown, 1000) + more, (_renew(image),), names=names,
    )  # fmt: skip


# -- containers --------------------------------------------------------------------------------------------------------


def _containers(result: Facts, parts: t.Mapping[str, t.Any]) -> t.Iterator[Found]:
    verdicts = _verdicts(parts.get("exposure"))
    for row in result["findings"]:
        severity, note = row["severity"], ""
        reached = verdicts.get((row["project"], row["service"]), set())
        if row["rule"] == "database-published" and reached and not reached & _REACHED and "unknown" not in reached:
            severity, note = "warning", " Now the host's rules keep everybody out."
        if row["rule"] == "debug-mode" and reached & _REACHED:
            severity, note = "critical", " Its port can be reached from outside."
        # A service may have it more than once, each with another thing.
        place = f"{row['object']} {row['evidence']}" if row["rule"] in _MORE_THAN_ONCE else row["object"]
        yield Finding(
            "containers", row["rule"], severity, place, row["title"], row["reason"] + note, row["evidence"], compose=row["compose"],
            names=(row["object"], row["service"]),
        )  # fmt: skip


_MORE_THAN_ONCE = frozenset({"host-path", "database-published", "engine-socket", "unconfined"})


def _verdicts(exposure: t.Optional[Facts]) -> dict[tuple[t.Any, t.Any], set[str]]:
    found: dict[tuple[t.Any, t.Any], set[str]] = {}
    for row in (exposure or {}).get("ports") or []:
        found.setdefault((row.get("project"), row.get("service")), set()).add(str(row.get("verdict")))
    return found


# -- logs --------------------------------------------------------------------------------------------------------------


def _logs(result: Facts, dummy: t.Mapping[str, t.Any]) -> t.Iterator[Found]:
    for row in result["findings"]:
        place = harmless(str(row["stack"] or row["log"]))
        if row["status"] == "unknown":
            yield NotKnown("logs", f"{place}: {row['rule']}", harmless(str(row["summary"])), str(row["hint"]))
            continue
        clients = ", ".join(f"{client['address']} ({client['count']})" for client in row["clients"])
        paths = ", ".join(f"{path['path']} ({path['count']})" for path in row["paths"])
        evidence = "; ".join(part for part in (f"clients: {clients}" if clients else "", f"endpoints: {paths}" if paths else "", *row["samples"][:1]) if part)
        names = (row["log"], *row["also_in"], *(client["address"] for client in row["clients"]))
        yield Finding(
            "logs", row["rule"], row["status"], place, f"{place}: {harmless(str(row['summary']))}",
            f"Seen in {harmless(str(row['log']))}, {row['first_at'] or '?'} to {row['last_at'] or '?'}.", harmless(evidence, 1000),
            tuple(one for one in (str(row["hint"]),) if one), names=names,
        )  # fmt: skip


def endpoint_map(clients: t.Iterable[Facts]) -> list[Facts]:
    """Return by endpoint what clients asked for, from the table of clients: how often, how many of them, and how it was answered."""
    endpoints: dict[tuple[str, str], Facts] = {}
    for client in clients:
        for one in client["endpoints"]:
            row = endpoints.setdefault(
                (client["stack"], one["endpoint"]), {"stack": client["stack"], "endpoint": one["endpoint"], "requests": 0, "clients": 0, "statuses": {}}
            )
            row["requests"] += one["count"]
            row["clients"] += 1
            for status, count in one["statuses"].items():
                row["statuses"][status] = row["statuses"].get(status, 0) + count
    return sorted(endpoints.values(), key=lambda row: (-row["requests"], row["stack"], row["endpoint"]))


# -- exposure ----------------------------------------------------------------------------------------------------------


def _exposure(result: Facts, parts: t.Mapping[str, t.Any]) -> t.Iterator[Found]:
    for row in result["ports"]:
        owner = harmless(str(row.get("label") or row.get("container") or row.get("process") or "?"), 60)
        place = f"{owner}:{row['host_port']}"
        if row["status"] == "unknown":
            yield NotKnown("exposure", f"{place}/{row['protocol']} {row['family']}", harmless(str(row.get("reason") or "unknown"), 500), "Run with --become.")
        elif row["status"] != "ok":
            yield _open_port(row, owner, place)
    yield from _documentation(result, parts.get("endpoints"))


def _open_port(row: Facts, owner: str, place: str) -> Finding:
    engine = str((row.get("policy") or {}).get("engine") or "the firewall")
    words = _CLASS_WORDS.get(str(row["class"]), "can be reached from outside").format(engine=engine)
    rules = "; ".join(str(one.get("rule")) for one in row.get("evidence") or [])
    fixes = tuple(_step(one) for one in (row.get("fix") or [])[:2])
    return Finding(
        "exposure", f"port-{str(row['class']).replace('_', '-')}", row["status"], place, f"port {row['host_port']}/{row['protocol']} of {owner} {words}",
        f"Reachable from {', '.join(row.get('reachable_from') or []) or 'outside'} by the host's own rules; a filter before the host cannot be seen.",
        harmless(rules, 600), fixes, names=(owner,),
    )  # fmt: skip


def _step(fix: Facts) -> str:
    """Return one way to close a port; what belongs into the Compose file is no command."""
    text, commands = str(fix["text"]), [str(one) for one in fix.get("commands") or []]
    written = [one for one in commands if one.startswith('"')]
    if written:
        text = f"{text.rstrip('.').removesuffix(', and apply that')}: {', '.join(written)}. Then apply that:"
    return " ".join([text, *(f"`{one}`" for one in commands if one not in written)])


def _documentation(result: Facts, endpoints: t.Optional[Facts]) -> t.Iterator[Finding]:
    """Yield API documentation that somebody outside reads."""
    for row in (endpoints or {}).get("endpoints") or []:
        parts = urllib.parse.urlsplit(row["url"])
        if parts.path not in _DOCUMENTATION_PATHS or row["http_status"] != 200:
            continue
        port = parts.port or (443 if parts.scheme == "https" else 80)
        verdicts = {str(one["verdict"]) for one in result["ports"] if one["host_port"] == port and (one.get("service") in (row["service"], None))}
        if not verdicts & (_REACHED | {"unknown"}):
            continue
        sure = bool(verdicts & _REACHED)
        owner = f"{row['project']}/{row['service']}" if row["service"] else parts.netloc
        yield Finding(
            "exposure", "api-docs-public", "warning", f"{owner}:{port}{parts.path}",
            f"{parts.path} of {owner} answers on port {port}, which {'can be reached' if sure else 'may be reachable'} from outside",
            "It lists every endpoint with its parameters for whoever looks for one that is not protected.", row["url"],
            ("Switch it off outside of development, by FastAPI(docs_url=None, redoc_url=None, openapi_url=None), or let the proxy ask for a login.",),
            names=(owner, str(row["service"])),
        )  # fmt: skip


def _port_row(row: Facts) -> Facts:
    return {
        name: row.get(name)
        for name in ("label", "host_port", "protocol", "family", "host_ip", "status", "class", "verdict", "reachable_from", "project", "service")
    }


# -- endpoints ---------------------------------------------------------------------------------------------------------


def _endpoints(result: Facts, dummy: t.Mapping[str, t.Any]) -> t.Iterator[Found]:
    redactor = Redactor(())
    for row in result["endpoints"]:
        # What is only found is diagnose's to judge; a declared one says what it must answer.
        if row["origin"] == "declared" and row["failure"] not in (None, "slow"):
            yield _unexpected(row, harmless(redactor.text(str(row["message"])), 500))
        yield from _tls(row)


def _unexpected(row: Facts, message: str) -> Finding:
    name, kind = harmless(str(row["name"])), row.get("token")
    answered = row["http_status"] is not None
    evidence = f"{row['method']} {row['url']}"
    if kind in ("invalid", "expired", "missing") and answered and row["http_status"] < 400:
        return Finding(
            "endpoints", f"token-{kind}-accepted", "critical", name, f"{name}: {message}", "Whoever asks gets in: the token does not protect this endpoint.",
            evidence, (_TOKEN_FIXES[kind],),
        )  # fmt: skip
    if kind == "valid" and row["http_status"] in (401, 403):
        return Finding(
            "endpoints", "token-valid-refused", "critical", name, f"{name}: {message}", "Who may use the endpoint cannot.", evidence,
            ("See the service's log for its reason (expired, other secret, clock, audience), and make the token in the vault anew.",),
        )  # fmt: skip
    rule = f"token-{kind}-unexpected" if kind else "tls-invalid" if row["failure"] == "tls-error" else "endpoint-unexpected"
    return Finding(
        "endpoints", rule, "critical" if rule == "tls-invalid" else "warning", name, f"{name}: {message}", "It does not answer as it was declared to.", evidence
    )


_TOKEN_FIXES = {
    "missing": "Add the authentication dependency to the route, or to its router.",
    "invalid": "Verify the signature with the algorithm that you issue by: jwt.decode(token, SECRET, algorithms=['HS256']), never verify_signature=False.",
    "expired": "Verify exp: leave verify_exp on, and require the claim.",
}


def _tls(row: Facts) -> t.Iterator[Finding]:
    name, days = harmless(str(row["name"])), row.get("tls_days_left")
    status = row["status"] if row["failure"] is None and row["status"] in ("warning", "critical") else ""
    # Of those that were only found, certificates are not verified.
    if days is not None and row["failure"] != "tls-error" and (status or days < 0):
        yield Finding(
            "endpoints", "tls-expires", status or "critical", name, f"{name}: the certificate {'has ended' if days < 0 else f'ends in {days:.0f} days'}",
            "From then on clients refuse to connect.", f"{row['url']} until {row['tls_expires_at']}",
            ("Renew it, and see why that did not happen by itself: `certbot renew --dry-run`",),
        )  # fmt: skip
    if row.get("tls_old_versions"):
        spoken = ", ".join(row["tls_old_versions"])
        yield Finding(
            "endpoints", "tls-old-version", "warning", name, f"{name}: the server agrees to {spoken}",
            "They are withdrawn (RFC 8996): whoever is on the way can choose them.", row["url"],
            ("Let the server speak TLS 1.2 and newer alone, for example by ssl_protocols TLSv1.2 TLSv1.3; in nginx.",),
        )  # fmt: skip


_READERS: dict[str, t.Callable[[Facts, t.Mapping[str, t.Any]], t.Iterator[Found]]] = {
    "images": _images,
    "containers": _containers,
    "logs": _logs,
    "exposure": _exposure,
    "endpoints": _endpoints,
}
