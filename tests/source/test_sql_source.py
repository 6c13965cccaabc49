"""SQLSource on SQLite: what is read, what is refused, what is left behind."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import count, islice
from pathlib import Path
from typing import Any

import pytest
from permissions import as_a_user, needs_permissions
from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.pool import QueuePool, StaticPool

from shapestore import CreateFailedError, Shape, ShapeStore, SQLSource
from shapestore.errors import InvalidRowError, UnknownColumnError, UnknownTableError

SCHEMA = """
    CREATE TABLE album (album_id INTEGER PRIMARY KEY, title TEXT, price NUMERIC, cover BLOB, released DATE);
    INSERT INTO album VALUES
        (3, 'back\\slash', NULL, NULL, NULL),
        (1, 'Ten: 50% "live"', 9.5, X'00FF', '1991-08-27'),
        (2, 'it''s :one', 12, X'', 'some day in 1993');
    CREATE VIEW cheap_album AS SELECT title, price FROM album WHERE price < 10;
    CREATE TABLE number (n INTEGER PRIMARY KEY);
    WITH RECURSIVE count(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM count WHERE n < 5000)
        INSERT INTO number SELECT n FROM count;
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "music 100%.db"
    execute(path, SCHEMA)
    return path


@pytest.fixture
def source(path: Path) -> SQLSource:
    return SQLSource(url(path))


def url(path: Path) -> str:
    return f"sqlite:///{path}"


def execute(path: Path, script: str) -> None:
    """Run a script over a connection of its own, which does not wait for a lock."""
    with closing(sqlite3.connect(path, timeout=0)) as database:
        database.executescript(script)


def read(source: SQLSource, table: str, **rest: Any) -> list[dict[str, Any]]:
    return list(source(Shape(table, **rest)))


def ids(source: SQLSource, where: str, **params: Any) -> list[int]:
    return [row["album_id"] for row in read(source, "album", where=where, params=params or None)]


# --- what is read


def test_a_table_is_read_whole_in_the_order_of_its_key_and_as_it_is_stored(source: SQLSource) -> None:
    assert read(source, "album") == [
        {"album_id": 1, "title": 'Ten: 50% "live"', "price": 9.5, "cover": b"\0\xff", "released": "1991-08-27"},
        {"album_id": 2, "title": "it's :one", "price": 12, "cover": b"", "released": "some day in 1993"},
        {"album_id": 3, "title": "back\\slash", "price": None, "cover": None, "released": None},
    ]


@pytest.mark.parametrize("batch_size", [1, 2**31, 10**30])
def test_any_size_of_batch_gives_the_same_rows(path: Path, batch_size: int) -> None:
    """A driver takes no number of more than 32 bits, and one may stand for all rows at once."""
    assert len(read(SQLSource(url(path), batch_size=batch_size), "album")) == 3


def test_columns_are_those_asked_for_in_their_order(source: SQLSource) -> None:
    rows = read(source, "album", columns=["price", "album_id"])
    assert [list(row.items()) for row in rows] == [
        [("price", 9.5), ("album_id", 1)],
        [("price", 12), ("album_id", 2)],
        [("price", None), ("album_id", 3)],
    ]


@pytest.mark.parametrize(
    ("where", "params", "expected"),
    [
        ("album_id = :id", {"id": 2}, [2]),
        ("album_id > :least AND album_id < :most", {"least": 1, "most": 3}, [2]),
        ("album_id = :id OR album_id + 1 = :id", {"id": 3}, [2, 3]),
        ("title = :title", {"title": "it's :one"}, [2]),
        ("title = 'it''s :one'", {}, [2]),
        ("title LIKE '%: 50#% \"%' ESCAPE '#'", {}, [1]),
        ("title = 'back\\slash'", {}, [3]),
        ("price = :price", {"price": 9.5}, [1]),
        ("album_id % 2 = 1", {}, [1, 3]),
        ("price IS :nothing", {"nothing": None}, [3]),
        ("(album_id = 1) = :yes", {"yes": True}, [1]),
        ("title = :title", {"title": "'; DROP TABLE album; --"}, []),
    ],
)
def test_a_where_selects_rows(source: SQLSource, where: str, params: dict[str, Any], expected: list[int]) -> None:
    assert ids(source, where, **params) == expected


