# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What galaxy.yml, meta/runtime.yml and the layout promise."""

from __future__ import annotations

import re
import typing as t

import pytest
from collection import MODULES, NAME, ROOT, load, module_documents, tracked_files

PLUGIN_DIRECTORIES = {"action", "doc_fragments", "filter", "module_utils", "modules", "plugin_utils"}
CERTIFIED_TAGS = {
    "application", "cloud", "database", "infrastructure", "linux", "monitoring", "networking", "security", "storage", "tools", "windows",
}  # fmt: skip
HEADER = (
    "# Copyright (c) 2026, stackops.runbook contributors\n"
    "# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)\n"
    "# SPDX-License-Identifier: GPL-3.0-or-later\n"
)
SECRETS = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/=]{40}|AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36}|xox[bp]-[0-9A-Za-z-]{20}")


def attributes(documentation: dict[str, t.Any]) -> list[str]:
    """Return the doc fragments that *documentation* uses."""
    return documentation.get("extends_documentation_fragment", [])


def test_the_collection_needs_no_other_collection() -> None:
    galaxy = load(ROOT / "galaxy.yml")
    assert galaxy["dependencies"] == {}
    assert f"{galaxy['namespace']}.{galaxy['name']}" == NAME


def test_tags_are_those_galaxy_wants() -> None:
    tags = load(ROOT / "galaxy.yml")["tags"]
    assert len(tags) <= 20
    assert CERTIFIED_TAGS & set(tags)


def test_only_recognised_plugin_directories() -> None:
    found = {path.name for path in (ROOT / "plugins").iterdir() if path.is_dir() and not path.name.startswith("__")}
    assert found <= PLUGIN_DIRECTORIES


def test_utilities_are_private() -> None:
    public = [path.name for name in ("module_utils", "plugin_utils") for path in (ROOT / "plugins" / name).glob("*.py") if not path.name.startswith("_")]
    assert public == []


def test_modules_that_say_they_are_in_the_action_group_are() -> None:
    saying = {module.stem for module in MODULES if f"{NAME}.attributes.action_group" in attributes(module_documents(module)["DOCUMENTATION"])}
    group = set(load(ROOT / "meta/runtime.yml")["action_groups"]["stack"])
    assert saying == group & {module.stem for module in MODULES}


@pytest.mark.parametrize("path", [path for path in tracked_files() if path.suffix == ".py"], ids=lambda path: str(path.relative_to(ROOT)))
def test_python_files_name_their_licence(path) -> None:
    text = path.read_text(encoding="utf-8")
    if text.strip():
        first, _newline, rest = text.partition("\n")
        assert (rest if first.startswith("#!") else text).startswith(HEADER)


def test_no_secret_is_under_version_control() -> None:
    assert [str(path.relative_to(ROOT)) for path in tracked_files() if SECRETS.search(path.read_bytes())] == []
