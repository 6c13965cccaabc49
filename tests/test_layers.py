"""The rule of the floors: a module imports its own room, or what lies on a lower floor; and there are no circles."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "shapestore"

FLOORS = (
    {"errors", "events", "logger", "concurrency"},
    {"shape", "locking"},
    {"telemetry", "source"},
    {"storage"},
    {"creating", "reading", "waiting", "following", "admin", "options", "open_file", "long_logs"},
    {"maintenance", "freshness"},
    {"open_store"},
    {"lifecycle"},
    {"store"},
    {"http", "sync", "otel"},
    {"cli"},
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS, 1) for room in rooms}
FACES = {"__init__", "__main__"}
"""Modules of the top level that may import everything."""
LARGEST_ROOM = 14


def module_name(file: Path) -> str:
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(file): file for file in PACKAGE.rglob("*.py")}


def imports(name: str) -> Iterator[str]:
    """The modules of this package that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            for alias in node.names:
                imported = f"{node.module}.{alias.name}"
                yield imported if imported in MODULES else node.module


def room_of(name: str) -> str:
    return name.split(".")[1]


INSIDE = sorted(name for name in MODULES if "." in name and room_of(name) not in FACES)


def test_every_room_has_its_floor() -> None:
    assert {room_of(name) for name in INSIDE} <= FLOOR_OF.keys()


@pytest.mark.parametrize("name", INSIDE)
def test_a_module_imports_its_own_room_or_lower_floors(name: str) -> None:
    room = room_of(name)
    upward = {
        imported
        for imported in imports(name)
        if imported != "shapestore" and room_of(imported) != room and FLOOR_OF[room_of(imported)] >= FLOOR_OF[room]
    }
    assert upward == set()


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {name: set(imports(name)) - {name, "shapestore"} for name in MODULES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("room", sorted({name.rpartition(".")[0] for name in INSIDE} - {"shapestore"}))
def test_a_room_tells_of_each_of_its_modules(room: str) -> None:
    told = ast.get_docstring(ast.parse(MODULES[room].read_text(encoding="utf-8"))) or ""
    modules = {name.rpartition(".")[2] for name in INSIDE if name.rpartition(".")[0] == room}
    assert modules - set(re.findall(r"\w+", told)) == set()


def test_no_room_is_crowded() -> None:
    folders = [folder for folder in (PACKAGE, *PACKAGE.rglob("*/")) if folder.is_dir()]
    crowded = {
        folder.name: count
        for folder in folders
        if (count := sum(file.stem not in FACES for file in folder.glob("*.py"))) > LARGEST_ROOM
    }
    assert crowded == {}