def test_names_may_be_of_any_kind(path: Path, source: SQLSource) -> None:
    execute(path, 'CREATE TABLE "a.b:c %d" ("50% :x" INT, "back\\:y" INT, "say ""hi""" INT, "select" INT)')
    execute(path, 'INSERT INTO "a.b:c %d" VALUES (1, 2, 3, 4), (5, 6, 7, 8)')
    where = '"50% :x" = 1 AND "back\\:y" = 2 AND "say ""hi""" = 3 AND "select" = :four'
    assert read(source, "a.b:c %d", where=where, params={"four": 4}) == [
        {"50% :x": 1, "back\\:y": 2, 'say "hi"': 3, "select": 4}
    ]


def test_a_view_is_read_as_a_table_is(source: SQLSource) -> None:
    assert read(source, "cheap_album", where="price > 1") == [{"title": 'Ten: 50% "live"', "price": 9.5}]


def test_a_composite_key_orders_by_its_own_order_of_columns(path: Path, source: SQLSource) -> None:
    execute(
        path, "CREATE TABLE pair (a INT, b INT, PRIMARY KEY (b, a)) ; INSERT INTO pair VALUES (1, 2), (2, 1), (1, 1)"
    )
    assert [tuple(row.values()) for row in read(source, "pair")] == [(1, 1), (2, 1), (1, 2)]


def test_a_table_may_be_named_with_its_schema(source: SQLSource) -> None:
    assert read(source, "main.album", columns=["album_id"], where="album_id = 1") == [{"album_id": 1}]


def test_a_dot_may_belong_to_the_name(path: Path, source: SQLSource) -> None:
    execute(path, 'CREATE TABLE "main.album" (x INT); INSERT INTO "main.album" VALUES (7)')
    assert read(source, "main.album") == [{"x": 7}]


def test_a_column_that_came_later_is_read(path: Path, source: SQLSource) -> None:
    assert "label" not in read(source, "album")[0]
    execute(path, "ALTER TABLE album ADD COLUMN label TEXT DEFAULT 'Epic'")
    assert read(source, "album", where="album_id = 1")[0]["label"] == "Epic"


def test_a_database_in_memory_is_read_through_its_engine() -> None:
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (a INT)")
        connection.exec_driver_sql("INSERT INTO t VALUES (1)")
    source = SQLSource(engine)
    assert read(source, "t") == read(source, "t") == [{"a": 1}]
    engine.dispose()


def test_an_engine_that_sends_begin_itself_is_read(path: Path) -> None:
    engine = create_engine(url(path))
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    assert ids(SQLSource(engine), "album_id = 1") == [1]
    engine.dispose()


def test_many_threads_read_through_one_source(source: SQLSource) -> None:
    with ThreadPoolExecutor(16) as threads:
        counts = threads.map(lambda n: len(read(source, "number", where="n <= :n", params={"n": n})), range(1, 200))
        assert list(counts) == list(range(1, 200))


# --- one moment, not all at once, and nothing left behind


def test_a_shape_is_read_as_of_one_moment(path: Path) -> None:
    execute(path, "PRAGMA journal_mode = wal")
    rows = SQLSource(url(path), batch_size=10)(Shape("number"))
    first = next(rows)
    execute(path, "DELETE FROM number; ALTER TABLE number ADD COLUMN m INT")
    assert [first, *rows] == [{"n": n} for n in range(1, 5001)]


