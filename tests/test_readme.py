"""What the READMEs show runs as it stands, and what they point to exists."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeGuard

import httpx
import pytest
from uvicorn_server import PATIENCE, Server

import shapestore
from shapestore import ShapeStore, ShapeStoreError
from shapestore.cli import main

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
TESTS_README = ROOT / "tests" / "README.md"
PACKAGE = ROOT / "shapestore"
HTTP_README = PACKAGE / "http" / "README.md"
APPS = ROOT / "tests" / "apps"
FOLDERS = (".github", "alembic", "scripts", "shapestore", "tests")
DOCUMENTS = [*ROOT.glob("*.md"), *(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.md"))]

PAGE = "https://github.com/shapestore/shapestore/blob/main/"
RAW = "https://raw.githubusercontent.com/shapestore/shapestore/main/"


def name(document: Path) -> str:
    return str(document.relative_to(ROOT))


def blocks(document: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", document.read_text(), re.DOTALL | re.MULTILINE)


def links(document: Path) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", document.read_text())


# --- the examples

PROGRAM = "FastAPI(lifespan=lifespan)"
"""What tells the program for uvicorn from the other examples."""

PREPARED = {
    "shapestore/http/README.md": """
from fastapi import FastAPI, HTTPException, Request
from shapestore import Shape, ShapeStore, SQLSource
from shapestore.http import ShapeApp
app, store = FastAPI(), ShapeStore("shapes.db", create=SQLSource("sqlite:///app.db"))
""",
    "shapestore/source/README.md": """
