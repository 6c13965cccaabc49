from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from children import child
from inspections import eventually

from shapestore import (
    CorruptStoreError,
    CreateFailedError,
    InvalidSourceError,
    Shape,
    ShapeStore,
    SQLSource,
    StorageError,
)
from shapestore.admin.inspector import open_inspector
from shapestore.admin.vacuum import vacuum
from shapestore.storage.path import bind, make_if_missing, resolve
from shapestore.storage.wal import sync, wal_bytes

ALBUMS = Shape("albums")


async def albums(_: Shape) -> list[dict[str, Any]]:
    return [{"id": 1}]


# --- the one true name


def test_a_file_that_is_there_or_may_be_made_is_named_by_its_real_path(tmp_path: Path) -> None:
    assert resolve(tmp_path / "new.db") == str(tmp_path / "new.db")
    (tmp_path / "old.db").touch()
    assert resolve(str(tmp_path / "sub" / ".." / "old.db")) == str(tmp_path / "old.db")
    assert os.listdir(tmp_path) == ["old.db"]


def test_a_relative_path_starts_at_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve("shapes.db") == str(tmp_path / "shapes.db")
    assert resolve("./a/../shapes.db") == str(tmp_path / "shapes.db")
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "link").symlink_to("deep/er")
    for path in ("link/../shapes.db", bind("link/../shapes.db")):
        assert resolve(path) == str(tmp_path / "deep" / "shapes.db")  # as open() would have it


@pytest.mark.parametrize(("folder", "file"), [("data", "shapes.db"), ("a folder", "s\\h\ta\np é.db")])
async def test_a_file_that_is_mounted_without_its_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, file: str
) -> None:
    """Two containers that mount one file have two logs: of what both had written, one half was lost."""
    (tmp_path / folder).mkdir()
    path = tmp_path / folder / file
    async with ShapeStore(path):
        pass
    before = path.read_bytes()

    def mounted(place: Path) -> None:
        name = str(place).replace("\\", r"\134").replace(" ", r"\040").replace("\t", r"\011").replace("\n", r"\012")
        lines = f"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n30 22 8:1 /host {name} rw,relatime - ext4 /dev/sda1 rw\n"
        (tmp_path / "mounts").write_text(lines, "utf-8")

    monkeypatch.setattr("shapestore.storage.path._MOUNTS", str(tmp_path / "mounts"))
    mounted(path)
    with pytest.raises(StorageError, match=r"is mounted by itself, without its folder.*: mount the folder$"):
        await ShapeStore(path).open()
    with pytest.raises(StorageError, match="is mounted by itself"):
        vacuum(path)
    assert path.read_bytes() == before
    with open_inspector(path) as inspector:  # to read one that is closed does no harm
        assert inspector.owners() == []
    for elsewhere in (path.parent, path.with_name(f"{file}2")):
        mounted(elsewhere)
        async with ShapeStore(path):
            pass


@pytest.fixture
def no_text(tmp_path: Path) -> Path:
    """A folder whose name is not UTF-8."""
    folder = tmp_path / os.fsdecode(b"\xe9t\xe9")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system takes no such names")
    return folder


async def test_a_path_need_not_be_text(no_text: Path) -> None:
    async with ShapeStore(no_text / "shapes.db", create=albums) as store:
        assert await store.fetch(ALBUMS) == [{"id": 1}]
    with closing(sqlite3.connect(no_text / "foreign.db")) as foreign, foreign:
        foreign.execute("CREATE TABLE t (a)")
    with pytest.raises(StorageError, match=r"foreign\.db' is a database of another program"):
        await ShapeStore(no_text / "foreign.db").open()
    assert sorted(os.listdir(no_text)) == ["foreign.db", "shapes.db", "shapes.db-gate", "shapes.db-owners"]