def test_columns_are_looked_up_in_the_moment_in_which_rows_are_read(path: Path) -> None:
    execute(path, "PRAGMA journal_mode = wal")
    engine = create_engine(url(path))

    @event.listens_for(engine, "before_cursor_execute")
    def _(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if "shape_row" in statement:
            execute(path, "ALTER TABLE number RENAME COLUMN n TO m")

    assert read(SQLSource(engine), "number", where="n = 7") == [{"n": 7}]
    engine.dispose()


def test_no_more_is_fetched_than_a_batch(path: Path) -> None:
    computed = count()
    engine = engine_with(path, lambda n: next(computed))
    rows = SQLSource(engine, batch_size=10)(Shape("computed"))
    list(islice(rows, 25))
    assert 25 <= next(computed) <= 31
    rows.close()  # type: ignore[attr-defined]
    engine.dispose()


def test_closing_half_way_ends_the_transaction(path: Path, source: SQLSource) -> None:
    rows = source(Shape("number"))
    next(rows)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        execute(path, "DELETE FROM number")
    rows.close()  # type: ignore[attr-defined]
    execute(path, "DELETE FROM number")


@pytest.mark.parametrize("shape", [Shape("number"), Shape("nmber"), Shape("number", where="m = 1")])
def test_a_connection_goes_back_to_its_pool_whatever_happens(path: Path, shape: Shape) -> None:
    engine = create_engine(url(path), poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=0)
    rows = SQLSource(engine)(shape)
    try:
        next(rows)
    except (UnknownColumnError, UnknownTableError):
        pass
    else:
        rows.close()  # type: ignore[attr-defined]
    execute(path, "DELETE FROM number")
    assert ids(SQLSource(engine), "album_id = 1") == [1]
    engine.dispose()


def test_nothing_is_left_beside_a_source_in_wal_mode(path: Path, source: SQLSource) -> None:
    execute(path, "PRAGMA journal_mode = wal")
    assert len(read(source, "number")) == 5000
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    "form", ["sqlite:///{}", "sqlite:///file:{}?uri=true", "sqlite:///file://{}?cache=private&uri=1"]
)
def test_a_path_that_is_wrong_makes_no_file(tmp_path: Path, form: str) -> None:
    source = SQLSource(form.format(tmp_path / "nowhere.db"))
    with pytest.raises(FileNotFoundError, match=r"the source does not exist: .*nowhere\.db is not a file"):
        read(source, "album")
    assert list(tmp_path.iterdir()) == []


def test_a_source_that_is_a_folder_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match=r"the source is a file, and .* is a folder: name a file in it"):
        read(SQLSource(url(tmp_path)), "album")


@needs_permissions
@pytest.mark.parametrize(
    ("file_mode", "folder_mode", "why"),
    [
        (0o000, 0o755, "the source cannot be read: this user has no permission to read "),
        (0o644, 0o555, "the source is in WAL mode, and this user has no permission to write in its folder: "),
    ],
)
def test_a_source_that_permissions_close_is_told_so(path: Path, file_mode: int, folder_mode: int, why: str) -> None:
    execute(path, "PRAGMA journal_mode = wal")
    read_it = "import sys; from shapestore import *; list(SQLSource(sys.argv[1])(Shape('number')))"
    path.chmod(file_mode)
    path.parent.chmod(folder_mode)
    try:
        ran = as_a_user(sys.executable, "-c", read_it, url(path))
    finally:
        path.parent.chmod(0o755)
    assert f"\nPermissionError: {why}" in ran.stderr


def test_a_uri_says_itself_how_the_file_is_opened(path: Path) -> None:
    # Not as text: SQLAlchemy 2.1 decodes %25 in the path of a URL, and 2.0 does not.
    source = SQLSource(URL.create("sqlite", database=path.as_uri(), query={"mode": "ro", "uri": "true"}))
    assert ids(source, "album_id = 1") == [1]


# --- what is refused, and how it is said


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("albun", 'no table or view "albun"; did you mean "album"? It has "album", "number", "cheap_album"'),
        ("CHEAP_ALBUMS", 'no table or view "CHEAP_ALBUMS"; did you mean "cheap_album"'),
        ("Album", 'no table or view "Album"; did you mean "album"? It has'),
        ("main.Cheap_Album", 'no table or view "main.Cheap_Album"; did you mean "main.cheap_album"? It has'),
        ("main.nummer", 'no table or view "main.nummer"; did you mean "main.number"'),
        ("other.zzz", 'no table or view "other.zzz"; it has "album", "number", "cheap_album"'),
    ],
)
def test_a_table_that_is_not_there_is_said_with_those_that_are(source: SQLSource, table: str, message: str) -> None:
    with pytest.raises(UnknownTableError) as caught:
        read(source, table)
    assert message in str(caught.value)


