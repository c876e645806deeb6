# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Makes of a module and the ``module_utils`` that it imports one file, half as big on its way to a host.

Ansible compresses each file of a payload by itself, with all that is in it for readers only. Here comments, docstrings and the
annotations of functions are taken out, and the rest is compressed as one piece. No line moves and no name changes: what a
traceback from a host says is what the sources say.
"""

from __future__ import annotations

import ast
import base64
import bz2
import functools
import pathlib
import re
import typing as t

PACKAGE = "ansible_collections.stackops.runbook.plugins.module_utils"
PLUGINS = pathlib.Path(__file__).resolve().parents[1]
#: In the result of a packed module that this host cannot unpack: it is to be run as it is.
UNUSABLE = "stackops_packed_unusable"

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_DOCUMENTED = (ast.Module, ast.ClassDef, *_FUNCTIONS)
# A comment is what looks like one outside of a string.
_STRING_OR_COMMENT = re.compile(rb"\"\"\"(?:\\.|.)*?\"\"\"|'''(?:\\.|.)*?'''|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'|(?P<comment>[ \t]*#[^\n]*)", re.DOTALL)
_GOES_ON = b" "
# What is imported is looked for in, and comments are taken out of, the same sources.
_parse = functools.lru_cache(maxsize=256)(ast.parse)

_LOADER = '''\
#!/usr/bin/python
# Made from the module {name} of the collection stackops.runbook and what it imports; the sources are in the collection.
from __future__ import annotations

import base64
import importlib.abc
import importlib.util
import json
import sys

{imports}

try:
    import bz2
except ImportError:
    print(json.dumps({{"failed": True, "msg": "this Python was built without bz2", "{unusable}": True}}))
    sys.exit(1)

PACKAGE = "{package}"
SOURCES = dict(part.split("\\n", 1) for part in bz2.decompress(base64.b64decode("{data}")).decode().split("\\0"))


class Sources(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Imports what is in SOURCES."""

    def find_spec(self, fullname, path=None, target=None):
        if self.is_package(fullname):
            return importlib.util.spec_from_loader(fullname, self, is_package=True)
        if self.name_of(fullname) in SOURCES:
            return importlib.util.spec_from_loader(fullname, self)
        return None

    def is_package(self, fullname):
        return (PACKAGE + ".").startswith(fullname + ".")

    def get_source(self, fullname):
        return SOURCES.get(self.name_of(fullname), "")

    def get_code(self, fullname):
        return compile(self.get_source(fullname), fullname.replace("__main__", "{name}").replace(".", "/") + ".py", "exec", dont_inherit=True)

    def name_of(self, fullname):
        if fullname == "__main__":
            return "{name}"
        package, dummy, name = fullname.rpartition(".")
        return name if package == PACKAGE else ""


