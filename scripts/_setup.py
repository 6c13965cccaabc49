"""Make a virtual environment and install shapestore into it, with dependency groups. Quick when nothing changed.

Several scripts may start at once in a fresh clone: one makes the environment while the others wait for its lock. The
kernel releases the lock if that one is killed. The stamp is written last, so an interrupted installation is repeated.
"""

import argparse
import fcntl
import hashlib
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = ROOT / "pyproject.toml"


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/setup", description="Make an environment, and print its folder.")
    parser.add_argument("--python", metavar="VERSION", help="of this Python, 3.12 say, in .venv-3.12")
    parser.add_argument("--lowest", action="store_true", help="with the oldest dependencies allowed, in .venv-lowest")
    parser.add_argument("groups", nargs="*", metavar="GROUP", help="dependency groups of pyproject.toml")
    options = parser.parse_args()
    python = find_python(options.python) if options.python else sys.executable
    parts = [".venv", *filter(None, [options.python, "lowest" if options.lowest else None])]
    venv = ROOT / "-".join(parts)
    with (ROOT / ".venv-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        install(python, venv, options.groups, lowest=options.lowest)
    print(venv.name)


def find_python(version: str) -> str:
    """Try every candidate: a name on the path may be a shim that leads nowhere."""
    name = "python" + ".".join(version.split(".")[:2])
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    uv = Path("~/.local/share/uv/python").expanduser()
    folders = [*map(Path, os.get_exec_path()), *pyenv.glob("versions/*/bin"), *uv.glob("cpython-*/bin")]
    for candidate in (folder / name for folder in folders):
        if works(candidate, "venv, ensurepip", f"(sys.version.split()[0] + '.').startswith('{version}.')"):
            return str(candidate)
    sys.exit(
        f"No working Python {version} with its venv and ensurepip modules (on Debian: {name}-venv): "
        f"no {name} on the PATH, nor one that pyenv or uv keeps."
    )


def works(python: Path, modules: str, condition: str) -> bool:
    """Whether this Python starts, has these modules, and the condition holds there. An environment may be half made."""
    program = f"import sys, {modules}; sys.exit(not ({condition}))"
    try:
        return subprocess.run([python, "-c", program], stderr=subprocess.DEVNULL, check=False).returncode == 0
    except OSError:
        return False


def install(python: str, venv: Path, groups: list[str], *, lowest: bool) -> None:
    stamp = venv / f"installed-{'-'.join(groups) or 'plain'}"
    digest = hashlib.sha256(PYPROJECT.read_bytes()).hexdigest()
    usable = works(venv / "bin" / "python", "pip", "sys.version_info >= (3, 11)")
    if usable and stamp.is_file() and stamp.read_text() == digest:
        return
    print(f"Setting up {venv.name} (once, and whenever pyproject.toml changes) ...", file=sys.stderr, flush=True)
    if not usable:
        subprocess.run([python, "-m", "venv", "--clear", venv], check=True)
    pip = [str(venv / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, "pip>=25.1"], check=True)  # the first that knows dependency groups
    wanted = ["--editable", str(ROOT), *(f"--group={group}" for group in groups)]
    if lowest:
        constraints = venv / "lowest.txt"
        constraints.write_text("\n".join(lower_bounds()) + "\n")
        wanted += ["--constraint", str(constraints)]
    subprocess.run([*pip, *wanted], cwd=ROOT, check=True)
    stamp.write_text(digest)


def lower_bounds() -> Iterator[str]:
    """The oldest versions that shapestore promises to work with; tools of its developers may be newer."""
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    for requirement in sum(project["optional-dependencies"].values(), project["dependencies"]):
        [(name, bound)] = re.findall(r"^([\w.-]+)>=([\d.]+)", requirement)
        yield f"{name}=={bound}"


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"scripts/setup failed: {' '.join(map(str, error.cmd))} ended with status {error.returncode}.")