async def test_a_source_is_read_at_any_path_and_followed_where_a_store_can_name_it(
    no_text: Path, empty_path: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(no_text)
    with closing(sqlite3.connect("app.db")) as source, source:
        source.execute("PRAGMA journal_mode = WAL")
        source.execute("CREATE TABLE albums (id INTEGER PRIMARY KEY)")
        source.execute("INSERT INTO albums VALUES (1)")
    named = f"sqlite:///{no_text}/app.db"
    async with ShapeStore(empty_path) as store:
        for url in ("sqlite:///app.db", named):
            assert await store.fetch(ALBUMS, SQLSource(url), max_age=0) == [{"id": 1}]
    with pytest.raises(InvalidSourceError, match="its path is not text in UTF-8"):
        SQLSource(named, follow=True)
    async with ShapeStore(empty_path, create=SQLSource("sqlite:///app.db", follow=True)) as store:
        with pytest.raises(CreateFailedError, match='the table "albums" cannot be followed: its path is not text'):
            await store.refresh(ALBUMS)
        await eventually(lambda: "cannot be followed; tried again every second" in caplog.text)
    assert "unexpected" not in caplog.text


def test_a_relative_path_in_a_directory_that_was_removed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "removed").mkdir()
    monkeypatch.chdir(tmp_path / "removed")
    (tmp_path / "removed").rmdir()
    with pytest.raises(StorageError, match=r"'shapes\.db' is a relative path.*give an absolute path"):
        ShapeStore("shapes.db")
    ShapeStore(tmp_path / "shapes.db")


def test_links_to_the_file_or_to_its_folder_lead_to_the_same_name(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "to folder").symlink_to(folder)
    (tmp_path / "to file").symlink_to("to folder/shapes.db")
    names = [folder / "shapes.db", tmp_path / "to folder" / "shapes.db", tmp_path / "to file"]
    for _ in range(2):
        assert {resolve(name) for name in names} == {str(folder / "shapes.db")}
        (folder / "shapes.db").touch()


def place(tmp_path: Path, kind: str) -> str:
    """Something that is no place for a store."""
    path = tmp_path / "it"
    match kind:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "file for a folder":
            path.touch()
            return str(path / "shapes.db")
        case "missing folder":
            return str(path / "shapes.db")
        case "link to nowhere":
            path.symlink_to(tmp_path / "missing" / "shapes.db")
        case "link to itself":
            path.symlink_to(path)
        case "hard link":
            path.touch()
            os.link(path, tmp_path / "another")
        case "long name":
            return str(tmp_path / ("a" * 300))
        case "device":
            return os.devnull
        case _:
            return kind
    return str(path)


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("folder", "is a folder; name a file in it"),
        ("pipe", "is a named pipe, not a regular file"),
        ("device", "is a device, not a regular file"),
        ("file for a folder", "cannot be accessed"),
        ("missing folder", "the folder .* does not exist; make it first"),
        ("link to nowhere", "the folder .* does not exist; make it first"),
        ("link to itself", "cannot be accessed"),
        ("hard link", "is one of 2 hard links"),
        ("long name", "cannot be accessed"),
        (":memory:", "does not name a file"),
        ("file:shapes.db?mode=memory", "does not name a file"),
        ("", "does not name a file"),
        ("shapes\0.db", "does not name a file"),
        ("shapes\ud800.db", "does not name a file"),
    ],
)
async def test_what_is_no_place_for_a_store_is_refused_by_name_and_nothing_is_made(
    tmp_path: Path, kind: str, what: str
) -> None:
    path = place(tmp_path, kind)
    before = sorted(os.listdir(tmp_path))
    store = ShapeStore(path)
    for _ in range(2):  # at once, and the same the next time
        with pytest.raises(StorageError, match=what) as caught:
            await store.open()
    assert repr(path)[1:-1] in str(caught.value)
    await store.close()
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize("path", [b"shapes.db", 7, None, ["shapes.db"]], ids=repr)
async def test_a_path_is_a_str_or_a_path_of_str(path: Any) -> None:
    with pytest.raises(TypeError):
        await ShapeStore(path).open()


def test_what_is_made_is_for_its_user_only_and_what_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        make_if_missing(str(tmp_path / "new.db"))
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "new.db").stat().st_mode) == 0o600
    (tmp_path / "old.db").write_text("old")
    (tmp_path / "old.db").chmod(0o644)
    make_if_missing(str(tmp_path / "old.db"))
    assert (tmp_path / "old.db").read_text() == "old"
    assert stat.S_IMODE((tmp_path / "old.db").stat().st_mode) == 0o644


# --- stores at their places


def modes(folder: Path) -> dict[str, str]:
    return {file.name: oct(stat.S_IMODE(file.lstat().st_mode)) for file in folder.iterdir()}


