"""Make .venv and install shapestore into it, with the extras named as arguments. Quick when nothing changed.

Scripts may start at once in a fresh clone: one makes the .venv while the others wait for its lock, which the
kernel lets go of if that one is killed. The stamp is written last, so what was left half made is made again.
"""

import fcntl
import hashlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"


def main(extras: list[str]) -> None:
    stamp = VENV / f"installed-{'-'.join(extras) or 'plain'}"
    with (ROOT / ".venv-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        works = venv_works()
        digest = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
        if works and stamp.is_file() and stamp.read_text() == digest:
            return
        print("Setting up .venv (once, and whenever pyproject.toml changes) ...", file=sys.stderr, flush=True)
        if not works:
            subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], check=True)
        package = f"{ROOT}[{','.join(extras)}]" if extras else str(ROOT)
        pip = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        subprocess.run([*pip, "--editable", package], check=True)
        stamp.write_text(digest)


def venv_works() -> bool:
    """Whether .venv has a Python that runs, is new enough and has pip: it may be half made, or its Python removed."""
    try:
        trial = subprocess.run([PYTHON, "-c", "import sys, pip; sys.exit(sys.version_info < (3, 11))"], check=False)
    except OSError:
        return False
    return trial.returncode == 0


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except subprocess.CalledProcessError as error:
        sys.exit(f"Setting up .venv failed: {' '.join(map(str, error.cmd))} ended with status {error.returncode}.")
