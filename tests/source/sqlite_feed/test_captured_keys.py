"""Each write that is easily missed logs the keys of all rows that it changes."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from followed_source import Key, Source

from shapestore import Shape, SQLSource
from shapestore.source.sqlite_feed import changes

BIG = 2**53 + 1


def logged(source: Source, schema: str, write: str, table: str = "t") -> set[Key]:
    """The keys of ``table`` that ``write`` logs; ``schema`` makes and fills it."""
    source.run(schema)
    source.follow(table)
    return set(source.logged(table, lambda: source.run(write)))


# --- REPLACE, under each kind of key


@pytest.mark.parametrize(
    ("schema", "write", "keys"),
    [
        pytest.param(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, a UNIQUE);\nINSERT INTO t VALUES (1, 'x'), (2, 'y')",
            "REPLACE INTO t VALUES (2, 'x')",
            {(1,), (2,)},
            id="rowid-and-another-unique-column",
        ),
        pytest.param(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, a UNIQUE, b UNIQUE, c UNIQUE);\n"
            "INSERT INTO t VALUES (1, 1, 1, 1), (2, 2, 2, 2), (3, 3, 3, 3), (4, 4, 4, 4)",
            "INSERT OR REPLACE INTO t (a, b, c) VALUES (1, 2, 3)",
            {(1,), (2,), (3,), (5,)},
            id="several-rows-at-once",
        ),
        pytest.param(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, a UNIQUE);\nINSERT INTO t VALUES (-1, 'x')",
            "INSERT OR REPLACE INTO t (a) VALUES ('x')",
            {(-1,), (0,)},
            id="the-rowid-minus-1-which-also-stands-for-one-not-known-yet",
        ),
        pytest.param(
            "CREATE TABLE t (code TEXT PRIMARY KEY);\nINSERT INTO t VALUES ('a')",
            "REPLACE INTO t VALUES ('a')",
            {("a",)},
            id="text",
        ),
        pytest.param(
            "CREATE TABLE t (code TEXT COLLATE NOCASE PRIMARY KEY);\nINSERT INTO t VALUES ('A')",
            "REPLACE INTO t VALUES ('a')",
            {("A",), ("a",)},
            id="nocase",
        ),
        pytest.param(
            "CREATE TABLE t (code TEXT COLLATE NOCASE PRIMARY KEY) WITHOUT ROWID;\nINSERT INTO t VALUES ('A')",
            "REPLACE INTO t VALUES ('a')",
            {("A",), ("a",)},
            id="nocase-without-rowid",
        ),
        pytest.param(
            "CREATE TABLE t (code TEXT COLLATE RTRIM PRIMARY KEY);\nINSERT INTO t VALUES ('a')",
            "REPLACE INTO t VALUES ('a ')",
            {("a",), ("a ",)},
            id="rtrim",
        ),
        pytest.param(
            "CREATE TABLE t (a, b TEXT COLLATE NOCASE, PRIMARY KEY (b, a));\nINSERT INTO t VALUES (1, 'x')",
            "REPLACE INTO t VALUES (1.0, 'X')",
            {("x", 1), ("X", 1.0)},
            id="composite",
        ),
        pytest.param(
            "CREATE TABLE t (code PRIMARY KEY);\nINSERT INTO t VALUES (1)",
            "REPLACE INTO t VALUES (1.0)",
            {(1,), (1.0,)},
            id="without-a-type",
        ),
        pytest.param(
            "CREATE TABLE t (id INT PRIMARY KEY);\nINSERT INTO t VALUES (-9223372036854775808)",
            "REPLACE INTO t VALUES (-9223372036854775808.0)",
            {(-(2**63),), (float(-(2**63)),)},
            id="the-least-integer",
        ),
        pytest.param(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT);\nCREATE UNIQUE INDEX i ON t (a COLLATE NOCASE);\n"
            "INSERT INTO t VALUES (1, 'x')",
            "REPLACE INTO t VALUES (2, 'X')",
            {(1,), (2,)},
            id="an-index-with-a-collation-of-its-own",
        ),
        pytest.param(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, a, gone);\n"
            "CREATE UNIQUE INDEX i ON t (a) WHERE gone IS NULL -- 'living' rows (only;\n"
            ";\nINSERT INTO t VALUES (1, 'x', NULL), (2, 'x', 1)",
            "UPDATE OR REPLACE t SET gone = NULL WHERE id = 2",
            {(1,), (2,)},
            id="a-row-that-comes-into-a-partial-index",
        ),
        pytest.param(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, a, gone);\nCREATE UNIQUE INDEX i ON t (a) WHERE gone IS NULL;\n"
            "INSERT INTO t VALUES (1, 'x', 1)",
            "REPLACE INTO t VALUES (2, 'x', NULL)",
            {(2,)},
            id="a-row-that-is-not-in-a-partial-index",
        ),
        pytest.param(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT COLLATE NOCASE);\n"
            "CREATE UNIQUE INDEX i ON t (a COLLATE BINARY);\nINSERT INTO t VALUES (1, 'x'), (2, 'X')",
            "UPDATE OR REPLACE t SET a = 'x' WHERE id = 2",
            {(1,), (2,)},
            id="a-column-that-changes-only-for-its-index",
        ),
        pytest.param(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, a, g AS (upper(a)) UNIQUE);\nINSERT INTO t VALUES (1, 'x')",
            "REPLACE INTO t VALUES (2, 'X')",
            {(1,), (2,)},
            id="a-generated-column",
        ),
        pytest.param(
            'CREATE TABLE t (id INTEGER PRIMARY KEY, a NOT NULL DEFAULT "b" UNIQUE, b);\n'
            "INSERT INTO t VALUES (1, 'b', 0)",
            "REPLACE INTO t VALUES (2, NULL, 0)",
            {(1,), (2,)},
            id="a-default-in-the-place-of-null",
        ),
        pytest.param(
            "CREATE TABLE t (code TEXT PRIMARY KEY);\nINSERT INTO t (rowid, code) VALUES (7, 'a')",
            "REPLACE INTO t (rowid, code) VALUES (7, 'b')",
            {("a",), ("b",)},
            id="by-rowid-where-the-key-is-another",
        ),
        pytest.param(
            "CREATE TABLE t (code TEXT PRIMARY KEY, rowid);\nINSERT INTO t (oid, code, rowid) VALUES (7, 'a', 1)",
            "REPLACE INTO t (oid, code, rowid) VALUES (7, 'b', 2)",
            {("a",), ("b",)},
            id="by-rowid-where-a-column-has-this-name",
        ),
        pytest.param(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, a UNIQUE ON CONFLICT REPLACE);\nINSERT INTO t VALUES (1, 'x')",
            "INSERT INTO t VALUES (2, 'x')",
            {(1,), (2,)},
            id="by-the-constraint-itself",
        ),
        pytest.param(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, a UNIQUE);\nINSERT INTO t VALUES (1, 'x'), (2, 'y'), (3, 'z')",
            "UPDATE OR REPLACE t SET a = 'x' WHERE id = 2",
            {(1,), (2,)},
            id="update-or-replace",
        ),
        pytest.param(
            "CREATE TABLE t (code TEXT COLLATE NOCASE PRIMARY KEY);\nINSERT INTO t VALUES ('a'), ('b')",
            "UPDATE OR REPLACE t SET code = 'A' WHERE code = 'b'",
            {("a",), ("b",), ("A",)},
            id="update-or-replace-of-a-key",
        ),
        pytest.param(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, a UNIQUE, n);\nINSERT INTO t VALUES (1, 'x', 0), (2, 'y', 0)",
            "INSERT INTO t VALUES (9, 'x', 1) ON CONFLICT (a) DO UPDATE SET n = excluded.n, id = 7",
            {(1,), (7,)},
            id="upsert",
        ),
    ],
)
def test_replace(source: Source, schema: str, write: str, keys: set[Key]) -> None:
    assert typed(logged(source, schema, write)) == typed(keys)


def typed(keys: set[Key]) -> set[str]:
    """Keys by their texts: 1 and 1.0 are the same to a set."""
    return set(map(repr, keys))


def test_a_row_that_is_written_again_is_logged_once(source: Source) -> None:
    source.run("CREATE TABLE t (id INTEGER PRIMARY KEY, a UNIQUE);\nINSERT INTO t VALUES (1, 'x')")
    source.follow("t")
    before = source.seq()
    source.run("REPLACE INTO t VALUES (1, 'x');\nINSERT INTO t VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET a = 'x'")
    assert source.seq() == before + 2


# --- changed keys


@pytest.mark.parametrize(
    ("schema", "write", "keys"),
    [
        ("CREATE TABLE t (id INTEGER PRIMARY KEY);\nINSERT INTO t VALUES (1)", "UPDATE t SET id = 2", {(1,), (2,)}),
        ("CREATE TABLE t (id INTEGER PRIMARY KEY);\nINSERT INTO t VALUES (1)", "UPDATE t SET rowid = 2", {(1,), (2,)}),
        ("CREATE TABLE t (id INTEGER PRIMARY KEY);\nINSERT INTO t VALUES (1)", "UPDATE t SET id = '2.0'", {(1,), (2,)}),
        (
            "CREATE TABLE t (id INT PRIMARY KEY);\nINSERT INTO t VALUES (9223372036854775807)",
            "UPDATE t SET id = 9223372036854775807.0",
            {(9223372036854775807,), (9223372036854775807.0,)},
        ),
        (
            "CREATE TABLE t (code TEXT COLLATE NOCASE PRIMARY KEY);\nINSERT INTO t VALUES ('A')",
            "UPDATE t SET code = 'a'",
            {("A",), ("a",)},
        ),
        (
            "CREATE TABLE t (code PRIMARY KEY);\nINSERT INTO t VALUES (1)",
            "UPDATE t SET code = 1.0",
            {(1,), (1.0,)},
        ),
        (
            "CREATE TABLE t (code PRIMARY KEY);\nINSERT INTO t VALUES ('1')",
            "UPDATE t SET code = x'31'",
            {("1",), (b"1",)},
        ),
        (
            "CREATE TABLE t (a, b, c, d, PRIMARY KEY (d, c, b, a)) WITHOUT ROWID;\nINSERT INTO t VALUES (1, 2, 3, 4)",
            "UPDATE t SET a = 9",
            {(4, 3, 2, 1), (4, 3, 2, 9)},
        ),
    ],
)
def test_a_changed_key_is_two_keys(source: Source, schema: str, write: str, keys: set[Key]) -> None:
    assert typed(logged(source, schema, write)) == typed(keys)


def test_keys_of_every_type_are_logged_as_they_are_stored(source: Source) -> None:
    values = (BIG, -BIG, 2**63 - 1, 0.1, 1e300, float("inf"), "a\0b", "é", "", b"", b"\0\xff", "007", 1.0)
    source.run("CREATE TABLE t (code PRIMARY KEY, n)")
    source.follow("t")
    before = source.seq()
    for value in values:
        source.connection.execute("INSERT INTO t VALUES (?, 1)", (value,))
    assert typed(set(source.keys_since(before, "t"))) == typed({(value,) for value in values})
    before = source.seq()
    source.run("DELETE FROM t")
    assert typed(set(source.keys_since(before, "t"))) == typed({(value,) for value in values})


@pytest.mark.parametrize("kind", ["", "REAL"])
def test_a_real_key_is_logged_as_it_is_read_and_minus_zero_is_zero(source: Source, kind: str) -> None:
    """Both are one key to the table's own index, and so to the keys of SQLSource."""
    source.run(f"CREATE TABLE t (x {kind} PRIMARY KEY)")
    source.follow("t")
    before = source.seq()
    source.connection.executemany("INSERT INTO t VALUES (?)", [(1.0,), (-0.0,)])
    assert typed(set(source.keys_since(before, "t"))) == {"(1.0,)", "(0.0,)"}
    keys = [key for key, _ in SQLSource(f"sqlite:///{source.path}").keyed_rows(Shape("t"))]
    assert repr(keys) == "[(0.0,), (1.0,)]"