async def test_all_that_a_store_makes_is_for_its_user_only(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        async with ShapeStore(tmp_path / "shapes.db", create=albums) as store:
            await store.get_or_create(ALBUMS)
            assert modes(tmp_path) == {
                "shapes.db": "0o600",
                "shapes.db-wal": "0o600",
                "shapes.db-shm": "0o600",
                "shapes.db-gate": "0o600",
                "shapes.db-owners": "0o700",
            }
            assert set(modes(tmp_path / "shapes.db-owners").values()) == {"0o600"}
    finally:
        os.umask(umask)


@pytest.mark.parametrize(
    "name",
    [
        "100%.db",
        "%41.db",
        "a?mode=memory",
        "a#b",
        "my shapes",
        'it\'s "it"',
        "größe 形 🟦",
        "a;b&c=d",
        "a\\b",
        "line\nbreak",
        "-shm",
        "file",
        os.fsdecode(b"not utf-8 \xff\xfe"),
    ],
)
async def test_any_name_will_do_for_the_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    async with ShapeStore(path, create=albums) as store:
        stored = await store.get_or_create(ALBUMS)
        assert [row async for row in store.rows(stored.handle)] == [{"id": 1}]
        assert set(os.listdir(tmp_path)) == {f"{name}{suffix}" for suffix in ("", "-wal", "-shm", "-gate", "-owners")}
    async with ShapeStore(path) as store:
        assert await store.get(ALBUMS) == stored
    assert set(os.listdir(tmp_path)) == {name, f"{name}-gate", f"{name}-owners"}


async def test_two_names_of_one_file_are_one_store_with_one_gate_and_one_folder_of_owners(tmp_path: Path) -> None:
    folder = tmp_path / "real"
    folder.mkdir()
    (tmp_path / "link.db").symlink_to(folder / "shapes.db")
    async with (
        ShapeStore(tmp_path / "link.db", create=albums) as one,
        ShapeStore(folder / "shapes.db", create=albums) as another,
    ):
        stored = await one.get_or_create(ALBUMS)
        assert await another.get_or_create(ALBUMS) == stored
        assert len(os.listdir(folder / "shapes.db-owners")) == 2
    assert set(os.listdir(tmp_path)) == {"real", "link.db"}
    assert set(os.listdir(folder)) == {"shapes.db", "shapes.db-gate", "shapes.db-owners"}


async def test_an_open_store_stays_with_its_file_wherever_the_process_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(tmp_path)
    async with ShapeStore("shapes.db", create=albums) as store:
        monkeypatch.chdir(elsewhere)
        stored = await store.get_or_create(ALBUMS)
        assert [row async for row in store.rows(stored.handle)] == [{"id": 1}]
        assert await store.delete(stored.handle)
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("path", ["shapes.db", Path("sub/../shapes.db"), "link/shapes.db"], ids=str)
async def test_a_relative_path_means_the_file_that_it_meant_when_the_store_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str | Path
) -> None:
    for folder in ("home", "elsewhere"):
        (tmp_path / folder / "sub").mkdir(parents=True)
        (tmp_path / folder / "link").symlink_to(".")
    monkeypatch.chdir(tmp_path / "home")
    store = ShapeStore(path, create=albums)
    for folder in ("elsewhere", "home", "elsewhere"):
        monkeypatch.chdir(tmp_path / folder)
        async with store:
            await store.get_or_create(ALBUMS)
            assert store.stats.created == 1
    assert sorted(os.listdir(tmp_path / "elsewhere")) == ["link", "sub"]
    assert "shapes.db" in os.listdir(tmp_path / "home")


@pytest.mark.parametrize("given", [None, 3, b"shapes.db"])
def test_what_is_not_a_path_is_refused_by_its_type(given: Any) -> None:
    with pytest.raises(
        TypeError, match=f"the path of a store is a str or a PathLike of str, not {type(given).__name__}"
    ):
        ShapeStore(given)


async def test_a_file_that_got_another_hard_link_is_refused_at_the_next_opening(tmp_path: Path) -> None:
    path = tmp_path / "shapes.db"
    async with ShapeStore(path):
        os.link(path, tmp_path / "another.db")
    for name in (path, tmp_path / "another.db"):
        with pytest.raises(StorageError, match="hard links"):
            await ShapeStore(name).open()
    (tmp_path / "another.db").unlink()
    async with ShapeStore(path):
        pass


@pytest.mark.parametrize(
    "content", [b"It was a dark and stormy night. " * 100, b"\0" * 5_000, b"SQLite format 3\0" + b"\xff" * 5_000]
)
async def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "novel.txt"
    path.write_bytes(content)
    store = ShapeStore(path)
    with pytest.raises(CorruptStoreError, match=r"novel\.txt' is corrupt"):
        await store.open()
    await store.close()
    assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["novel.txt"]


