"""What a source says of columns: types by PostgreSQL's names, the key, and what is declared beside them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from shapestore import Shape, SQLSource, UnknownColumnError, UnknownTableError
from shapestore.shape.column_description import ColumnDescription, key_of
from shapestore.source.catalogue import declared as module
from shapestore.source.catalogue.declared import declared

C = ColumnDescription


@pytest.mark.parametrize(
    ("text", "column"),
    [
        # PostgreSQL's names, in all spellings
        ("int2", C("int2")),
        ("SMALLINT", C("int2")),
        ("INTEGER", C("int4")),
        ("int4", C("int4")),
        ("BIGINT", C("int8")),
        ("Int8", C("int8")),
        ("float4", C("float4")),
        ("DOUBLE PRECISION", C("float8")),
        ("double  precision", C("float8")),
        ("BOOLEAN", C("bool")),
        ("TEXT", C("text")),
        ("VARCHAR", C("varchar")),
        ("VARCHAR(20)", C("varchar", max_length=20)),
        ("character varying ( 20 )", C("varchar", max_length=20)),
        ("CHAR(32)", C("bpchar", length=32)),
        ("NUMERIC(10, 2)", C("numeric", precision=10, scale=2)),
        ("decimal(5)", C("numeric", precision=5)),
        ("uuid", C("uuid")),
        ("JSON", C("json")),
        ("jsonb", C("jsonb")),
        ("DATE", C("date")),
        ("DATETIME", C("timestamp")),
        ("TIMESTAMP(3)", C("timestamp", precision=3)),
        ("timestamp(3) with time zone", C("timestamptz", precision=3)),
        ("timestamptz", C("timestamptz")),
        ("bytea", C("bytea")),
        ("INT8[]", C("int8", 1)),
        ("text[3][]", C("text", 2)),
        ("mood[]", C("mood", 1)),
        # what SQLite makes of any other
        ("MEDIUMINT", C("int8")),
        ("UNSIGNED BIG INT", C("int8")),
        ("NVARCHAR(100)", C("text")),
        ("CLOB", C("text")),
        ("BLOB", C("bytea")),
        ("REAL", C("float8")),
        ("DOUBLE", C("float8")),
        ("FLOAT", C("float8")),
        ("NUMBER(10)", C("numeric")),
        ("STRING", C("text")),
        ("mood", C("text")),
        ("", C("unknown")),
        ("ANY", C("unknown")),
        ("int(" * 100, C("int8")),
        ("x (1", C("text")),
        ("n" * 300 + "int", C("int8")),
    ],
)
def test_a_declared_type(text: str, column: ColumnDescription) -> None:
    assert declared(text) == column


def test_a_declaration_with_many_spaces_is_read_once_and_not_for_each_way_to_part_them() -> None:
    """Else this would not end."""
    assert declared("a" + " " * 198 + "[") == C("text")
    assert module._DECLARED.fullmatch(" " * 100_000 + "[") is None
    assert module._DECLARED.fullmatch("a(1" + " " * 100_000 + "(") is None


def test_a_description_is_what_clients_are_told() -> None:
    assert msgspec.json.encode({"id": C("int8", pk_index=0, not_null=True), "tags": C("text", 1)}) == (
        b'{"id":{"type":"int8","pk_index":0,"not_null":true},"tags":{"type":"text","dims":1}}'
    )


@pytest.fixture
def source(tmp_path: Path) -> SQLSource:
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path)) as database:
        database.executescript(
            """
            CREATE TABLE item (id INTEGER PRIMARY KEY, name VARCHAR(20) NOT NULL, price, twice AS (price * 2));
            CREATE TABLE pair (b TEXT, n INTEGER NOT NULL, a TEXT, PRIMARY KEY (a, b));
            CREATE TABLE lone (n INTEGER PRIMARY KEY DESC);
            CREATE TABLE apart (n INTEGER, PRIMARY KEY (n DESC));
            CREATE VIEW names AS SELECT name, count(*) AS times FROM item GROUP BY name;
            """
        )
    return SQLSource(f"sqlite:///{path}")


def test_a_table_of_sqlite(source: SQLSource) -> None:
    columns = source.describe(Shape("item"))
    assert columns == {
        "id": C("int4", pk_index=0, not_null=True),
        "name": C("varchar", max_length=20, not_null=True),
        "price": C("unknown"),
        "twice": C("unknown"),
    }
    assert list(columns) == ["id", "name", "price", "twice"]


def test_a_key_of_several_columns_has_an_order_of_its_own_and_may_be_null(source: SQLSource) -> None:
    columns = source.describe(Shape("pair"))
    assert columns == {"b": C("text", pk_index=1), "n": C("int4", not_null=True), "a": C("text", pk_index=0)}
    assert key_of(columns) == ("a", "b")


def test_a_key_that_is_the_number_of_its_row_is_never_null(source: SQLSource) -> None:
    """SQLite takes the first for no such number, by a mistake that it keeps, and the second for one."""
    assert source.describe(Shape("lone")) == {"n": C("int4", pk_index=0)}
    assert source.describe(Shape("apart")) == {"n": C("int4", pk_index=0, not_null=True)}


def test_a_view_has_no_key_and_the_types_that_sqlite_knows(source: SQLSource) -> None:
    assert source.describe(Shape("names")) == {"name": C("varchar", max_length=20), "times": C("unknown")}


def test_the_columns_of_a_shape_alone_in_its_order(source: SQLSource) -> None:
    assert list(source.describe(Shape("item", columns=["name", "id"]))) == ["name", "id"]
    with pytest.raises(UnknownColumnError):
        source.describe(Shape("item", columns=["nope"]))
    with pytest.raises(UnknownTableError):
        source.describe(Shape("nope"))


def test_a_table_of_postgresql(postgres_url: str) -> None:
    run(
        postgres_url,
        "CREATE TYPE mood AS ENUM ('sad', 'ok')",
        "CREATE DOMAIN positive AS integer CHECK (value > 0)",
        """CREATE TABLE item (b text, id bigint, name varchar(20) NOT NULL, code char(3), price numeric(10, 2), m mood,
            tags text[], grid int4[][], at timestamptz(3), count positive, bits bit(4), ok boolean,
            PRIMARY KEY (id, b))""",
    )
    assert SQLSource(postgres_url).describe(Shape("item")) == {
        "b": C("text", pk_index=1, not_null=True),
        "id": C("int8", pk_index=0, not_null=True),
        "name": C("varchar", max_length=20, not_null=True),
        "code": C("bpchar", length=3),
        "price": C("numeric", precision=10, scale=2),
        "m": C("mood"),
        "tags": C("text", 1),
        "grid": C("int4", 2),
        "at": C("timestamptz", precision=3),
        "count": C("int4"),
        "bits": C("bit", length=4),
        "ok": C("bool"),
    }


def test_a_table_of_mariadb(mariadb_url: str) -> None:
    run(
        mariadb_url,
        """CREATE TABLE item (id bigint unsigned PRIMARY KEY, n int NOT NULL, big int unsigned, name varchar(20),
            code char(3), price decimal(10, 2), at datetime(3), data blob, kind enum('a'), ok boolean, f double)""",
    )
    assert SQLSource(mariadb_url).describe(Shape("item")) == {
        "id": C("numeric", pk_index=0, not_null=True, precision=20, scale=0),
        "n": C("int4", not_null=True),
        "big": C("int8"),
        "name": C("varchar", max_length=20),
        "code": C("bpchar", length=3),
        "price": C("numeric", precision=10, scale=2),
        "at": C("timestamp", precision=3),
        "data": C("bytea"),
        "kind": C("text"),
        "ok": C("int2"),
        "f": C("float8"),
    }


def test_names_that_the_catalogue_of_mariadb_takes_for_equal_are_different_columns(mariadb_url: str) -> None:
    run(mariadb_url, "CREATE TABLE accents (e int, é int, ê int, PRIMARY KEY (é, e))")
    assert key_of(SQLSource(mariadb_url).describe(Shape("accents"))) == ("é", "e")


def run(url: str, *statements: str) -> None:
    with create_engine(url, poolclass=NullPool).begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def test_where_nan_is_null_no_column_is_said_to_hold_none(tmp_path: Path) -> None:
    """A client throws at a null in a column that is declared NOT NULL."""
    with closing(sqlite3.connect(tmp_path / "app.db")) as database:
        database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, n REAL NOT NULL)")
        database.execute("INSERT INTO t VALUES (1, 9e999)")
        database.commit()
    url = f"sqlite:///{tmp_path}/app.db"
    assert SQLSource(url).describe(Shape("t"))["n"].not_null
    source = SQLSource(url, nan="null")
    assert not source.describe(Shape("t", columns=["n"]))["n"].not_null
    with closing(source.keyed_rows(Shape("t"))) as rows:
        assert not rows.description["n"].not_null
        assert list(rows) == [((1,), {"id": 1, "n": None})]