@pytest.mark.parametrize("value", ["NULL", "CAST(x'ff' AS TEXT)", "9e999 - 9e999"])
def test_a_key_that_names_nothing_makes_its_table_unfollowable(source: Source, value: str) -> None:
    """9e999 - 9e999 is not a number, which SQLite stores as NULL."""
    source.run("CREATE TABLE t (code PRIMARY KEY, n);\nCREATE TABLE u (id INTEGER PRIMARY KEY)")
    source.follow("t", "u")
    before = source.seq()
    source.run(f"INSERT INTO t VALUES ({value}, 1), ('a', 1);\nINSERT INTO u VALUES (1)")
    found = changes.keys_between(source.connection, before, source.seq(), {1: 1, 2: 1}, 1000)
    assert found.keys == {1: [("a",)], 2: [(1,)]}
    assert found.unfollowable == {1}


def test_a_null_that_is_never_stored_is_not_a_key(source: Source) -> None:
    source.run("CREATE TABLE t (code TEXT PRIMARY KEY NOT NULL) WITHOUT ROWID")
    source.follow("t")
    before = source.seq()
    source.run("INSERT OR IGNORE INTO t VALUES (NULL), ('a')")
    found = changes.keys_between(source.connection, before, source.seq(), {1: 1}, 1000)
    assert (found.keys, found.unfollowable) == ({1: [("a",)]}, frozenset())