def test_an_empty_database_says_so(tmp_path: Path) -> None:
    execute(tmp_path / "empty.db", "VACUUM")
    with pytest.raises(UnknownTableError, match='no table or view "album"; it has none at all'):
        read(SQLSource(url(tmp_path / "empty.db")), "album")


@pytest.mark.parametrize(
    "rest",
    [{"columns": ["album_id", "Title"]}, {"where": "\"Title\" = 'x'"}, {"where": "album_id > 0 OR Title IS NULL"}],
)
def test_a_column_that_is_not_there_is_said_with_those_that_are(source: SQLSource, rest: dict[str, Any]) -> None:
    with pytest.raises(UnknownColumnError) as caught:
        read(source, "album", **rest)
    assert str(caught.value) == (
        'the table "album" has no column "Title"; did you mean "title"? '
        'It has "album_id", "title", "price", "cover", "released"'
    )


def test_of_many_names_some_are_said(path: Path, source: SQLSource) -> None:
    execute(path, f"CREATE TABLE wide ({', '.join(f'c{n} INT' for n in range(100))})")
    with pytest.raises(UnknownColumnError, match=r'"c39", and 60 more$'):
        read(source, "wide", columns=["zzz"])


def test_a_source_that_is_not_a_database_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear database," * 100)
    told = "the source is not a SQLite database, or an encrypted one: file is not a database"
    with pytest.raises(sqlite3.DatabaseError, match=f"^{told}$"):
        read(SQLSource(url(tmp_path / "letter.txt")), "album")


def test_a_source_that_another_program_keeps_locked_is_told_so(path: Path) -> None:
    source = SQLSource(f"{url(path)}?timeout=0")
    with closing(sqlite3.connect(path, isolation_level=None)) as another:
        another.execute("BEGIN EXCLUSIVE")
        with pytest.raises(
            sqlite3.OperationalError, match=r"^another program keeps the source locked: database is locked$"
        ):
            read(source, "album")


def test_what_an_error_came_from_has_an_end(tmp_path: Path) -> None:
    """Programs that report errors follow the chain."""
    path = tmp_path / "no.db"
    path.write_text("no database at all")
    with pytest.raises(sqlite3.DatabaseError) as caught:
        list(SQLSource(f"sqlite:///{path}")(Shape("Track")))
    chain: list[BaseException] = []
    error: BaseException | None = caught.value
    while error is not None:
        assert error not in chain
        chain.append(error)
        error = error.__cause__ or error.__context__


def test_text_that_is_not_utf8_is_refused_with_the_name_of_its_column(path: Path, source: SQLSource) -> None:
    """SQLite takes any bytes for text; the driver names the column as our statement labels it."""
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, title TEXT, body TEXT)")
        connection.execute("INSERT INTO notes VALUES (1, 'first', 'fine'), (2, 'second', CAST(x'ff' AS TEXT))")
    connection.close()
    for columns in (None, ["body"]):
        with pytest.raises(InvalidRowError, match='the column "body" holds text that is not UTF-8'):
            list(source(Shape("notes", columns=columns)))