# Where the text of a traceback is made in Python, it takes the lines that it shows from here.
__spec__, __loader__ = None, Sources()
sys.meta_path.insert(0, __loader__)
exec(__loader__.get_code("__main__"), globals())
'''


@functools.lru_cache(maxsize=256)
def minimise(source: str) -> str:
    """Return *source* without what is there for readers only, everything else on the line where it was."""
    data = source.encode()
    kept, position = [], 0
    for begin, end, instead in sorted([*_unread(_parse(source), data), *_comments(data)]):
        # Between brackets and statements a line may end; where a statement goes on it must not.
        line_end = b"\n" if instead != _GOES_ON else b"\\\n"
        kept += [data[position:begin], instead, line_end * data.count(b"\n", begin, end)]
        position = end
    return b"".join([*kept, data[position:]]).decode()


_Edit = tuple[int, int, bytes]


def _comments(data: bytes) -> t.Iterator[_Edit]:
    """Give the place of each comment, with the blanks before it."""
    for found in _STRING_OR_COMMENT.finditer(data):
        if found["comment"] is not None:
            yield found.start("comment"), found.end("comment"), b""


def _unread(tree: ast.Module, data: bytes) -> t.Iterator[_Edit]:
    """Give the places of docstrings, and of those annotations that nothing reads when the code runs."""
    starts = [0]
    for line in data.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))

    def begin_of(node: t.Any) -> int:
        return int(starts[node.lineno - 1] + node.col_offset)

    def end_of(node: t.Any) -> int:
        return int(starts[node.end_lineno - 1] + node.end_col_offset)

    fields: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            alone = len(node.body) == 1 and not isinstance(node, ast.Module)
            begin = begin_of(node.body[0])
            yield begin if alone else len(data[:begin].rstrip(b" ")), end_of(node.body[0]), b"pass" if alone else b""
        if isinstance(node, ast.arg) and node.annotation:
            yield begin_of(node) + len(node.arg.encode()), end_of(node.annotation), b""
        elif isinstance(node, _FUNCTIONS) and node.returns:
            yield data.rindex(b"->", 0, begin_of(node.returns)), end_of(node.returns), _GOES_ON
        elif isinstance(node, ast.ClassDef):
            # They make the fields of a dataclass or of a tuple. A class is met before what is in it.
            fields.update(id(statement) for statement in _statements(node))
        elif isinstance(node, ast.AnnAssign) and id(node) not in fields:
            if node.value:
                yield end_of(node.target), end_of(node.annotation), _GOES_ON
            else:
                yield begin_of(node), end_of(node), b"pass"


def _statements(node: ast.AST) -> t.Iterator[ast.stmt]:
    """Give the statements in *node*, without those of the functions in it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt):
            yield child
            if not isinstance(child, _FUNCTIONS):
                yield from _statements(child)


def sources_of(module: str, plugins: pathlib.Path = PLUGINS) -> dict[str, str]:
    """Return the sources of *module* and of the ``module_utils`` that it imports, directly and through others, by name."""
    sources = {module: (plugins / "modules" / f"{module}.py").read_text(encoding="utf-8")}
    waiting = [sources[module]]
    while waiting:
        for name in sorted(_own_imports(_parse(waiting.pop()))):
            path = plugins / "module_utils" / f"{name}.py"
            if name not in sources and path.exists():
                sources[name] = path.read_text(encoding="utf-8")
                waiting.append(sources[name])
    return sources


def _own_imports(tree: ast.AST) -> t.Iterator[str]:
    """Give the names of ``module_utils`` of this collection that *tree* imports, and of what may be one."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom):
            continue
        path = f"{PACKAGE}.{node.module or ''}" if node.level == 1 else node.module or ""
        if path.startswith(f"{PACKAGE}.") and path != f"{PACKAGE}.":
            yield path[len(PACKAGE) + 1 :]
        elif path.rstrip(".") == PACKAGE:
            yield from (alias.name for alias in node.names)


def _ansible_imports(sources: t.Iterable[str]) -> list[str]:
    """Return the statements that import what Ansible brings itself, for Ansible to see that it has to."""
    found = {
        f"import {node.module}"
        for source in sources
        if "ansible.module_utils" in source
        for node in ast.walk(_parse(source))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ansible.module_utils")
    }
    return sorted(found)


def without_documentation(source: str) -> str:
    """Return the source of a module without what only ``ansible-doc`` reads, everything else on the line where it was."""
    lines = source.splitlines(keepends=True)
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and isinstance(target := node.targets[0], ast.Name) and target.id in ("DOCUMENTATION", "EXAMPLES", "RETURN"):
            lines[node.lineno - 1 : node.end_lineno] = ["\n"] * ((node.end_lineno or node.lineno) - node.lineno + 1)
    return "".join(lines)


def pack(module: str, sources: t.Mapping[str, str]) -> str:
    """Return the source of one file that does what *module* does; *sources* are those of :func:`sources_of`."""
    small = {name: minimise(without_documentation(source) if name == module else source) for name, source in sources.items()}
    data = base64.b64encode(bz2.compress("\0".join(f"{name}\n{source}" for name, source in small.items()).encode())).decode()
    imports = "\n".join(_ansible_imports(sources.values()))
    return _LOADER.format(name=module, package=PACKAGE, imports=imports, unusable=UNUSABLE, data=data)
