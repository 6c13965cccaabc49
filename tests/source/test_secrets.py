"""No secret of a source's URL is shown, raised, logged or stored, wherever it stands in the URL."""

from __future__ import annotations

import logging
import sqlite3
import traceback
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, create_engine, event, make_url
from sqlalchemy.pool import NullPool

from shapestore import CreateFailedError, InvalidSourceError, Shape, ShapeStore, SQLSource
from shapestore.source.secrets import secrets_of, shown, without_secrets

SECRET = "hunter2/it's"
SPELLED = "hunter2%2Fit%27s"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (f"postgresql://me:{SPELLED}@host/x", "postgresql://me:***@host/x"),
        (f"postgresql://me@/x?host=/run&password={SPELLED}", "postgresql://me@/x?host=/run&password=***"),
        (f"mysql+pymysql://h/x?ssl_key_password={SPELLED}", "mysql+pymysql://h/x?ssl_key_password=***"),
        (f"sqlite:///x.db?uri=true&key={SPELLED}&key=b", "sqlite:///x.db?uri=true&key=***&key=***"),
        (URL.create("sqlite", database=f"x.db?key={SECRET}"), "sqlite:///x.db?***"),
        (f"mssql+pyodbc://h/x?odbc_connect=DRIVER%3Dx%3BPWD%3D{SPELLED}", "mssql+pyodbc://h/x?odbc_connect=***"),
        (f"snowflake://me@x/y?token={SPELLED}", "snowflake://me@x/y?token=***"),
        (f"postgresql://h/x?options=-c%20a.token%3D{SPELLED}", "postgresql://h/x?options=***"),
    ],
)
def test_a_url_is_shown_without_its_secrets_and_errors_are_cleaned_of_them(url: str | URL, expected: str) -> None:
    parsed = make_url(url)
    assert shown(parsed) == expected
    with pytest.raises(OSError, match=r"^connecting with .*\*\*\*") as caught, without_secrets(secrets_of(parsed)):
        raise OSError(f"connecting with password={SECRET} failed")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["sqlite:///a.db?timeout=5&uri=true&check_same_thread=0", "postgresql://me@h/x"])
def test_a_url_without_secrets_costs_no_message_a_word(url: str) -> None:
    assert secrets_of(make_url(url)) == ()
    assert shown(make_url(url)) == url


class AwkwardError(Exception):
    """Its message is made of more than its arguments."""

    def __init__(self, dsn: str) -> None:
        super().__init__()
        self.dsn = dsn

    def __str__(self) -> str:
        return f"cannot connect to {self.dsn}"


class BrokenError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def raised_by(error: BaseException) -> BaseException:
    secrets = ["hunter2"]
    try:
        with without_secrets(secrets):
            raise error
    except Exception as caught:
        return caught


def test_every_error_that_led_to_it_is_cleaned() -> None:
    error = OSError("outer")
    error.__cause__ = ValueError("hunter2", 7)
    error.__cause__.__context__ = KeyError("with hunter2")
    error.__cause__.add_note("tried hunter2")
    assert raised_by(error) is error
    text = "".join(traceback.format_exception(error))
    assert "hunter2" not in text
    assert "('***', 7)" in text
    error.__cause__ = AwkwardError("hunter2")
    assert raised_by(error) is error
    assert error.__cause__ is None


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (AwkwardError("me:hunter2@host"), "AwkwardError: cannot connect to me:***@host"),
        (OSError(2, "not there", "/run/hunter2"), "FileNotFoundError: [Errno 2] not there: '/run/***'"),
        (BrokenError("hunter2"), "BrokenError: its message cannot be shown"),
    ],
)
def test_an_error_that_cannot_be_cleaned_is_replaced(error: Exception, message: str) -> None:
    replaced = raised_by(error)
    assert isinstance(replaced, InvalidSourceError)
    assert str(replaced) == message
    assert "hunter2" not in "".join(traceback.format_exception(replaced))


def test_an_exception_that_ends_the_program_passes() -> None:
    with pytest.raises(KeyboardInterrupt), without_secrets(["hunter2"]):
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://me:hunter2@localhost:1/x?connect_timeout=2",
        "postgresql+psycopg://me@localhost:1/x?password=hunter2",
        "postgresql+psycopg://me@localhost:1/x?hunter2=hunter2",
        "postgresql+psycopg://me@localhost:1/x?options=-ctoken%3Dhunter2",
        "postgresql+psycopg://me@localhost:1/x?sslpassword=hunter2&sslmode=require",
        "mysql+pymysql://me:hunter2@localhost:1/x",
        "mysql+pymysql://me@localhost:1/x?password=hunter2",
        "mysql+pymysql://me@localhost:1/x?passwd=hunter2",
        "mysql+pymysql://me@localhost:1/x?ssl_key=hunter2",
    ],
)
async def test_no_error_log_row_or_repr_of_a_real_driver_bears_a_secret(
    url: str, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("psycopg")
    pytest.importorskip("pymysql")
    caplog.set_level(logging.DEBUG)
    source = SQLSource(url)
    async with ShapeStore(path, create=source) as store:
        with pytest.raises(CreateFailedError) as caught:
            await store.get_or_create(Shape("album"))
    with closing(sqlite3.connect(path)) as database:
        stored = "\n".join(database.iterdump())
    told = repr(source), "".join(traceback.format_exception(caught.value)), stored, caplog.text
    assert [text for text in told if "=hunter2" in text or "'hunter2'" in text or ":hunter2" in text] == []


def test_the_echo_of_an_engine_s_driver_is_cleaned(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'a.db'}", poolclass=NullPool)
    engine = engine.execution_options()
    engine.url = engine.url.update_query_dict({"key": "hunter2"})

    @event.listens_for(engine, "do_connect")
    def _(*_: Any) -> None:
        raise sqlite3.DatabaseError("the key hunter2 does not fit")

    with pytest.raises(sqlite3.DatabaseError, match=r"^the key \*\*\* does not fit$"):
        list(SQLSource(engine)(Shape("album")))
