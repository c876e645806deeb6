# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Redact what the hosts handed over and write it as one archive."""

from __future__ import annotations

import datetime
import pathlib
import shutil
import tempfile
import typing as t

from ansible import constants as C
from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

from ..plugin_utils._bundle_redaction import GateError
from ..plugin_utils._collection import collection_version
from ..plugin_utils._diagnosis import Diagnosis, DiagnosisError
from ..plugin_utils._handover import handover_directory, take_over
from ..plugin_utils._private_map import MapError, PrivateMap
from ..plugin_utils._support_bundle_writer import BundleError, BundleWriter, Evidence, Settings

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "dest": {"type": "path", "default": "./support-bundles"},
    "map_dir": {"type": "path", "default": "./private-maps"},
    "map": {"type": "path"},
    "names": {"type": "str", "choices": ["pseudonyms", "keep"], "default": "pseudonyms"},
    "known_secrets": {"type": "list", "elements": "str", "default": [], "no_log": True},
    "rule_dirs": {"type": "list", "elements": "path", "required": True},
    "language": {"type": "str", "choices": ["en", "zh_TW"], "default": "en"},
}
_NOTHING = "nothing was collected: an earlier task failed on this host, or it comes in a later batch of the play"
#: Variables of the connection that are passwords; they are in no file, unless somebody put them there.
_PASSWORDS = ("ansible_password", "ansible_ssh_pass", "ansible_become_password", "ansible_become_pass", "ansible_sudo_pass")


class ActionModule(ActionBase):
    """The controller's half of a support bundle. It connects to no host."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: t.Optional[str] = None, task_vars: t.Optional[dict[str, t.Any]] = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        dummy, arguments = self.validate_argument_spec(argument_spec=ARGUMENTS)
        variables = task_vars or {}
        hosts: list[str] = variables["ansible_play_hosts_all"]
        if self._task.check_mode:
            return {"changed": False, "msg": f"Would write a support bundle of {len(hosts)} hosts into {arguments['dest']}."}
        handed = handover_directory(C.DEFAULT_LOCAL_TMP, "evidence")
        rows = {host: take_over(handed, host) or {"reachable": True, "reason": _NOTHING} for host in hosts}
        staging = pathlib.Path(tempfile.mkdtemp(prefix="stackops.runbook-bundle-", dir=C.DEFAULT_LOCAL_TMP))
        try:
            return self._write(arguments, rows, variables, staging)
        except (BundleError, DiagnosisError, GateError, MapError) as error:
            return {"failed": True, "changed": False, "msg": str(error)}
        except OSError as error:
            return {"failed": True, "changed": False, "msg": f"{error.filename}: {error.strerror}"}
        finally:
            shutil.rmtree(staging, ignore_errors=True)
            shutil.rmtree(handed, ignore_errors=True)

    def _write(self, arguments: dict[str, t.Any], rows: dict[str, dict[str, t.Any]], variables: dict[str, t.Any], staging: pathlib.Path) -> dict[str, t.Any]:
        now = datetime.datetime.now(datetime.timezone.utc)
        private_map = PrivateMap.load(pathlib.Path(arguments["map"])) if arguments["map"] else PrivateMap()
        evidence = {
            host: Evidence(pathlib.Path(row["archive"]) if row.get("archive") else None, str(row.get("reason") or ""), bool(row.get("reachable")))
            for host, row in rows.items()
        }
        settings = Settings(
            collection_version(),
            now,
            arguments["names"] == "pseudonyms",
            (*arguments["known_secrets"], *_passwords(variables.get("hostvars") or {}, rows)),
            tuple({str(row["address"]) for row in rows.values() if row.get("address")}),
            tuple({str(row["user"]) for row in rows.values() if row.get("user")}),
        )
        report_dir = staging / "judged"
        content = staging / "content"
        content.mkdir(mode=0o700)
        judging = {
            "formats": ["json", "markdown", "html"],
            "fail_on": "never",
            "disabled_rules": [],
            "thresholds": {},
            "silences": [],
            "report_dir": str(report_dir),
        }
        diagnosis = Diagnosis({**judging, "rule_dirs": arguments["rule_dirs"], "language": arguments["language"]}, settings.collection_version, now)
        writer = BundleWriter(evidence, private_map, settings, content)
        manifest = writer.redact(diagnosis)
        writer.search()
        path = writer.pack(pathlib.Path(arguments["dest"]).expanduser().absolute())
        map_path = pathlib.Path(arguments["map"] or f"{arguments['map_dir']}/map-{now.strftime('%Y%m%dT%H%M%SZ')}.json").expanduser().absolute()
        private_map.save(map_path, path.name)
        totals = writer.totals(manifest)
        self._display.display(
            f"\n{path}\n  {totals['hosts']} hosts ({totals['without_evidence']} without evidence), {totals['files']} files, {path.stat().st_size} bytes; "
            f"{totals['left_out']} files could not be redacted and are left out, see its manifest.json.\n  Who is who is in {map_path}: keep it.\n"
        )
        return {"changed": False, "path": str(path), "bytes": path.stat().st_size, "map": str(map_path), **totals}


def _passwords(hostvars: t.Mapping[str, t.Any], hosts: t.Iterable[str]) -> set[str]:
    """Return the passwords of the connections, as far as they are there."""
    found = set()
    for host in hosts:
        for name in _PASSWORDS:
            try:
                found.add(str(hostvars[host].get(name) or ""))
            except (AnsibleError, KeyError):
                continue  # it comes from somewhere that does not give it; the connection has said so already
    return found - {""}