# --- rows that other rows' writes change


FAMILY = """
CREATE TABLE parent (id TEXT PRIMARY KEY);
CREATE TABLE t (id INTEGER PRIMARY KEY, parent REFERENCES parent ON DELETE {} ON UPDATE CASCADE,
    boss INTEGER REFERENCES t ON DELETE CASCADE);
INSERT INTO parent VALUES ('p'), ('q');
INSERT INTO t VALUES (1, 'p', NULL), (2, 'q', 1), (3, 'q', 2), (4, 'q', NULL)"""


@pytest.mark.parametrize(
    ("action", "write", "keys"),
    [
        ("CASCADE", "DELETE FROM parent WHERE id = 'p'", {(1,), (2,), (3,)}),
        ("CASCADE", "REPLACE INTO parent VALUES ('p')", {(1,), (2,), (3,)}),
        ("SET NULL", "DELETE FROM parent WHERE id = 'p'", {(1,)}),
        ("SET DEFAULT", "DELETE FROM parent WHERE id = 'q'", {(2,), (3,), (4,)}),
        ("RESTRICT", "UPDATE parent SET id = 'r' WHERE id = 'q'", {(2,), (3,), (4,)}),
    ],
)
def test_cascades(source: Source, action: str, write: str, keys: set[Key]) -> None:
    source.run("PRAGMA foreign_keys = ON")
    assert logged(source, FAMILY.format(action), write) == keys


