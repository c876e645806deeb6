# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the module of this name; where its host has no image scanner and the controller has one, scan here."""

from __future__ import annotations

import fcntl
import pathlib
import tempfile
import typing as t

from ansible import constants as C
from ansible.plugins.action import ActionBase

from ..module_utils._envelope import CheckError
from ..module_utils._image_scan import ImageScanOptions, image_scan_arguments, rescanned, scan_envelope
from ..module_utils._scanner_output import ScannerReport
from ..module_utils._scanners import Scanner, find_scanner, run_scanner
from ..plugin_utils._handover import handover_directory
from ..plugin_utils._packed_module import run_packed
from ..plugin_utils._scan_cache import load_report, store_report
from ..plugin_utils._time_limit import HostTimeout, time_limit

MODULE = "image_scan"
Result = dict[str, t.Any]


class ActionModule(ActionBase):
    """Copies images to the controller's scanner, each once in a run."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: t.Optional[str] = None, task_vars: t.Optional[dict[str, t.Any]] = None) -> Result:
        super().run(tmp, task_vars)
        variables = task_vars or {}
        dummy, arguments = self.validate_argument_spec(argument_spec=image_scan_arguments())
        result = run_packed(self, MODULE, self._task.args, variables)
        missing = result.get("scanner_missing") or {}
        if result.get("failed") or not arguments["controller"] or missing.get("code") != "not-installed" or not result.get("images"):
            return result
        options = ImageScanOptions.from_params({**arguments, "scanner_path": None})
        errors: list[t.Any] = list(result["errors"])
        try:
            scanner = find_scanner(options.scanner)
        except CheckError as error:
            if error.code == "not-installed":
                return result
            return {
                **result,
                **scan_envelope(result["images"], None, [*errors, {**error.as_dict(), "source": f"{error.source} on the controller"}], options.ignore),
            }
        images = [self._scanned(image, scanner, options, arguments, variables) for image in result["images"]]
        used = {"name": scanner.name, "version": scanner.version, "path": scanner.path, "on": "controller"}
        return {**result, **scan_envelope(images, used, errors, options.ignore), "scanner_missing": None}

    def _scanned(self, image: Result, scanner: Scanner, options: ImageScanOptions, arguments: Result, variables: Result) -> Result:
        if image["scanned"] or not image["id"]:
            return image
        try:
            return rescanned(image, self._report(image, scanner, options, arguments, variables), scanner, options)
        except CheckError as error:
            return {**image, "error": error.as_dict()}

    def _report(self, image: Result, scanner: Scanner, options: ImageScanOptions, arguments: Result, variables: Result) -> ScannerReport:
        """Return the report on an image, from an earlier host of this run where there is one."""
        directory = handover_directory(C.DEFAULT_LOCAL_TMP, "scans")
        directory.mkdir(mode=0o700, exist_ok=True)
        with (directory / f"{image['id'].partition(':')[2]}.lock").open("w", encoding="ascii") as lock:
            # Whoever holds it ends within the limits below.
            fcntl.flock(lock, fcntl.LOCK_EX)
            known = load_report(directory, image["id"])
            if known is not None:
                return known
            with tempfile.TemporaryDirectory(dir=C.DEFAULT_LOCAL_TMP) as scratch:
                archive = pathlib.Path(scratch) / "image.tar"
                self._copy(image["id"], archive, arguments, variables)
                report = run_scanner(scanner, image["image"], options.scanner, archive=str(archive))
            store_report(directory, image["id"], report)
            return report

    def _copy(self, image: str, archive: pathlib.Path, arguments: Result, variables: Result) -> None:
        if self._connection._shell.tmpdir is None:
            self._make_tmp_path()
        limit = float(arguments["timeout_seconds"])
        directory = self._connection._shell.tmpdir
        export = {"image": image, "directory": directory, "max_bytes": arguments["controller_max_bytes"], "timeout_seconds": limit}
        handed = run_packed(self, MODULE, {**self._task.args, "export": export}, variables)
        if handed.get("failed"):
            raise CheckError(f"image {image}", str(handed.get("msg")), "", "failed")
        try:
            with time_limit(limit):
                self._connection.fetch_file(handed["path"], str(archive))
        except HostTimeout as error:
            raise CheckError(f"image {image}", f"not copied to the controller: {error}", "Raise timeout_seconds.", "timeout") from error