def test_a_source_that_fails_half_way_is_the_drivers_error(path: Path) -> None:
    engine = engine_with(path, lambda n: 1 // (n - 500))
    rows = SQLSource(engine, batch_size=10)(Shape("computed"))
    with pytest.raises(sqlite3.OperationalError, match=r"^user-defined function raised exception$"):
        list(rows)
    execute(path, "DELETE FROM number")
    engine.dispose()


def test_a_pool_that_is_exhausted_is_said_without_a_link(path: Path) -> None:
    engine = create_engine(url(path), poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=0)
    with engine.connect(), pytest.raises(Exception, match=r"^QueuePool limit of size 1 .* timeout 0\.00$"):
        read(SQLSource(engine), "album")
    engine.dispose()


# --- in a store


async def test_a_store_serves_what_its_source_has(path: Path, source: SQLSource, tmp_path: Path) -> None:
    async with ShapeStore(tmp_path / "shapes.db", create=source) as store:
        stored = await store.get_or_create(Shape("album", where="album_id < :n", params={"n": 3}, columns=["title"]))
        rows = [row async for row in store.rows(stored.handle)]
    assert rows == [{"title": 'Ten: 50% "live"'}, {"title": "it's :one"}]


async def test_callers_are_told_what_was_wrong_with_the_shape(source: SQLSource, tmp_path: Path) -> None:
    async with ShapeStore(tmp_path / "shapes.db", create=source) as store:
        with pytest.raises(CreateFailedError) as caught:
            await store.get_or_create(Shape("album", where="titel = 'x'"))
    assert caught.value.error_type == "UnknownColumnError"
    assert caught.value.message.startswith('the table "album" has no column "titel"; did you mean "title"?')
    assert isinstance(caught.value.__cause__, UnknownColumnError)


def engine_with(path: Path, function: Callable[[int], Any]) -> Engine:
    """An engine on whose database the view ``computed`` calls ``function`` for each number, when it is read."""
    execute(path, "CREATE VIEW computed AS SELECT compute(n) AS c FROM number")
    engine = create_engine(url(path))

    @event.listens_for(engine, "connect")
    def _(connection: sqlite3.Connection, _record: object) -> None:
        connection.create_function("compute", 1, function)

    return engine


# --- keys


@pytest.mark.parametrize(
    ("create", "key", "keys"),
    [
        ("TABLE t (a INTEGER PRIMARY KEY, b)", ("a",), [(1,), (2,)]),
        ("TABLE t (a INT, b TEXT, PRIMARY KEY (b, a)) WITHOUT ROWID", ("b", "a"), [("one", 1), ("two", 2)]),
        ("TABLE t (a INT, b TEXT, PRIMARY KEY (b))", ("b",), [("one",), ("two",)]),
        ("TABLE t (a INT UNIQUE NOT NULL, b)", None, [None, None]),
        ("TABLE t (a, b)", None, [None, None]),
    ],
)
def test_the_keys_of_rows_are_told_also_where_columns_leave_them_out(
    path: Path, source: SQLSource, create: str, key: Any, keys: list[Any]
) -> None:
    execute(path, f"CREATE {create}; INSERT INTO t VALUES (1, 'one'), (2, 'two'); CREATE VIEW v AS SELECT * FROM t")
    for columns in (None, ["b"], ["a"], ["b", "a"]):
        shape = Shape("t", columns=columns)
        rows = source.keyed_rows(shape)
        assert (source.key_columns(shape), rows.key_columns) == (key, key)
        assert list(rows) == list(zip(keys, source(shape), strict=True))
    assert source.key_columns(Shape("v")) is None


def test_a_key_of_sqlite_may_be_null_and_then_repeated(path: Path, source: SQLSource) -> None:
    execute(path, "CREATE TABLE t (a TEXT PRIMARY KEY, b); INSERT INTO t VALUES (NULL, 1), (NULL, 2), (x'00', 3)")
    assert list(source.keyed_rows(Shape("t", columns=["b"]))) == [
        ((None,), {"b": 1}),
        ((None,), {"b": 2}),
        ((b"\0",), {"b": 3}),
    ]


def test_keyed_rows_are_of_one_moment_and_closing_them_ends_it(path: Path, source: SQLSource) -> None:
    rows = source.keyed_rows(Shape("number"))
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        execute(path, "DELETE FROM number")
    assert next(rows) == ((1,), {"n": 1})
    rows.close()
    execute(path, "DELETE FROM number")
    with pytest.raises(UnknownTableError):
        source.keyed_rows(Shape("nmber"))
    with pytest.raises(UnknownTableError):
        source.key_columns(Shape("nmber"))


def test_a_guard_is_evaluated_in_the_order_in_which_it_was_written(path: Path, source: SQLSource) -> None:
    execute(path, f"CREATE TABLE t (i INT); INSERT INTO t VALUES ({-(2**63)}), (-5), (4), (NULL)")
    assert read(source, "t", where="coalesce(i,0) > -9223372036854775808 AND abs(i) >= 5") == [{"i": -5}]
    with pytest.raises(sqlite3.OperationalError, match="integer overflow"):
        read(source, "t", where="abs(i) >= 5 AND coalesce(i,0) > -9223372036854775808")
