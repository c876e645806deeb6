# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import ast
import io
import json
import pathlib
import subprocess
import sys
import tokenize
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.plugin_utils._packed import PLUGINS, UNUSABLE, minimise, pack, sources_of

SOURCES = sorted([*PLUGINS.glob("modules/*.py"), *PLUGINS.glob("module_utils/*.py")])

SAMPLE = '''\
#!/usr/bin/python
"""What it is for."""
from __future__ import annotations

import dataclasses


@dataclasses.dataclass
class Row:
    """A row."""  # of two

    name: str  # kept: it makes the field
    count: int = 1


class Empty(Exception):
    """Nothing else in it."""


def text(row: Row, *rest: str, sep: str = "# no comment") -> str:
    """Say it."""

    def inner(value: int) -> dict[
        str, int
    ]:
        return {"x": value}

    note: str
    total: dict[
        str, int
    ] = sum(inner(len(one))["x"] for one in rest)
    note = f"""{row.name}{sep}
# {total}"""
    return note


X: int = 3  # three
raise Empty(text(Row("a"), "b"))
'''


class Unread(ast.NodeTransformer):
    """Takes out of a tree what nothing reads when the code runs, in another way than the code does that is tested."""

    in_class = False

    def generic_visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            if ast.get_docstring(node, clean=False) is not None:
                node.body = node.body[1:] or ([] if isinstance(node, ast.Module) else [ast.Pass()])
            before, self.in_class = self.in_class, isinstance(node, ast.ClassDef)
            super().generic_visit(node)
            self.in_class = before
            if isinstance(node, ast.FunctionDef):
                node.returns = None
            return node
        return super().generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:  # noqa: N802
        super().generic_visit(node)
        if self.in_class:
            return node
        return ast.Assign(targets=[node.target], value=node.value) if node.value else ast.Pass()


def statements(tree: ast.AST) -> list[tuple[int, str]]:
    return sorted((node.lineno, type(node).__name__.replace("AnnAssign", "Assign")) for node in ast.walk(tree) if isinstance(node, ast.stmt))


def without_strings_alone(lines: list[tuple[int, str]]) -> list[tuple[int, str]]:
    return [one for one in lines if one[1] not in ("Expr", "Pass", "Assign")]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_what_is_left_of_each_source_does_the_same_on_the_same_lines(path: pathlib.Path) -> None:
    source = path.read_text(encoding="utf-8")
    small = minimise(source)
    assert ast.dump(Unread().visit(ast.parse(source))) == ast.dump(ast.parse(small))
    assert without_strings_alone(statements(ast.parse(source))) == without_strings_alone(statements(ast.parse(small)))
    assert tokenize.COMMENT not in {part.type for part in tokenize.generate_tokens(io.StringIO(small).readline)}


def test_only_what_nothing_reads_is_taken_out() -> None:
    small = minimise(SAMPLE)
    assert ast.dump(Unread().visit(ast.parse(SAMPLE))) == ast.dump(ast.parse(small))
    assert small.count("\n") == SAMPLE.count("\n")
    assert [line for line in small.splitlines() if "#" in line] == ['def text(row, *rest, sep = "# no comment")  :', '# {total}"""']
    assert "name: str" in small and "pass" in small and "X  = 3" in small


def test_a_traceback_names_the_lines_of_the_source(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "sample.py"
    path.write_text(minimise(SAMPLE), encoding="utf-8")
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=60, check=False)
    assert f"line {len(SAMPLE.splitlines())}, in <module>" in done.stderr


def test_everything_that_is_imported_is_in_it() -> None:
    sources = sources_of("compose_health")
    assert {"compose_health", "_compose_health", "_engine", "_envelope"} <= set(sources)
    # It is imported by what is imported only.
    assert "_process" in sources
    assert "_backup_run" not in sources
    assert sources["_engine"] == (PLUGINS / "module_utils/_engine.py").read_text(encoding="utf-8")


def test_equal_sources_make_equal_files() -> None:
    sources = sources_of("port_probe")
    assert pack("port_probe", sources) == pack("port_probe", dict(sources))
    assert pack("port_probe", sources) != pack("port_probe", {**sources, "_envelope": "changed = 1\n"})


@pytest.fixture
def plugins(tmp_path: pathlib.Path) -> pathlib.Path:
    """Return a directory of plugins with one module that divides, in a function that it imports."""
    utils = tmp_path / "plugins" / "module_utils"
    utils.mkdir(parents=True)
    (utils / "_divide.py").write_text(
        '"""Divides.\n\nIn two lines."""\n\n\ndef divide(value: int) -> float:\n    """Divide."""\n    return 1 / value  # here\n'
    )
    (utils / "_between.py").write_text("from ._divide import divide as part\n")
    (tmp_path / "plugins" / "modules").mkdir()
    (tmp_path / "plugins" / "modules" / "dividing.py").write_text(
        "import json\nimport sys\n"
        'DOCUMENTATION = """\nlong\n"""\n'
        "from ansible_collections.stackops.runbook.plugins.module_utils._between import part\n"
        "def main() -> None:\n"
        "    print(json.dumps(part(int(sys.argv[1]))))\n"
        'if __name__ == "__main__":\n'
        "    main()\n"
    )
    return tmp_path / "plugins"


def run(path: pathlib.Path, *argv: str, **options: t.Any) -> subprocess.CompletedProcess[str]:
    # Without anything of this collection in reach.
    return subprocess.run([sys.executable, "-I", str(path), *argv], capture_output=True, text=True, timeout=60, check=False, **options)


def test_it_runs_by_itself(plugins: pathlib.Path, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "packed.py"
    path.write_text(pack("dividing", sources_of("dividing", plugins)), encoding="utf-8")
    assert run(path, "4").stdout == "0.25\n"


def test_its_traceback_is_one_of_the_sources(plugins: pathlib.Path, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "packed.py"
    path.write_text(pack("dividing", sources_of("dividing", plugins)), encoding="utf-8")
    words = run(path, "0").stderr
    assert 'File "dividing.py", line 8, in main' in words
    assert 'File "ansible_collections/stackops/runbook/plugins/module_utils/_divide.py", line 8, in divide' in words
    assert words.rstrip().endswith("ZeroDivisionError: division by zero")


def test_what_python_makes_of_a_traceback_shows_the_sources_themselves(plugins: pathlib.Path, tmp_path: pathlib.Path) -> None:
    module = plugins / "modules" / "dividing.py"
    module.write_text(
        module.read_text().replace("    main()\n", "    import traceback\n    try:\n        main()\n    except Exception:\n        traceback.print_exc()\n")
    )
    path = tmp_path / "packed.py"
    path.write_text(pack("dividing", sources_of("dividing", plugins)), encoding="utf-8")
    words = run(path, "0").stderr
    assert "line 8, in main\n    print(json.dumps(part(int(sys.argv[1]))))\n" in words
    assert "line 8, in divide\n    return 1 / value\n" in words


def test_a_python_without_bz2_says_so(plugins: pathlib.Path, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "packed.py"
    path.write_text(
        "import sys\nsys.modules['bz2'] = None\n" + pack("dividing", sources_of("dividing", plugins)).replace("from __future__ import annotations\n", "")
    )
    done = run(path, "4")
    assert done.returncode == 1
    assert json.loads(done.stdout) == {"failed": True, "msg": "this Python was built without bz2", UNUSABLE: True}
