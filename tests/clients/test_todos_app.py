"""The example with FastAPI, SQLAlchemy, React and TanStack DB, in two browsers: what one writes shows in the other.

Electric's own hook for React shows the same rows, on a page beside it.
"""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from browser import Browser, Driver
from browser_modules import write_modules
from uvicorn_server import Server

APPS = Path(__file__).resolve().parents[1] / "apps"
IMPORT_MAP = re.compile(r'(?<=<script type="importmap">).*?(?=</script>)', re.DOTALL)


@pytest.fixture
def server(modules: Path, tmp_path: Path) -> Iterator[Server]:
    """The app as it is, except that its page gets its modules from here instead of from a service."""
    shutil.copy(APPS / "todos_app.py", tmp_path)
    folder = tmp_path / "todos_page"
    shutil.copytree(APPS / "todos_page", folder)
    shutil.copytree(Path(__file__).parent / "react_page", folder, dirs_exist_ok=True)
    imports = json.dumps({"imports": write_modules(modules, folder / "modules")})
    for page in folder.glob("*.html"):
        page.write_text(IMPORT_MAP.sub(imports, page.read_text(), count=1))
    with closing(sqlite3.connect(tmp_path / "todos.db")) as connection:
        connection.execute("PRAGMA journal_mode = WAL")  # two workers at once would be in each other's way
    server = Server("todos_app", 2, tmp_path, apps=tmp_path)
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.stop()


@pytest.fixture
def browsers() -> Iterator[list[Browser]]:
    driver = Driver()
    started = [driver.start(), driver.start()]
    yield started
    for browser in started:
        browser.close()
    driver.close()


def until_todos(browser: Browser, expected: list[list[object]]) -> None:
    browser.until(
        "return JSON.stringify([...document.querySelectorAll('li')].map((li) =>"
        " [li.querySelector('label').innerText, li.querySelector('input').checked])) === JSON.stringify(arguments[0])",
        expected,
    )


def add(browser: Browser, title: str) -> None:
    browser.run(
        "const input = document.querySelector('form input');"
        "Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set.call(input, arguments[0]);"
        "input.dispatchEvent(new Event('input', { bubbles: true }));"
        "document.querySelector('form').requestSubmit()",
        title,
    )


def test_what_one_browser_writes_shows_in_the_other(server: Server, browsers: list[Browser]) -> None:
    one, other = browsers
    for browser in browsers:
        browser.open(server.url)
        browser.until("return document.querySelector('form') !== null")
    add(one, "buy milk")
    until_todos(one, [["buy milk", False]])
    until_todos(other, [["buy milk", False]])
    add(other, "call <b>Ada</b>")
    until_todos(one, [["buy milk", False], ["call <b>Ada</b>", False]])
    one.run("document.querySelector('li input').click()")
    until_todos(other, [["buy milk", True], ["call <b>Ada</b>", False]])
    other.run("document.querySelectorAll('li button')[1].click()")
    until_todos(one, [["buy milk", True]])
    until_todos(other, [["buy milk", True]])
    other.open(f"{server.url}/shape.html")
    other.until_text("#root", "buy milk")
    add(one, "walk")
    other.until_text("#root", "buy milk, walk")
    one.run("document.querySelectorAll('li button')[1].click()")
    other.until_text("#root", "buy milk")
    with closing(sqlite3.connect(server.path.with_name("todos.db"))) as connection:
        assert connection.execute("SELECT title, done FROM todo").fetchall() == [("buy milk", 1)]
    complaints = [complaint for complaint in one.complaints() + other.complaints() if "Using HTTP" not in complaint]
    assert complaints == []  # but that of a client which would rather have HTTP/2
