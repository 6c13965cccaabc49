"""The package as its users get it: public names, types, version, what is built and uploaded."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from contextlib import closing
from pathlib import Path

import _setup
import pytest
from packaging.requirements import Requirement

import shapestore
from shapestore.storage import migrations

ROOT = Path(__file__).resolve().parent.parent

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

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
    "Change",
    "CorruptStoreError",
    "CreateFailedError",
    "CreateLock",
    "Creator",
    "Difference",
    "Event",
    "Explanation",
    "Failure",
    "ForkedStoreError",
    "InvalidCreatorError",
    "InvalidRowError",
    "InvalidShapeError",
    "InvalidSourceError",
    "MigrationRequiredError",
    "OnEvent",
    "RetryLater",
    "SQLSource",
    "Scalar",
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
    "UnknownColumnError",
    "UnknownTableError",
    "WaitTimeoutError",
    "__version__",
    "keyed",
}


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")
def test_the_top_level_holds_what_it_was_meant_to_hold() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    tracked = {name.split("/")[0] for name in listed.splitlines()}
    assert {name for name in tracked if not name.startswith(".")} == TOP_LEVEL


def test_the_folder_alembic_is_not_a_package_so_that_it_never_hides_the_library() -> None:
    assert not (ROOT / "alembic" / "__init__.py").exists()


def test_the_public_names_are_these() -> None:
    assert set(shapestore.__all__) == PUBLIC_NAMES
    assert all(hasattr(shapestore, name) for name in PUBLIC_NAMES)


def test_dir_lists_every_public_name_the_lazy_one_too() -> None:
    assert set(dir(shapestore)) >= PUBLIC_NAMES


def test_the_version_is_that_of_the_project_and_of_the_newest_heading_of_the_changelog() -> None:
    assert shapestore.__version__ == PROJECT["version"]
    assert f"\n## {shapestore.__version__}\n" in (ROOT / "CHANGELOG.md").read_text()


def test_a_mistyped_import_is_an_error_here_and_to_a_type_checker() -> None:
    """mypy says so if the ignored error is none: a __getattr__ that it sees would make every name an object."""
    with pytest.raises(ImportError, match="SQLSauce"):
        from shapestore import SQLSauce  # type: ignore[attr-defined]  # noqa: F401, PLC0415


def test_importing_shapestore_imports_nothing_slow() -> None:
    slow = {"alembic", "click", "rich", "sqlalchemy", "sqlglot"}
    ran = run(sys.executable, "-c", f"import sys, shapestore; print(sorted({slow} & set(sys.modules)))")
    assert (ran.stdout, ran.stderr) == ("[]\n", "")


def test_a_system_without_kernel_locks_is_named_as_the_reason_why_shapestore_does_not_run_there() -> None:
    ran = run(sys.executable, "-c", "import sys; sys.modules['fcntl'] = None; import shapestore")
    assert ran.stderr.splitlines()[-1].startswith("ImportError: shapestore runs on Linux and macOS only")


def test_the_lower_bounds_of_all_dependencies_are_what_the_tests_with_the_oldest_install() -> None:
    required = [Requirement(text) for text in sum(PROJECT["optional-dependencies"].values(), PROJECT["dependencies"])]
    assert {str(requirement.specifier).count(">=") for requirement in required} == {1}
    oldest = [Requirement(line) for line in _setup.lower_bounds()]
    for requirement, exact in zip(required, oldest, strict=True):
        [pin] = exact.specifier
        assert (exact.name, pin.operator) == (requirement.name, "==")
        assert f">={pin.version}" in str(requirement.specifier)


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("sdist"), "-m", "hatchling", "build", "--target", "sdist", "--directory")


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the source distribution, as the package index's users without a wheel do."""
    pip = ["-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"]
    offline = ["--no-deps", "--no-build-isolation", "--no-index", str(sdist), "--wheel-dir"]
    return built(tmp_path_factory.mktemp("wheel"), *pip, *offline)


def built(folder: Path, *command: str) -> Path:
    done = run(sys.executable, *command, str(folder))
    assert done.returncode == 0, done.stderr
    [file] = folder.iterdir()
    return file


def run(*command: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, check=False)


def test_the_package_index_would_accept_both_and_render_the_readme(sdist: Path, wheel: Path) -> None:
    checked = run(sys.executable, "-m", "twine", "check", "--strict", str(sdist), str(wheel))
    assert checked.returncode == 0, checked.stdout


def test_the_source_distribution_holds_the_whole_project_but_its_dot_files(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        top_level = {name.split("/")[1] for name in archive.getnames()}
    assert top_level - {"PKG-INFO", ".gitignore"} == TOP_LEVEL


def test_the_wheel_holds_the_package_its_migrations_and_its_types_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    kinds = ("*.py", "*.html", "*.css", "*.js")
    package = {file.relative_to(ROOT).as_posix() for kind in kinds for file in (ROOT / "shapestore").rglob(kind)}
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
    migrations = "from shapestore.storage import migrations"
    upgrade = f"import sys; {migrations}; print(migrations.__file__); migrations.upgrade(sys.argv[1])"
    ran = run(sys.executable, "-c", upgrade, path, cwd=tmp_path, PYTHONPATH=str(site))
    assert (ran.stdout, ran.stderr) == (f"{site / 'shapestore' / 'storage' / 'migrations.py'}\n", "")
    check = f"import sys, sqlite3; {migrations}; migrations.check(sqlite3.connect(sys.argv[1]), '')"
    ran = run(sys.executable, "-c", check, path)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_an_application_migrates_a_store_by_its_own_alembic(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    readme = (ROOT / "alembic" / "README.md").read_text()
    [ini] = re.findall(r"^```ini\n(.*?)^```$", readme, re.DOTALL | re.MULTILINE)
    (tmp_path / "alembic.ini").write_text(ini)
    [command] = re.findall(r"^\$ alembic (-n .*?) +#", readme, re.MULTILINE)
    ran = run(sys.executable, "-m", "alembic", *command.split(), cwd=tmp_path, PYTHONPATH=str(site))
    assert ran.returncode == 0, ran.stderr
    with closing(sqlite3.connect(tmp_path / "shapes.db")) as store:
        migrations.check(store, "shapes.db")
