"""`shapestore serve` as people run it, and its page in headless Chromium."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest
from browser import Browser, Driver
from command_line import ROOT, in_a_pipe, process

PATIENCE = 60.0
MARKUP = "<img src=x onerror=document.title='taken'><script>document.title='taken'</script>"


class Serving:
    """A process that serves the table track of ``music.db``."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.source = folder / "music.db"
        self.sql("PRAGMA journal_mode = WAL")
        self.sql('CREATE TABLE track (id INTEGER PRIMARY KEY, title TEXT, "<b>album</b>" INTEGER)')
        self.sql("INSERT INTO track VALUES (1, 'So What', 1), (2, ?, NULL)", MARKUP)
        self._process = process(
            *("serve", str(folder / "shapes.db"), "--source", f"sqlite:///{self.source}", "--table", "track"),
            *("--port", "0", "--poll", "0.1", *options),
        )
        assert self._process.stderr is not None
        self.said = self._process.stderr.readline()
        [self.url] = re.findall(r"http://\S+/", self.said) or [self.said]

    def sql(self, statement: str, *values: object) -> None:
        with closing(sqlite3.connect(self.source, timeout=PATIENCE)) as connection, connection:
            connection.execute(statement, values)

    def get(self, path: str, **options: object) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", timeout=PATIENCE, trust_env=False, **options)  # type: ignore[arg-type]

    def end(self) -> tuple[int, str]:
        """Press Ctrl-C; the status, and what it has said since it told its address."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            _, said = self._process.communicate(timeout=PATIENCE)
        finally:
            self._process.kill()
        return self._process.returncode, said


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    serving = Serving(tmp_path)
    yield serving
    serving.end()


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    driver = Driver()
    yield driver
    driver.close()


@pytest.fixture
def browser(driver: Driver) -> Iterator[Browser]:
    browser = driver.start()
    yield browser
    browser.close()


# --- the page


def cells(browser: Browser) -> list[list[str]]:
    return list(
        browser.run(
            "return [...document.querySelectorAll('#rows tr')].map((row) => [...row.children].map((c) => c.innerText))"
        )
    )


def until_cells(browser: Browser, expected: list[list[str]]) -> None:
    browser.until(
        "return JSON.stringify([...document.querySelectorAll('#rows tr')].map((row) => [...row.children]"
        ".map((cell) => cell.textContent))) === JSON.stringify(arguments[0])",
        expected,
    )


def test_the_page_shows_the_rows_of_a_table_as_they_change(serving: Serving, browser: Browser) -> None:
    browser.open(serving.url)
    browser.click("track")
    until_cells(browser, [["1", "So What", "1"], ["2", MARKUP, "null"]])
    browser.until_text("#columns", "id\ttitle\t<b>album</b>")
    serving.sql("UPDATE track SET title = 'Freddie Freeloader' WHERE id = 1")
    serving.sql("INSERT INTO track VALUES (3, 'Naima', 2)")
    serving.sql("DELETE FROM track WHERE id = 2")
    until_cells(browser, [["1", "Freddie Freeloader", "1"], ["3", "Naima", "2"]])
    browser.until_text("#counts", "2 rows, 3 changes so far")
    assert browser.run("return document.title") == "shapestore"
    assert browser.complaints() == []


def test_the_page_lists_the_shapes_and_who_waits_for_them(serving: Serving, browser: Browser) -> None:
    asked = {"table": "track", "where": "title = $1", "params[1]": MARKUP, "offset": "-1"}
    first = serving.get("v1/shape", params=asked)
    handle, offset = first.headers["electric-handle"], first.headers["electric-offset"]
    browser.open(serving.url)
    browser.until("return document.querySelectorAll('#shapes li').length === 1")
    assert MARKUP in browser.text("#shapes")
    browser.click("track where")
    until_cells(browser, [["2", MARKUP, "null"]])
    browser.until("return document.querySelector('#waiting').innerText.includes('long poll')")
    live = asked | {"offset": offset, "handle": handle, "live": "true", "live_sse": "true"}
    agent = {"user-agent": f"a client {MARKUP}"}
    with httpx.stream("GET", f"{serving.url}v1/shape", params=live, headers=agent, timeout=PATIENCE, trust_env=False):
        browser.until("return document.querySelector('#waiting').innerText.includes(arguments[0])", agent["user-agent"])
        browser.until("return document.querySelector('#shapes').innerText.includes('2 clients waiting')")
    browser.until("return document.querySelector('#shapes').innerText.includes('1 client waiting')")
    assert browser.run("return document.title") == "shapestore"
    assert browser.complaints() == []


def test_the_page_begins_again_when_its_shape_is_dropped(serving: Serving, browser: Browser, tmp_path: Path) -> None:
    browser.open(serving.url)
    browser.click("track")
    until_cells(browser, [["1", "So What", "1"], ["2", MARKUP, "null"]])
    assert in_a_pipe("invalidate", str(tmp_path / "shapes.db"), "track").status == 0
    serving.sql("DELETE FROM track WHERE id = 2")
    until_cells(browser, [["1", "So What", "1"]])


def test_the_page_takes_the_secret_from_its_address_and_no_log_shows_it(tmp_path: Path, browser: Browser) -> None:
    serving = Serving(tmp_path, "--secret", "open&sesame")
    try:
        browser.open(serving.url)
        browser.until("return document.querySelector('#state').innerText.includes('the secret is missing or wrong')")
        browser.open("about:blank")
        browser.open(f"{serving.url}#secret=open%26sesame")
        browser.click("track")
        until_cells(browser, [["1", "So What", "1"], ["2", MARKUP, "null"]])
    finally:
        status, said = serving.end()
    assert status == 130
    assert "sesame" not in serving.said + said


# --- who may ask for what


def test_other_names_for_this_machine_are_refused(serving: Serving) -> None:
    for host, status in [
        ("localhost", 200),
        ("LOCALHOST:3000", 200),
        ("[::1]:3000", 200),
        ("evil.test", 421),
        ("", 421),
    ]:
        assert serving.get("v1/health", headers={"host": host}).status_code == status, host
    for path in ("", "overview", "v1/shape?table=track&offset=-1"):
        refused = serving.get(path, headers={"host": "evil.test:3000"})
        assert (refused.status_code, "evil.test" in refused.text, "So What" in refused.text) == (421, True, False)


def test_pages_of_other_sites_may_read_only_what_cors_names(tmp_path: Path) -> None:
    asked = "v1/shape?table=track&offset=-1"
    headers = {"origin": "http://a.test"}
    for number, (options, allowed) in enumerate(
        ((["--cors", "http://a.test"], "http://a.test"), (["--cors", "*"], "*"), ([], None))
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        serving = Serving(folder, *options)
        try:
            assert serving.get(asked, headers=headers).headers.get("access-control-allow-origin") == allowed
            assert serving.get(asked, headers={"origin": "http://b.test"}).headers.get(
                "access-control-allow-origin"
            ) in (None, allowed)
            for path in ("overview", ""):
                assert "access-control-allow-origin" not in serving.get(path, headers=headers).headers
        finally:
            serving.end()


def test_a_page_of_another_site_can_have_no_shape_created(serving: Serving, browser: Browser) -> None:
    """Which it could by the address of an image, without reading the answer."""
    asked = f"{serving.url}v1/shape?table=track&offset=-1"
    browser.open("data:text/html,elsewhere")
    browser.run("location.href = arguments[0]", asked)
    browser.until("return document.body.innerText.includes('a page of another origin asked for this')")
    assert serving.get("overview").json()["shapes"] == []
    browser.open(asked)  # as by the address bar
    browser.until("return document.body.innerText.includes('So What')")


def test_a_page_whose_origin_cors_names_may_ask_and_read(tmp_path: Path, browser: Browser) -> None:
    """As the page of an application under development, on another port of this machine."""
    with elsewhere() as page:
        for number, (options, expected) in enumerate(((["--cors", page], 200), ([], "not readable"))):
            folder = tmp_path / str(number)
            folder.mkdir()
            serving = Serving(folder, *options)
            try:
                browser.open(page)
                ask = (
                    "fetch(arguments[0]).then((answer) => answer.status, () => 'not readable')"
                    ".then((found) => { document.title = found })"
                )
                browser.run(ask, f"{serving.url}v1/shape?table=track&offset=-1")
                browser.until("return document.title === arguments[0]", str(expected))
                assert len(serving.get("overview").json()["shapes"]) == (expected == 200)
            finally:
                serving.end()


@contextmanager
def elsewhere() -> Iterator[str]:
    """The origin of an empty page."""

    class Empty(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Empty) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_only_the_tables_that_are_named_are_served(serving: Serving, tmp_path: Path) -> None:
    serving.sql("CREATE TABLE secrets (id INTEGER PRIMARY KEY, secret TEXT)")
    serving.sql("INSERT INTO secrets VALUES (1, 'hidden')")
    shapes, source = str(tmp_path / "shapes.db"), f"sqlite:///{serving.source}"
    assert in_a_pipe("get", shapes, "--source", source, "--table", "secrets").status == 0
    assert serving.get("overview").json()["shapes"] == []
    assert serving.get("v1/shape?table=secrets&offset=-1").status_code == 400
    with closing(sqlite3.connect(shapes)) as connection:
        [(handle,)] = connection.execute("SELECT handle FROM shapes WHERE table_name = 'secrets'")
    hidden = serving.get(f"stored/{handle}/v1/shape?offset=-1")
    assert (hidden.status_code, "hidden" in hidden.text) == (404, False)


def test_without_the_secret_nothing_is_told_but_the_page(tmp_path: Path) -> None:
    serving = Serving(tmp_path, "--secret", "s")
    try:
        for path in ("overview", "v1/shape?table=track&offset=-1", "stored/x/v1/shape?offset=-1"):
            for given in ("", "&secret=", "&secret=wrong"):
                asked = f"{path}{'' if '?' in path else '?'}{given}"
                assert serving.get(asked).status_code == 401, asked
        assert serving.get("").status_code == 200
        assert serving.get("v1/shape?table=track&offset=-1&secret=s").status_code == 200
    finally:
        serving.end()


def test_the_policy_of_the_page_forbids_scripts_and_requests_elsewhere(serving: Serving, browser: Browser) -> None:
    policy = serving.get("").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    browser.open(serving.url)
    refused = "try { document.body.innerHTML = '<b>taken</b>'; return 'taken' } catch (error) { return error.name }"
    assert browser.run(refused) == "TypeError"


# --- the command


def test_another_address_than_this_machines_needs_a_secret(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.test"):
        ran = in_a_pipe("serve", str(tmp_path / "a.db"), "--source", "sqlite://", "--table", "t", "--host", host)
        assert (ran.status, "--secret is required" in ran.err) == (2, True)


def test_an_empty_secret_is_refused_and_an_empty_variable_names_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHAPESTORE_SECRET", "")
    asked = ["serve", str(tmp_path / "a.db"), "--source", f"sqlite:///{tmp_path}/no.db", "--table", "t"]
    for given, words in ((["--secret", ""], "--secret is empty"), ([], "the source does not exist")):
        assert words in in_a_pipe(*asked, *given).err


def test_what_cors_lets_read_is_an_origin_or_all(tmp_path: Path) -> None:
    asked = ["serve", str(tmp_path / "a.db"), "--source", "sqlite://", "--table", "t", "--cors"]
    for given, words in (("http://a.test/", "did you mean http://a.test?"), ("a.test", "; * lets the pages of all")):
        ran = in_a_pipe(*asked, given)
        assert (ran.status, words in ran.err) == (2, True), ran.err


def test_a_port_that_is_taken_is_an_error_that_names_it(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "music.db")) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        source = f"sqlite:///{tmp_path / 'music.db'}"
        ran = in_a_pipe("serve", str(tmp_path / "a.db"), "--source", source, "--table", "t", "--port", port)
    assert (ran.status, ran.err.startswith(f"Error: cannot listen on 127.0.0.1 port {port}: ")) == (1, True)


def test_ctrl_c_ends_it_at_once_though_clients_wait(serving: Serving) -> None:
    first = serving.get("v1/shape?table=track&offset=-1")
    asked = {"table": "track", "handle": first.headers["electric-handle"], "offset": first.headers["electric-offset"]}
    live = asked | {"live": "true", "live_sse": "true"}
    with httpx.stream("GET", f"{serving.url}v1/shape", params=live, timeout=PATIENCE, trust_env=False) as events:
        assert events.status_code == 200
        assert serving.end() == (130, "\n")


def test_a_database_that_cannot_be_followed_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "music.db")) as connection:
        connection.execute("CREATE TABLE track (id INTEGER PRIMARY KEY)")
        connection.execute("CREATE VIEW by_number AS SELECT id FROM track ORDER BY id")
    asked = ["serve", str(tmp_path / "a.db"), "--source", f"sqlite:///{tmp_path / 'music.db'}", "--table"]
    refused = {
        "track": "PRAGMA journal_mode = WAL",
        "tracks": 'did you mean "track"?',
        "by_number": "has no primary key, by which clients tell rows apart",
    }
    for table, words in refused.items():
        ran = in_a_pipe(*asked, table)
        assert (ran.status, words in ran.err) == (1, True), ran.err


def test_a_database_that_does_not_answer_is_an_error_in_a_line(tmp_path: Path) -> None:
    with closing(socket.socket()) as silent:
        silent.bind(("127.0.0.1", 0))  # nothing listens there, and nothing else will
        url = f"mysql+pymysql://root@127.0.0.1:{silent.getsockname()[1]}/music"
        ran = in_a_pipe("serve", str(tmp_path / "a.db"), "--source", url, "--table", "track")
    assert (ran.status, ran.out) == (1, "")
    assert re.fullmatch(r"Error: the source could not be read: .*127\.0\.0\.1.*\n", ran.err)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("document", ["README.md", "shapestore/cli/README.md"])
def test_the_commands_that_are_shown_serve(document: str, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "music.db")) as connection:
        connection.executescript("CREATE TABLE track (id INTEGER PRIMARY KEY); PRAGMA journal_mode = WAL")
    [shown] = re.findall(r"^\$ shapestore (serve .*)$", (ROOT / document).read_text(), re.MULTILINE)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    served = process(*shlex.split(shown, comments=True), "--port", "0", cwd=tmp_path, env=environment)
    try:
        assert served.stderr is not None
        assert re.fullmatch(r"serving track at http://127.0.0.1:\d+/; Ctrl-C ends it\n", served.stderr.readline())
    finally:
        served.kill()
        served.communicate(timeout=PATIENCE)


@pytest.mark.parametrize("host", ["\udcff", "\u00fc" * 70])
def test_a_name_that_no_host_can_have_is_an_error_in_a_line(tmp_path: Path, host: str) -> None:
    source = f"sqlite:///{tmp_path / 'music.db'}"
    with closing(sqlite3.connect(tmp_path / "music.db")) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE track (id INTEGER PRIMARY KEY)")
    options = ("--source", source, "--table", "track", "--host", host, "--secret", "s", "--port", "0")
    ran = in_a_pipe("serve", str(tmp_path / "a.db"), *options)
    assert (ran.status, ran.err) == (1, f"Error: cannot listen on {host!a}: it is no name of a host\n")
