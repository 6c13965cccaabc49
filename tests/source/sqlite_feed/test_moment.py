"""What SQLSource says of the moment at which it read a SQLite source, with ``follow`` and without."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from followed_source import Source
from sqlalchemy import create_engine
from sqlalchemy.pool import StaticPool

from shapestore import CreateFailedError, InvalidSourceError, Shape, ShapeStore, SQLSource, UnknownTableError
from shapestore.source.keyed import Moment
from shapestore.source.sqlite_feed.changes import newest
from shapestore.source.sqlite_feed.installation import signature, uninstall


@pytest.fixture
def tracks(source: Source) -> Source:
    source.run("""
        CREATE TABLE track (id INTEGER PRIMARY KEY, title TEXT);
        INSERT INTO track VALUES (1, 'So What'), (2, 'Blue in Green');
        CREATE TABLE loose (code TEXT PRIMARY KEY);
        INSERT INTO loose VALUES ('a'), (NULL)
    """)
    return source


def moment(source: SQLSource, table: str) -> Moment:
    with closing(source.keyed_rows(Shape(table))) as rows:
        return Moment(*rows.moment[:4])


def url(source: Source) -> str:
    return f"sqlite:///{source.path}"


def test_a_source_that_is_not_followed_has_a_path_and_nothing_is_put_into_it(tracks: Source) -> None:
    before = tracks.schema()
    assert moment(SQLSource(url(tracks)), "track") == Moment(source=os.path.realpath(tracks.path))
    assert tracks.schema() == before


def test_the_first_reading_of_a_followed_table_installs_and_the_next_ones_do_not(tracks: Source) -> None:
    followed = SQLSource(url(tracks), follow=True)
    first = moment(followed, "track")
    position = newest(tracks.connection)
    assert position is not None
    assert first == Moment(os.path.realpath(tracks.path), *position, signature(tracks.connection, "track"))
    assert first.signature is not None
    assert moment(followed, "track") == first


def test_seq_is_that_of_the_transaction_which_reads_the_rows(tracks: Source) -> None:
    followed = SQLSource(url(tracks), follow=True)
    with closing(followed.keyed_rows(Shape("track"))) as rows:
        tracks.run("DELETE FROM track WHERE id = 1")
        assert [key for key, _ in rows] == [(1,), (2,)]
        assert rows.moment.seq == tracks.seq() - 1


def test_without_follow_seq_is_told_too_where_changes_are_captured(tracks: Source) -> None:
    tracks.follow("track")
    told = moment(SQLSource(url(tracks)), "track")
    assert (told.seq, told.nonce, told.signature) == (*(newest(tracks.connection) or ()), None)


def test_what_was_removed_is_put_back_by_the_next_reading(tracks: Source) -> None:
    followed = SQLSource(url(tracks), follow=True)
    before = moment(followed, "track").signature
    uninstall(tracks.path)
    assert moment(followed, "track").signature not in (before, None)


def test_a_source_that_leaves_wal_mode_is_refused_also_where_it_is_installed(tracks: Source) -> None:
    followed = SQLSource(url(tracks), follow=True)
    moment(followed, "track")
    tracks.run("PRAGMA journal_mode = DELETE")
    with pytest.raises(InvalidSourceError, match="in the journal mode DELETE"):
        moment(followed, "track")


async def test_several_stores_follow_one_source(tracks: Source, tmp_path: Path) -> None:
    for name in ("one.db", "two.db"):
        async with ShapeStore(tmp_path / name, create=SQLSource(url(tracks), follow=True)) as store:
            await store.get_or_create(Shape("track"))
    triggers = [name for kind, name, *_ in tracks.schema() if kind == "trigger" and name.endswith("_inserted")]
    assert len(triggers) == 1


def test_the_path_is_that_of_the_file_whatever_leads_to_it(tracks: Source, tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(tracks.path)
    real = os.path.realpath(tracks.path)
    assert SQLSource(f"sqlite:///{tmp_path}/link.db").source_path() == real
    assert SQLSource(f"sqlite:///file:{tmp_path}/link.db?mode=ro&uri=true").source_path() == real
    assert moment(SQLSource(f"sqlite:///{tmp_path}/link.db", follow=True), "track").source == real


def test_a_source_that_is_not_a_file_of_sqlite_cannot_be_followed(tracks: Source) -> None:
    with pytest.raises(InvalidSourceError, match="a source on postgresql cannot be followed: only a SQLite file"):
        SQLSource("postgresql+psycopg://localhost/shop", follow=True)
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE track (id INTEGER PRIMARY KEY)")
    in_memory = SQLSource(engine, follow=True)
    with pytest.raises(InvalidSourceError, match="only a SQLite file"):
        moment(in_memory, "track")
    with pytest.raises(InvalidSourceError, match="only a SQLite file"):
        in_memory.source_path()
    assert moment(SQLSource(engine), "track") == Moment()
    engine.dispose()


@pytest.mark.parametrize(
    ("kind", "value", "shown"),
    [("TIMESTAMP", "'2024-01-02 03:04:05'", "datetime"), ("DATE", "'2024-01-02'", "date"), ("YES_OR_NO", "1", "bool")],
)
@pytest.mark.filterwarnings("ignore:The default (date|timestamp) converter is deprecated:DeprecationWarning")
def test_an_engine_that_converts_values_cannot_be_followed(source: Source, kind: str, value: str, shown: str) -> None:
    """A follower reads them as they are stored: its rounds would give rows that the query does not."""
    sqlite3.register_converter("YES_OR_NO", lambda text: text != b"0")
    source.run(f"CREATE TABLE event (id INTEGER PRIMARY KEY, at {kind})")
    source.run(f"INSERT INTO event VALUES (1, NULL), (2, {value})")
    engine = create_engine(url(source), connect_args={"detect_types": sqlite3.PARSE_DECLTYPES})
    with (
        closing(SQLSource(engine, follow=True).keyed_rows(Shape("event"))) as rows,
        pytest.raises(InvalidSourceError, match=rf'cannot be followed: .* "at" .* {shown}\b.*detect_types'),
    ):
        list(rows)
    with closing(SQLSource(engine).keyed_rows(Shape("event"))) as rows:
        assert len(list(rows)) == 2
    with closing(SQLSource(url(source), follow=True).keyed_rows(Shape("event"))) as rows:
        assert [row["at"] for _, row in rows] == [None, 1 if value == "1" else value.strip("'")]
    engine.dispose()


def test_follow_is_a_truth_value(tracks: Source) -> None:
    with pytest.raises(InvalidSourceError, match="follow is True or False, not 'track'"):
        SQLSource(url(tracks), follow="track")  # type: ignore[arg-type]


def test_a_table_of_an_attached_database_is_refused(tracks: Source, tmp_path: Path) -> None:
    other = Source(tmp_path / "other.db")
    other.run("CREATE TABLE album (id INTEGER PRIMARY KEY)")
    other.connection.close()
    engine = create_engine(url(tracks))
    with engine.connect() as connection:
        connection.exec_driver_sql(f"ATTACH '{other.path}' AS other")
    followed = SQLSource(engine, follow=True)
    with pytest.raises(InvalidSourceError, match='"album" cannot be followed: only the tables of a source\'s main'):
        moment(followed, "other.album")
    assert moment(followed, "main.track").signature is not None
    engine.dispose()


def test_an_unknown_table_is_unknown_first(tracks: Source) -> None:
    with pytest.raises(UnknownTableError, match='did you mean "track"'):
        moment(SQLSource(url(tracks), follow=True), "trakc")


def test_a_row_without_a_key_is_refused_also_where_it_came_after_the_installation(tracks: Source) -> None:
    followed = SQLSource(url(tracks), follow=True)
    with pytest.raises(InvalidSourceError, match='"loose" cannot be followed: a row has NULL in its primary key'):
        moment(followed, "loose")
    tracks.run("DELETE FROM loose WHERE code IS NULL")
    assert list(followed.keyed_rows(Shape("loose"))) == [(("a",), {"code": "a"})]
    tracks.run("INSERT INTO loose VALUES (NULL)")
    with pytest.raises(InvalidSourceError, match="a row has NULL in its primary key"):
        list(followed.keyed_rows(Shape("loose")))


async def test_a_store_tells_why_a_table_cannot_be_followed(tracks: Source, tmp_path: Path) -> None:
    async with ShapeStore(tmp_path / "shapes.db", create=SQLSource(url(tracks), follow=True)) as store:
        assert (await store.get_or_create(Shape("track"))).row_count == 2
        with pytest.raises(CreateFailedError, match="declare its columns NOT NULL"):
            await store.get_or_create(Shape("loose"))