@pytest.mark.parametrize("journal_mode", ["DELETE", "WAL"])
async def test_a_database_of_another_program_is_refused_and_left_as_it_is(tmp_path: Path, journal_mode: str) -> None:
    path = tmp_path / "albums.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA journal_mode = {journal_mode}")
        connection.execute("CREATE TABLE albums (title)")
    content = path.read_bytes()
    with pytest.raises(StorageError, match=r"albums\.db' is a database of another program \(it holds albums\)"):
        await ShapeStore(path).open()
    assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["albums.db"]


async def test_a_database_that_another_program_has_open_is_refused_too(tmp_path: Path) -> None:
    path = tmp_path / "albums.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE albums (title)")  # which is in the log alone
        with pytest.raises(StorageError, match="another program"):
            await ShapeStore(path).open()
        assert set(os.listdir(tmp_path)) == {"albums.db", "albums.db-wal", "albums.db-shm"}


async def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    path = tmp_path / "empty.db"
    path.touch(0o640)
    async with ShapeStore(path, create=albums) as store:
        await store.get_or_create(ALBUMS)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


async def test_a_file_in_the_place_of_the_gate_or_of_the_owners_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.db-gate").mkdir()
    with pytest.raises(StorageError, match=r"a\.db-gate"):
        await ShapeStore(tmp_path / "a.db").open()
    (tmp_path / "b.db-owners").touch()
    with pytest.raises(StorageError, match=r"b\.db-owners"):
        await ShapeStore(tmp_path / "b.db").open()
    (tmp_path / "b.db-owners").unlink()
    async with ShapeStore(tmp_path / "b.db"):
        pass


# --- what lies beside the file already, and is not a store's

NOVEL = b"It was a dark and stormy night. " * 5
NAMES = ["-wal", "-shm", "-journal", "-gate", "-owners"]


def put(path: Path, what: str) -> None:
    """Something at a path; a link leads to a file or a folder beside it."""
    target = path.parent / "the users"
    match what:
        case "novel":
            path.write_bytes(NOVEL)
        case "folder":
            path.mkdir()
            (path / "0123456789abcdef").write_bytes(NOVEL)
        case "pipe":
            os.mkfifo(path)
        case "link to a file":
            target.write_bytes(NOVEL)
            path.symlink_to(target)
        case "link to an empty file":
            target.touch()
            path.symlink_to(target)
        case "link to a folder":
            target.mkdir()
            (target / "0123456789abcdef").write_bytes(NOVEL)
            path.symlink_to(target)
        case "link to nowhere":
            path.symlink_to(target)


def everything_in(folder: Path) -> dict[str, object]:
    """Each thing in a folder, and all that can be told of it without opening a pipe."""
    return {
        str(file): (file.lstat().st_mode, file.lstat().st_mtime_ns, file.is_file() and file.read_bytes())
        for file in folder.rglob("*")
        if not file.is_dir() or file.is_symlink()
    }


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "what",
    ["novel", "folder", "pipe", "link to a file", "link to an empty file", "link to a folder", "link to nowhere"],
)
@pytest.mark.parametrize("there", [False, True], ids=["new file", "store"])
async def test_what_is_not_the_stores_is_named_and_left_as_it_is(
    tmp_path: Path, empty_store: Path, name: str, what: str, there: bool
) -> None:
    path = tmp_path / "cats"
    if there:
        shutil.copy(empty_store, path)
    put(tmp_path / f"cats{name}", what)
    before = everything_in(tmp_path)
    store = ShapeStore(path, create=albums)
    if (name, what) == ("-owners", "folder"):  # which may be anybody's: our files are told by their names and content
        async with asyncio.timeout(60), store:
            await store.get_or_create(ALBUMS)
        assert everything_in(tmp_path / "cats-owners") == {file: before[file] for file in before if "-owners/" in file}
    else:
        for _ in range(2):
            with pytest.raises(StorageError, match=f"cats{name}' is a.*, but not .*move it away"):
                await asyncio.wait_for(store.open(), 60)
        assert everything_in(tmp_path) == before


@pytest.mark.parametrize("name", ["-wal", "-shm", "-journal"])
def test_what_is_not_the_stores_is_left_as_it_is_by_those_who_only_read_too(
    tmp_path: Path, empty_store: Path, name: str
) -> None:
    shutil.copy(empty_store, tmp_path / "cats")
    put(tmp_path / f"cats{name}", "novel")
    before = everything_in(tmp_path)
    with pytest.raises(StorageError, match=f"cats{name}' is a file, but not"), open_inspector(tmp_path / "cats"):
        pass
    with pytest.raises(StorageError, match=f"cats{name}' is a file, but not"):
        vacuum(tmp_path / "cats")
    assert everything_in(tmp_path) == before


