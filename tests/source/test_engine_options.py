"""Options of an Engine are honoured or refused: what it is set to never changes names, or which rows are read."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.pool import NullPool, SingletonThreadPool, StaticPool

from shapestore import InvalidSourceError, Shape, ShapeStore, SQLSource, UnknownTableError
from shapestore.source import snapshot
from shapestore.source.sqlite_feed.file import files_of


def execute(target: Path | Engine, script: str) -> None:
    if isinstance(target, Engine):
        with target.connect() as connection:
            connection.connection.executescript(script)
    else:
        with closing(sqlite3.connect(target)) as database:
            database.executescript(script)


def read(engine: Engine | str, table: str, **rest: Any) -> list[dict[str, Any]]:
    return list(SQLSource(engine)(Shape(table, **rest)))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "a.db"


@pytest.fixture
def memory() -> Iterator[Engine]:
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    execute(engine, "CREATE TABLE t (id INTEGER PRIMARY KEY, a); INSERT INTO t VALUES (1, 'one'), (2, 'two')")
    yield engine
    engine.dispose()


# --- names and values


@pytest.mark.parametrize("query", ["", "?detect_types=2", "?detect_types=3"])
def test_names_are_those_of_the_schema_whatever_the_driver_makes_of_them(file: Path, query: str) -> None:
    sqlite3.register_converter("C", lambda value: f"converted {value!r}")
    execute(file, 'CREATE TABLE "t [C]" ("Temperature [C]" REAL, "a.b" INT); INSERT INTO "t [C]" VALUES (1.5, 2)')
    assert read(f"sqlite:///{file}{query}", "t [C]") == [{"Temperature [C]": 1.5, "a.b": 2}]


@pytest.mark.parametrize("pragma", ["full_column_names = 1", "short_column_names = 0", "empty_result_callbacks = 1"])
def test_names_are_those_of_the_schema_whatever_sqlite_is_told(file: Path, pragma: str) -> None:
    execute(file, "CREATE TABLE t (id INTEGER PRIMARY KEY, a); INSERT INTO t VALUES (1, 'one')")
    engine = create_engine(f"sqlite:///{file}", poolclass=NullPool)
    event.listen(engine, "connect", lambda connection, _: connection.execute(f"PRAGMA {pragma}"))
    assert read(engine, "t", where="id = 1") == [{"id": 1, "a": "one"}]


def test_labels_and_columns_of_one_name_are_not_confused(file: Path) -> None:
    execute(file, "CREATE TABLE t (b, c0 INT, c1 INT PRIMARY KEY); INSERT INTO t VALUES ('x', 5, 1), ('y', 4, 2)")
    assert read(f"sqlite:///{file}", "t", columns=["b", "c0"]) == [{"b": "x", "c0": 5}, {"b": "y", "c0": 4}]
    assert read(f"sqlite:///{file}", "t", columns=["b", "c1"], where="c0 = 4") == [{"b": "y", "c1": 2}]


def test_a_text_factory_is_honoured_for_values_and_not_for_names(file: Path) -> None:
    execute(file, "CREATE TABLE t (id INTEGER PRIMARY KEY, a); INSERT INTO t VALUES (1, 'one')")
    engine = create_engine(f"sqlite:///{file}", poolclass=NullPool)
    event.listen(engine, "connect", lambda connection, _: setattr(connection, "text_factory", bytes))
    assert read(engine, "t") == [{"id": 1, "a": b"one"}]


def test_a_column_of_a_virtual_table_that_is_hidden_is_left_out(file: Path) -> None:
    execute(
        file, "CREATE VIRTUAL TABLE t USING fts5(a); INSERT INTO t VALUES ('one'); CREATE TABLE g (a, b AS (a + 1))"
    )
    execute(file, "INSERT INTO g VALUES (1)")
    assert read(f"sqlite:///{file}", "t") == [{"a": "one"}]
    assert read(f"sqlite:///{file}", "g") == [{"a": 1, "b": 2}]


def test_types_that_sqlalchemy_does_not_know_make_no_warning(file: Path) -> None:
    execute(file, "CREATE TABLE t (a int(11) PRIMARY KEY, b some thing(1, 2), c); INSERT INTO t VALUES (1, 2, 3)")
    assert read(f"sqlite:///{file}", "t") == [{"a": 1, "b": 2, "c": 3}]


@pytest.mark.parametrize("word", ["returning", "nothing", "lateral", "collation", "portion", "order", "within"])
def test_a_name_that_is_a_word_of_sql_is_quoted(file: Path, word: str) -> None:
    execute(file, f'CREATE TABLE "{word}" ("{word}" INT PRIMARY KEY); INSERT INTO "{word}" VALUES (1)')
    assert read(f"sqlite:///{file}", word, columns=[word], where=f'"{word}" = 1') == [{word: 1}]


# --- schemas


def tenants(file: Path) -> Engine:
    """An engine with the table ``t`` in three schemas, of which two have names with dots."""
    for name in ("main", "b", "b.c"):
        path = file.with_name(f"{name}.db")
        execute(path, f"CREATE TABLE t (a); INSERT INTO t VALUES ('{name}')")
        execute(path, f'CREATE TABLE "c.t" (a); INSERT INTO "c.t" VALUES (\'c.t of {name}\')')
    engine = create_engine(f"sqlite:///{file.with_name('main.db')}", poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def _(connection: sqlite3.Connection, _: object) -> None:
        for name in ("b", "b.c"):
            connection.execute(f"ATTACH '{file.with_name(f'{name}.db')}' AS \"{name}\"")

    return engine


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("t", "main"),
        ("c.t", "c.t of main"),
        ("main.t", "main"),
        ("main.c.t", "c.t of main"),
        ("b.t", "b"),
        ("b.c.t", "c.t of b"),  # the first dot that gives a table
        ("b.c.c.t", "c.t of b.c"),
    ],
)
def test_names_of_tables_and_schemas_may_hold_dots(file: Path, table: str, expected: str) -> None:
    assert read(tenants(file), table) == [{"a": expected}]


@pytest.mark.parametrize(
    ("translated", "table", "expected"),
    [
        ({None: "b"}, "t", "b"),
        ({None: "b.c"}, "c.t", "c.t of b.c"),
        ({"tenant": "b"}, "tenant.t", "b"),
        ({"tenant": "b"}, "t", "main"),
        ({"tenant": "b", "b": "b.c"}, "tenant.t", "b"),  # translated once
        ({"b": "b.c"}, "b.t", "b.c"),
        ({"b": None}, "b.t", "main"),
        ({}, "b.t", "b"),
    ],
)
def test_a_schema_translate_map_is_honoured(file: Path, translated: dict[Any, Any], table: str, expected: str) -> None:
    engine = tenants(file).execution_options(schema_translate_map=translated)
    assert read(engine, table) == [{"a": expected}]


def test_with_a_translated_default_no_table_of_another_tenant_is_found(file: Path) -> None:
    engine = tenants(file)
    execute(file.with_name("main.db"), "CREATE TABLE only_main (a)")
    with pytest.raises(UnknownTableError, match=r'no table or view "only_main"; it has "c\.t", "t"$'):
        read(engine.execution_options(schema_translate_map={None: "b"}), "only_main")
    assert SQLSource(engine).key_columns(Shape("only_main")) is None


# --- transactions and execution options


@pytest.mark.parametrize(
    "options",
    [
        {"isolation_level": "AUTOCOMMIT"},
        {"isolation_level": "SERIALIZABLE"},
        {"isolation_level": "READ UNCOMMITTED"},
        {"connect_args": {"isolation_level": None}},
        {"connect_args": {"isolation_level": "EXCLUSIVE"}},
        {"execution_options": {"no_parameters": True}},
        {"execution_options": {"stream_results": False, "max_row_buffer": 1}},
        {"execution_options": {"yield_per": 1}},
        {"execution_options": {"sqlite_raw_colnames": True}},
        {"execution_options": {"logging_token": "x"}},
        {"paramstyle": "qmark"},
        {"echo": False, "hide_parameters": True},
    ],
)
def test_an_engine_may_have_any_options(file: Path, options: dict[str, Any]) -> None:
    execute(file, 'CREATE TABLE "5%%" ("50%" INTEGER PRIMARY KEY); INSERT INTO "5%%" VALUES (1), (2), (3)')
    execute(file, "PRAGMA journal_mode = wal")
    engine = create_engine(f"sqlite:///{file}", poolclass=NullPool, **options)
    rows = SQLSource(engine, batch_size=1)(Shape("5%%", where='"50%" > :p', params={"p": 0}))
    first = next(rows)
    execute(file, 'DELETE FROM "5%%"')
    assert [first, *rows] == [{"50%": 1}, {"50%": 2}, {"50%": 3}]


@pytest.mark.skipif(not hasattr(sqlite3, "LEGACY_TRANSACTION_CONTROL"), reason="Python 3.12 brought autocommit")
@pytest.mark.parametrize("autocommit", [True, False])
def test_no_transaction_is_left_open_whatever_autocommit_says(file: Path, autocommit: bool) -> None:
    execute(file, "CREATE TABLE t (a); INSERT INTO t VALUES (1)")
    engine = create_engine(f"sqlite:///{file}", poolclass=SingletonThreadPool, connect_args={"autocommit": autocommit})
    assert read(engine, "t") == [{"a": 1}]
    execute(file, "DELETE FROM t")
    assert read(engine, "t") == []
    engine.dispose()


# --- one connection for all threads


def in_halves(files: Callable[[sqlite3.Connection], dict[str, str]]) -> Callable[[sqlite3.Connection], dict[str, str]]:
    """Gives nothing to two threads that ask one connection at once, as Python 3.13 does now and then."""
    asked: Counter[sqlite3.Connection] = Counter()

    def found(connection: sqlite3.Connection) -> dict[str, str]:
        asked[connection] += 1
        try:
            time.sleep(0.001)
            return files(connection) if asked[connection] == 1 else {}
        finally:
            asked[connection] -= 1

    return found


async def test_shapes_of_an_engine_on_a_static_pool_are_created_side_by_side(
    memory: Engine, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheres = [f"id <= {n}" for n in range(60)]
    monkeypatch.setattr(snapshot, "files_of", in_halves(files_of))
    async with ShapeStore(path, create=SQLSource(memory)) as store, asyncio.TaskGroup() as group:
        tasks = [group.create_task(store.get_or_create(Shape("t", where=where))) for where in wheres]
    assert [task.result().row_count for task in tasks] == [min(n, 2) for n in range(60)]
    assert read(memory, "t") == [{"id": 1, "a": "one"}, {"id": 2, "a": "two"}]


def test_the_transactions_of_the_application_stay_its_own(memory: Engine) -> None:
    with memory.begin() as connection:
        connection.exec_driver_sql("INSERT INTO t VALUES (3, 'three')")
        reading = threading.Thread(target=lambda: rows.extend(read(memory, "t", where="id = 3")))
        rows: list[dict[str, Any]] = []
        reading.start()
        reading.join(0.05)
        assert rows == []  # not before the commit
        connection.exec_driver_sql("INSERT INTO t VALUES (4, 'four')")
    reading.join()
    assert rows == [{"id": 3, "a": "three"}]
    assert len(read(memory, "t")) == 4


def test_a_write_transaction_that_never_ends_is_an_error(memory: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "COPY_TIMEOUT", 0.01)
    with memory.begin() as connection:
        connection.exec_driver_sql("INSERT INTO t VALUES (3, 'three')")
        with pytest.raises(sqlite3.OperationalError, match=r"was in a write transaction for 0\.01 s"):
            read(memory, "t")
    assert len(read(memory, "t")) == 3


@pytest.mark.parametrize(
    "shape", [Shape("nothing"), Shape("t", where="abs(id - 9223372036854775807 - 2) > 0"), Shape("t")]
)
def test_an_error_of_ours_never_loses_the_database(memory: Engine, shape: Shape) -> None:
    event.listen(memory, "before_cursor_execute", lambda *_: None)
    for _ in range(3):
        rows = SQLSource(memory)(shape)
        try:
            next(rows)
        except (UnknownTableError, sqlite3.Error):
            continue
        rows.close()  # type: ignore[attr-defined]
    with memory.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM t").scalar() == 2


def test_functions_and_attached_databases_of_the_one_connection_are_there(memory: Engine) -> None:
    @event.listens_for(memory.pool, "connect")
    def _(connection: sqlite3.Connection, _record: object) -> None:
        connection.create_function("doubled", 1, lambda value: value * 2)

    execute(
        memory,
        'ATTACH \':memory:\' AS "other one"; CREATE TABLE "other one".u (a);'
        "CREATE VIEW v AS SELECT doubled(id) AS d FROM t",
    )
    execute(memory, 'INSERT INTO "other one".u VALUES (7)')
    assert read(memory, "other one.u") == [{"a": 7}]
    assert read(memory, "v") == [{"d": 2}, {"d": 4}]


def test_a_static_pool_over_a_file_is_read_by_a_connection_of_its_own(file: Path) -> None:
    execute(file, "CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)")
    engine = create_engine(f"sqlite:///{file}", poolclass=StaticPool)
    with engine.begin() as connection, ThreadPoolExecutor(4) as threads:
        assert connection.exec_driver_sql("SELECT * FROM t").fetchall() == [(1,)]
        assert list(threads.map(lambda _: read(engine, "t"), range(20))) == [[{"id": 1}]] * 20
    engine.dispose()


@pytest.mark.parametrize("vfs", ["mode=memory&cache=shared", "vfs=memdb"])
def test_a_shared_in_memory_database_is_read(vfs: str) -> None:
    for poolclass in (StaticPool, NullPool):
        name = f"file:/shared-{poolclass.__name__}?{vfs}"
        with closing(sqlite3.connect(name, uri=True)) as database:
            database.executescript("CREATE TABLE t (a); INSERT INTO t VALUES (1)")
            engine = create_engine(
                f"sqlite:///{name}&uri=true", poolclass=poolclass, connect_args={"check_same_thread": False}
            )
            assert read(engine, "t") == [{"a": 1}]
            engine.dispose()


def test_an_in_memory_database_of_every_thread_its_own_is_refused_by_its_remedy() -> None:
    engine = create_engine("sqlite://", connect_args={"check_same_thread": False})  # so that it can be disposed of here
    execute(engine, "CREATE TABLE t (a)")
    with ThreadPoolExecutor(1) as thread, pytest.raises(InvalidSourceError, match=r"empty: .*poolclass=StaticPool"):
        thread.submit(read, engine, "t").result()
    engine.dispose()


def test_a_static_pool_of_one_thread_is_refused_by_its_remedy() -> None:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    execute(engine, "CREATE TABLE t (a)")
    with ThreadPoolExecutor(1) as thread, pytest.raises(InvalidSourceError, match='"check_same_thread": False'):
        thread.submit(read, engine, "t").result()
    engine.dispose()


def test_a_creator_that_always_gives_one_connection_is_refused() -> None:
    with closing(sqlite3.connect(":memory:", check_same_thread=False)) as database:
        engine = create_engine("sqlite://", poolclass=StaticPool, creator=lambda: database)
        with pytest.raises(InvalidSourceError, match="always returns the same connection"):
            read(engine, "t")
        assert database.execute("SELECT 1").fetchall() == [(1,)]


class DirtyOnce(sqlite3.Connection):
    """In the middle of its first copy the application writes, and then rolls back."""

    is_clean = False

    def serialize(self, *, name: str = "main") -> bytes:
        if self.is_clean:
            return super().serialize(name=name)
        self.is_clean = True
        self.execute("INSERT INTO t VALUES (9, 'never committed')")
        image = super().serialize(name=name)
        self.rollback()
        return image


def test_what_is_rolled_back_while_it_is_copied_is_never_read() -> None:
    options = {"check_same_thread": False, "factory": DirtyOnce}
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args=options)
    execute(engine, "CREATE TABLE t (id INTEGER PRIMARY KEY, a); INSERT INTO t VALUES (1, 'one')")
    assert read(engine, "t") == [{"id": 1, "a": "one"}]
    engine.dispose()
