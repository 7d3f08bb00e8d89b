"""The rooms stay small and tidy: sizes of folders and modules, names, and what names what."""

from __future__ import annotations

import ast
import functools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.support.guide_commands import ROOT

ROOMS = ("jangteo", "shop", "flows", "generators", "grading", "console", "benchmarks", "tests")
MOST_MODULES = 20
MOST_LINES = 400
_ROOM = r"(?:jangteo|flows|generators|grading|console)"
_NAMES_A_ROOM = re.compile(
    rf"\b(?:import|from) {_ROOM}\b|(?<![\w./-]){_ROOM}(?:\.(?=[a-z_])|/)|`{_ROOM}`"
)
"""In an import, as a dotted name or as a path; "the console" in a message for people is fine."""


@functools.cache
def sources(room: str) -> dict[Path, str]:
    paths = sorted((ROOT / room).rglob("*.py"))
    return {path.relative_to(ROOT): path.read_text(encoding="utf-8") for path in paths}


ALL = {path: text for room in ROOMS for path, text in sources(room).items()}


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(ALL[path])


def test_no_folder_has_too_many_modules() -> None:
    sizes = Counter(path.parent.as_posix() for path in ALL)
    assert {folder: n for folder, n in sizes.items() if n > MOST_MODULES} == {}


def test_no_module_is_too_long() -> None:
    lines = {path.as_posix(): text.count("\n") for path, text in ALL.items()}
    assert {path: n for path, n in lines.items() if n > MOST_LINES} == {}


def test_every_public_class_has_a_name_of_its_own() -> None:
    places: dict[str, list[str]] = {}
    for path in ALL:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(f"{path}:{node.lineno}")
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def _run_at_import(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements that an import executes: not those of functions or for type checkers."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            yield from _run_at_import(node.orelse)
            continue
        yield node
        for part in ("body", "orelse", "finalbody", "handlers"):
            yield from _run_at_import(getattr(node, part, ()))


def _imports(modules: Mapping[str, ast.Module]) -> dict[str, set[str]]:
    """Return which of the modules each one imports when it is imported itself.

    The packages above a module are imported before it, so it imports them only where it takes
    one of their names; the packages above a module that it imports are imported by it.
    """
    graph: dict[str, set[str]] = {}
    for name, tree in modules.items():
        wanted: set[str] = set()
        for node in _run_at_import(tree.body):
            if isinstance(node, ast.Import):
                wanted.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                paths = {f"{node.module}.{alias.name}" for alias in node.names}
                wanted.update(p if p in modules else str(node.module) for p in paths)
        above = {p for w in wanted for p in _packages_of(w)} - set(_packages_of(name))
        graph[name] = (wanted | above) & modules.keys() - {name}
    return graph


def _packages_of(name: str) -> list[str]:
    return [name.rsplit(".", n)[0] for n in range(1, name.count(".") + 1)]


def _cycle(modules: Mapping[str, ast.Module]) -> list[str]:
    """Return modules each of which imports the one before it, the last one the first; or none."""
    try:
        TopologicalSorter(_imports(modules)).prepare()
    except CycleError as e:
        return list(e.args[1])
    return []


def test_no_module_imports_itself_by_way_of_others() -> None:
    """Whether such an import works depends on which module is imported first.

    Most tests do not see that: they start commands where all modules are imported already.
    """
    modules = {
        ".".join(path.with_suffix("").parts).removesuffix(".__init__"): parsed(path) for path in ALL
    }
    assert _cycle(modules) == []


@pytest.mark.parametrize(
    ("one", "other", "circular"),
    [
        ("import a.two", "import a.one", True),
        ("from a import two", "from a.one import NAME", True),
        ("if True:\n  from a.two import NAME", "class C:\n  import a.one", True),
        ("try:\n  pass\nexcept ImportError:\n  import a.two", "import a.one", True),
        ("from a import NAME", "", True),  # the package imports `a.one` before it has the name
        ("def f():\n  import a.two", "import a.one", False),
        ("if TYPE_CHECKING:\n  import a.two", "import a.one", False),
        ("import a.two", "import b", True),  # which imports the package
        ("import a.two", "import sys", False),
    ],
)
def test_a_circular_import_is_found(one: str, other: str, circular: bool) -> None:
    texts = {"a": "from a import one", "a.one": one, "a.two": other, "b": "import a"}
    assert bool(_cycle({name: ast.parse(text) for name, text in texts.items()})) is circular


def test_the_shop_names_no_room() -> None:
    found = [
        f"{path}:{text.count(chr(10), 0, m.start()) + 1}: {m[0]}"
        for path, text in sources("shop").items()
        for m in _NAMES_A_ROOM.finditer(text)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("import generators", True),
        ("    from flows.sink import Sink", True),
        ("see `jangteo.stack.retention`", True),
        ("in flows/sink.py", True),
        ("the folder `grading`", True),
        ("The monitor and the console print it.", False),
        ("run `jangteo up`", False),
        ('ROLES = ["console"]', False),
    ],
)
def test_a_room_is_found_by_name(text: str, names: bool) -> None:
    assert bool(_NAMES_A_ROOM.search(text)) is names


def test_every_package_of_the_product_has_a_docstring() -> None:
    packages = [p for p in ALL if p.name == "__init__.py" and p.parts[0] != "tests"]
    assert [p.as_posix() for p in packages if not ast.get_docstring(parsed(p))] == []


def test_every_folder_is_a_package() -> None:
    folders = {p.parent for p in ALL}
    lacking = {f.as_posix() for f in folders if f / "__init__.py" not in ALL}
    assert lacking <= {"tests/kafka/clients"}  # its programs run next to other client libraries


def test_no_test_changes_the_search_path() -> None:
    changed = re.compile(r"\bsys\.path\.|\bsys\.path\b.*[^=!]=[^=]|syspath_prepend")
    found = [p.as_posix() for p, text in sources("tests").items() if changed.search(text)]
    # The fork server does what `python -m` does: it has the directory of the command first.
    assert sorted(found) == ["tests/support/fork_server.py", "tests/test_structure.py"]