@pytest.mark.parametrize("suffix", ["", " WITHOUT ROWID"])
def test_a_text_that_a_numeric_column_refers_to_is_logged_as_text(source: Source, suffix: str) -> None:
    """While SQLite looks in an index for rows that refer to it, it makes a number of it, also for AFTER triggers."""
    source.run("PRAGMA foreign_keys = ON")
    source.run(f"""
        CREATE TABLE t (code TEXT PRIMARY KEY NOT NULL){suffix};
        CREATE TABLE child (id INTEGER PRIMARY KEY, code INTEGER REFERENCES t DEFERRABLE INITIALLY DEFERRED);
        CREATE INDEX by_code ON child (code);
        INSERT INTO t VALUES ('007'), ('008')
    """)
    source.follow("t")
    for write, keys in {
        "INSERT INTO t VALUES ('2.0')": {("2.0",)},
        "UPDATE t SET code = '09' WHERE code = '007'": {("007",), ("09",)},
        "DELETE FROM t WHERE code = '008'": {("008",)},
    }.items():
        source.run("BEGIN;\nINSERT INTO child VALUES (1, 5)")  # as long as a key is missing, all are looked for
        assert set(source.logged("t", lambda write=write: source.run(write))) >= keys  # type: ignore[misc]
        source.run("DELETE FROM child;\nCOMMIT")


def test_triggers_of_the_application_are_followed(source: Source) -> None:
    keys = logged(
        source,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, n);\nINSERT INTO t VALUES (1, 0), (2, 0), (3, 0);\n"
        "CREATE TRIGGER one AFTER UPDATE ON t WHEN new.id = 1 BEGIN DELETE FROM t WHERE id = 2; END;\n"
        "CREATE TRIGGER two AFTER DELETE ON t BEGIN UPDATE t SET n = 9 WHERE id = 3; END",
        "UPDATE t SET n = 1 WHERE id = 1",
    )
    assert keys == {(1,), (2,), (3,)}


