from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import shapestore

ROOT = Path(__file__).resolve().parent.parent

TOP_LEVEL = {
    "CHANGELOG.md",
    "LICENSE",
    "README.md",
    "alembic",
    "pyproject.toml",
    "scripts",
    "shapestore",
    "tests",
}

PUBLIC_NAMES = {
    "CorruptStoreError",
    "CreateFailedError",
    "CreateLock",
    "Difference",
    "Explanation",
    "Failure",
    "ForkedStoreError",
    "InvalidCreatorError",
    "InvalidRowError",
    "InvalidShapeError",
    "MigrationRequiredError",
    "RetryLater",
    "SQLSource",
    "Shape",
    "ShapeGoneError",
    "ShapeStore",
    "ShapeStoreError",
    "Stats",
    "StorageError",
    "StoreBusyError",
    "StoreClosedError",
    "StoredShape",
    "SupersededError",
    "WaitTimeoutError",
}


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")
def test_the_top_level_holds_what_it_was_meant_to_hold() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    tracked = {name.split("/")[0] for name in listed.splitlines()}
    assert {name for name in tracked if not name.startswith(".")} == TOP_LEVEL


def test_the_folder_alembic_is_no_package_so_that_it_never_hides_the_library() -> None:
    assert not (ROOT / "alembic" / "__init__.py").exists()


def test_the_public_names_are_these() -> None:
    assert set(shapestore.__all__) == PUBLIC_NAMES
    assert all(hasattr(shapestore, name) for name in PUBLIC_NAMES)


def test_importing_shapestore_imports_nothing_slow() -> None:
    slow = {"alembic", "click", "rich", "sqlalchemy", "sqlglot"}
    program = f"import sys, shapestore; print(sorted({slow} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ran.stdout, ran.stderr) == ("[]\n", "")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"]
    folder = tmp_path_factory.mktemp("wheel")
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder)]
    subprocess.run([*pip, *offline, str(ROOT)], check=True)
    [wheel] = folder.iterdir()
    return wheel


def test_the_wheel_holds_the_package_its_migrations_and_its_types_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    package = {file.relative_to(ROOT).as_posix() for file in (ROOT / "shapestore").rglob("*.py")}
    scripts = {
        f"shapestore/_migrations/{file.relative_to(ROOT / 'alembic')}" for file in (ROOT / "alembic").rglob("*.*")
    }
    scripts = {name for name in scripts if "__pycache__" not in name}
    assert {"shapestore/_migrations/env.py", "shapestore/_migrations/versions/0001_first_tables.py"} <= scripts
    metadata = {name for name in names if ".dist-info/" in name}
    assert names - metadata == package | scripts | {"shapestore/py.typed"}


def test_the_wheel_brings_the_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        [entry_points] = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        assert archive.read(entry_points).decode().split("\n")[:2] == [
            "[console_scripts]",
            "shapestore = shapestore.cli:main",
        ]


def test_an_installed_wheel_migrates_by_itself(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "50% site"
    zipfile.ZipFile(wheel).extractall(site)
    path = str(tmp_path / "shapes.db")
    program = (
        "import sys; from shapestore import migrations; print(migrations.__file__); migrations.upgrade(sys.argv[1])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, path],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.stdout, ran.stderr) == (f"{site / 'shapestore' / 'migrations.py'}\n", "")
    again = "import sys, sqlite3; from shapestore import migrations as m; m.check(sqlite3.connect(sys.argv[1]), '')"
    subprocess.run([sys.executable, "-c", again, path], cwd=ROOT, check=True)