from unittest.mock import Mock
context = Mock()
""",
}
"""What is there already where an example is to be put: in an application, or in the env.py of its alembic."""

PRINTED = {
    "README.md": [
        "1000 answers, 1 query",
        "[{'id': 1, 'title': 'So What'}, {'id': 2, 'title': 'Blue in Green'}]",
    ],
    "shapestore/README.md": ["5 reports"],
    "shapestore/source/README.md": ["insert (1,) {'id': 1, 'text': 'hello'}"],
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which a reader tries the examples; nothing is there."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def examples(document: Path) -> list[str]:
    """What Python a document shows; but not what is from an app, and tested there."""
    return [block for block in blocks(document, "python") if not is_from_an_app(block) and PROGRAM not in block]


def is_from_an_app(block: str) -> bool:
    return any(block in app.read_text() for app in APPS.glob("*.py"))


def test_the_documents_with_examples_are_these() -> None:
    assert {name(document) for document in DOCUMENTS if examples(document)} == {*PREPARED, *PRINTED}


@pytest.mark.parametrize("document", [document for document in DOCUMENTS if examples(document)], ids=name)
def test_the_examples_run_one_after_another_as_a_reader_would_paste_them(
    document: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    namespace: dict[str, Any] = {"__name__": "readme"}
    run(PREPARED.get(name(document), ""), namespace)
    for example in examples(document):
        run(example, namespace)
    printed = PRINTED.get(name(document), [])
    assert capsys.readouterr().out.splitlines()[: len(printed)] == printed


def run(example: str, namespace: dict[str, Any]) -> None:
    """Run an example; one with ``await`` outside a function runs in an event loop of its own."""
    code = compile(example, str(README), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(code, namespace)
    if result is not None:
        asyncio.run(result)


def test_the_quickstart_needs_nothing_but_an_empty_folder(folder: Path) -> None:
    run(blocks(README, "python")[0], {"__name__": "__main__"})
    assert (folder / "shapes.db").exists()


def test_the_program_for_uvicorn_serves_the_rows_of_the_quickstart_and_electrics_clients(folder: Path) -> None:
    run(blocks(README, "python")[0], {"__name__": "__main__"})
    [program] = [block for block in blocks(README, "python") if PROGRAM in block]
    (folder / "app.py").write_text(program)
    server = Server("app", workers=1, folder=folder, apps=folder)
    try:
        server.wait_until_ready()
        with httpx.Client(base_url=server.url, timeout=PATIENCE, trust_env=False) as client:
            tracks = client.get("/albums/1/tracks")
            shape = client.get("/sync/v1/shape", params={"table": "track", "offset": "-1"})
    finally:
        server.stop()
    assert [track["title"] for track in tracks.json()] == ["So What", "Blue in Green"]
    assert tracks.headers["ETag"]
    assert [message["value"]["title"] for message in shape.json() if "value" in message] == [
        *("So What", "Blue in Green", "Naima")
    ]
    assert "Traceback" not in server.said


def test_the_commands_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(blocks(README, "python")[0], {"__name__": "__main__"})
    commands = list(shown_commands(README))
    assert {"get", "ls", "locks", "invalidate", "doctor"} <= {command[0] for command in commands}
    for command in commands:
        assert main(command) == 0, (command, capsys.readouterr())


def shown_commands(document: Path) -> Iterator[list[str]]:
    """The arguments of each ``$ shapestore ...`` that ends by itself."""
    for line in "".join(blocks(document, "console")).splitlines():
        words = shlex.split(line, comments=True)
        if words[:2] == ["$", "shapestore"] and words[2] not in ("watch", "serve"):
            yield words[2:]


def test_the_excerpts_are_from_the_apps_that_are_tested() -> None:
    assert len([block for block in blocks(HTTP_README, "python") if is_from_an_app(block)]) == 3
    assert all(block in (APPS / "todos_page" / "todos.js").read_text() for block in blocks(HTTP_README, "js"))
    assert blocks(TESTS_README, "python") == [(APPS / "test_with_a_store.py").read_text()]


def test_every_app_is_shown_or_named_in_a_document() -> None:
    documents = "".join(document.read_text() for document in DOCUMENTS)
    shown = {app.name for app in APPS.glob("*.*") if app.name in documents or app.read_text() in documents}
    assert shown == {app.name for app in APPS.glob("*.*")}


# --- the tables


def test_the_table_of_options_is_the_signature_of_the_store() -> None:
    options = list(inspect.signature(ShapeStore).parameters.values())[1:]
    rows = re.findall(r"^\| `(\w+)` \| `(.+?)` \|", section(README, "Options"), re.MULTILINE)
    assert [(option, default.replace("_", "")) for option, default in rows] == [
        (option.name, repr(option.default).replace("_", "")) for option in options
    ]


def test_the_table_of_errors_has_all_that_are_exported() -> None:
    exported = {error for error in map(shapestore.__dict__.get, shapestore.__all__) if is_an_error(error)}
    named = set(re.findall(r"`(\w+Error)`", section(README, "Errors, and what to do")))
    assert named == {error.__name__ for error in exported}


def is_an_error(thing: object) -> TypeGuard[type[ShapeStoreError]]:
    return isinstance(thing, type) and issubclass(thing, ShapeStoreError)


def section(document: Path, title: str) -> str:
    return document.read_text().partition(f"\n## {title}")[2].partition("\n## ")[0]


def test_the_table_of_rooms_has_each_module_of_the_top_level() -> None:
    rooms = {file.parent.name for file in PACKAGE.glob("*/__init__.py")}
    modules = {file.stem for file in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    named = set(re.findall(r"`(\w+)/?`", section(PACKAGE / "README.md", "The rooms")))
    assert rooms | modules <= named


# --- the links


def test_the_readme_works_on_an_index_page_too_where_no_relative_link_does() -> None:
    assert [link for link in links(README) if not link.startswith("https://")] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_what_the_documents_link_to_exists(document: Path) -> None:
    for link in links(document):
        page, _, anchor = link.partition("#")
        if page.startswith((PAGE, RAW)):
            file = ROOT / page.removeprefix(PAGE).removeprefix(RAW)
        elif not page.startswith("https://"):
            file = document.parent / page if page else document
        else:
            continue
        assert file.is_file(), link
        assert not anchor or anchor in anchors(file), link


def anchors(document: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


def test_the_tests_that_are_named_as_proofs_exist() -> None:
    named = re.findall(r"`([\w/*]+\.py)`", TESTS_README.read_text())
    assert len(named) > 20
    assert [pattern for pattern in named if not list(TESTS_README.parent.glob(pattern))] == []
    assert {file.parent.name for file in TESTS_README.parent.glob("*/test_*.py")} - {"apps"} <= named_folders()


def named_folders() -> set[str]:
    modules = (ROOT / "shapestore").rglob("*.py")
    return {name for module in modules for name in (module.stem, module.parent.name)} | {"clients", "system"}