def test_deletion_of_all_rows_is_not_cut_short(source: Source) -> None:
    keys = logged(
        source,
        "CREATE TABLE t (id INTEGER PRIMARY KEY);\nINSERT INTO t VALUES (1), (2), (3)",
        "DELETE FROM t",
    )
    assert keys == {(1,), (2,), (3,)}


def test_what_is_rolled_back_is_not_logged(source: Source) -> None:
    keys = logged(
        source,
        "CREATE TABLE t (id INTEGER PRIMARY KEY)",
        "BEGIN;\nINSERT INTO t VALUES (1);\nSAVEPOINT s;\nINSERT INTO t VALUES (2);\nROLLBACK TO s;\n"
        "INSERT INTO t VALUES (3);\nCOMMIT;\nBEGIN;\nINSERT INTO t VALUES (4);\nROLLBACK",
    )
    assert keys == {(1,), (3,)}


def test_a_database_that_is_attached_under_another_name_is_followed(source: Source) -> None:
    source.run("CREATE TABLE t (id INTEGER PRIMARY KEY, a UNIQUE);\nINSERT INTO t VALUES (1, 'x')")
    source.follow("t")

    def write() -> None:
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as other:
            other.execute("CREATE TEMP TABLE t (id, a)")
            other.execute("CREATE TEMP TABLE shapestore_changes (seq)")
            other.execute("ATTACH ? AS app", (source.path,))
            other.execute("REPLACE INTO app.t VALUES (2, 'x')")

    assert set(source.logged("t", write)) == {(1,), (2,)}


# --- reading them


def test_keys_are_read_in_parts_each_once_and_markers_are_told(source: Source) -> None:
    source.run("CREATE TABLE t (id INTEGER PRIMARY KEY);\nCREATE TABLE u (id INTEGER PRIMARY KEY)")
    source.follow("t", "u")
    start = source.seq()
    source.run("INSERT INTO t VALUES (1), (2);\nINSERT INTO u VALUES (7);\nUPDATE t SET id = id")
    [marker] = source.connection.execute("INSERT INTO shapestore_changes (tab) VALUES (0) RETURNING seq").fetchone()
    end = source.seq()
    all_of_t = changes.keys_between(source.connection, start, end, {1: 1}, 1000)
    assert (all_of_t.until, all_of_t.keys, all_of_t.markers) == (end, {1: [(1,), (2,)]}, [marker])
    first = changes.keys_between(source.connection, start, end, {1: 1, 2: 1}, 3)
    assert (first.until, first.keys, first.markers) == (start + 3, {1: [(1,), (2,)], 2: [(7,)]}, [])
    rest = changes.keys_between(source.connection, first.until, end, {1: 1, 2: 1}, 1000)
    assert (rest.until, rest.keys, rest.markers) == (end, {1: [(1,), (2,)]}, [marker])


def test_a_connection_of_any_factories_reads_them(source: Source) -> None:
    source.run("CREATE TABLE t (code TEXT PRIMARY KEY)")
    source.follow("t")
    before = source.seq()
    source.run("INSERT INTO t VALUES ('é')")
    source.connection.row_factory, source.connection.text_factory = sqlite3.Row, bytes
    assert source.keys_since(before, "t") == [("é",)]
    assert source.connection.text_factory is bytes


def test_the_ring_keeps_the_newest_rows(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "RING_SIZE", 200)
    monkeypatch.setattr(changes, "RING_STEP", 50)
    source.run("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    source.follow("t")
    for _ in range(20):
        source.run("INSERT OR REPLACE INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
                   "WHERE i < 37) SELECT i FROM n")  # fmt: skip
        [(count, first, last)] = source.connection.execute(
            "SELECT count(*), min(seq), max(seq) FROM shapestore_changes"
        ).fetchall()
        assert count == last - first + 1 <= 200 + 50
        assert last == source.seq()
    assert first > 1
    assert changes.nonce_at(source.connection, first - 1) is None