@pytest.mark.parametrize("content", [b"", b"\0" * 4096], ids=["empty", "zeros"])
@pytest.mark.parametrize("name", ["-wal", "-shm", "-journal"])
async def test_what_a_power_cut_may_leave_beside_the_file_is_no_obstacle(
    tmp_path: Path, empty_path: str, name: str, content: bytes
) -> None:
    Path(f"{empty_path}{name}").write_bytes(content)
    async with ShapeStore(empty_path, create=albums) as store:
        await store.get_or_create(ALBUMS)


def test_the_size_of_a_log_that_is_not_there_is_zero(tmp_path: Path) -> None:
    assert wal_bytes(str(tmp_path / "shapes.db")) == 0
    (tmp_path / "shapes.db-wal").write_bytes(b"12345")
    assert wal_bytes(str(tmp_path / "shapes.db")) == 5


def test_what_is_synced_may_be_gone_or_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[os.stat_result] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd)))
    sync(str(tmp_path / "log"))
    (tmp_path / "elsewhere").touch()
    (tmp_path / "log").symlink_to("elsewhere")
    sync(str(tmp_path / "log"))
    assert synced == []
    sync(str(tmp_path / "elsewhere"))
    assert synced[0].st_ino == os.stat(tmp_path / "elsewhere").st_ino


# --- permissions, as somebody who is not root meets them

OPEN_AS_NOBODY = """
import asyncio, os, sys
from shapestore import ShapeStore

async def open_and_close(path):
    async with ShapeStore(path):
        pass

asyncio.run(open_and_close(sys.argv[2]))  # reads now all code that nobody may not be able to read later
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    asyncio.run(open_and_close(sys.argv[1]))
    print("opened")
except Exception as error:
    print(type(error).__name__, str(error))
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that others than root can reach; pytest's own are closed to them. A store is in it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asyncio.run(opened_and_closed(folder / "shapes.db"))
        for path in (folder, *folder.iterdir()):
            give(path, path.stat().st_mode)
        yield folder
        give(folder, 0o700)


async def opened_and_closed(path: Path) -> None:
    async with ShapeStore(path):
        pass


def give(path: Path, mode: int) -> None:
    """To who will open it: nobody, if this is root, else ourselves."""
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
    path.chmod(mode)


def opened_as_nobody(path: Path, another: str) -> str:
    with child(OPEN_AS_NOBODY, str(path), another) as process:
        said = process.hear()
        assert process.ended() == 0
        return said


@pytest.mark.parametrize(
    ("what", "mode"),
    [(".", 0o500), (".", 0o000), ("shapes.db", 0o400), ("shapes.db", 0o200), ("shapes.db-gate", 0o400)],
)
def test_what_may_not_be_written_is_named_and_left_as_it_is(
    folder: Path, empty_path: str, what: str, mode: int
) -> None:
    path = folder / "shapes.db"
    assert opened_as_nobody(path, empty_path) == "opened"
    before = path.read_bytes()
    give(folder / what, mode)
    said = opened_as_nobody(path, empty_path)
    assert said.startswith("StorageError ")
    assert repr(str(path)) in said
    give(folder / what, 0o700)
    assert path.read_bytes() == before
    assert opened_as_nobody(path, empty_path) == "opened"


def test_a_folder_that_may_not_be_written_takes_no_new_store(folder: Path, empty_path: str) -> None:
    give(folder, 0o500)
    said = opened_as_nobody(folder / "new.db", empty_path)
    assert said.startswith("StorageError ")
    assert "permission denied" in said
    assert not list(folder.glob("new.db*"))


async def test_a_store_opened_again_by_itself_after_a_refusal_works(tmp_path: Path) -> None:
    """A refusal leaves no gate held, no owner, no connection."""
    path = tmp_path / "folder" / "shapes.db"
    store = ShapeStore(path, create=albums)
    with pytest.raises(StorageError):
        await store.open()
    path.parent.mkdir()
    path.write_text("not a database " * 1_000)
    with pytest.raises(CorruptStoreError):
        await store.open()
    path.unlink()
    async with store:
        await store.get_or_create(ALBUMS)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM shapes").fetchone() == (1,)
    connection.close()
