"""A PostgreSQL server for the tests: in a temporary folder, on a socket in that folder, stopped at the end."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PLACES = ("/usr/lib/postgresql/*/bin", "/opt/homebrew/opt/postgresql*/bin", "/usr/local/opt/postgresql*/bin")


def binaries() -> Path | None:
    """The folder that has ``initdb`` and ``postgres``, if there is one."""
    on_path = shutil.which("pg_ctl")
    places = [Path(on_path).resolve().parent] if on_path else []
    for place in PLACES:
        places += Path("/").glob(place[1:])
    return next((place for place in places if (place / "initdb").exists() and (place / "postgres").exists()), None)


def ordinary_user() -> str | None:
    """The user that runs the server, which refuses to run as root. None: the user that runs the tests."""
    if os.getuid() != 0:
        return None
    names = [entry.pw_name for entry in pwd.getpwall()]
    return "postgres" if "postgres" in names else "nobody"


@contextmanager
def running_server(bin_folder: Path) -> Iterator[str]:
    """The URL of a database of the server, while the server runs."""
    user = ordinary_user()
    # Not in the folder of pytest: other users cannot enter it, and its path is too long for a socket.
    with tempfile.TemporaryDirectory(prefix="pg-", dir="/tmp") as folder:
        if user is not None:
            shutil.chown(folder, user)
        data = f"{folder}/data"
        initdb = [f"{bin_folder}/initdb", "--pgdata", data, "--auth", "trust", "--username", "tester", "--no-sync"]
        initdb += ["--encoding", "UTF8", "--locale", "C"]
        subprocess.run(initdb, user=user, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        options = {"listen_addresses": "", "unix_socket_directories": folder, "fsync": "off"}
        postgres = [f"{bin_folder}/postgres", "-D", data, *(f"--{name}={value}" for name, value in options.items())]
        with Path(folder, "log").open("w") as log:
            server = subprocess.Popen(postgres, user=user, cwd=folder, stdout=log, stderr=log)
            try:
                _wait_until_ready(bin_folder, folder, server)
                yield f"postgresql+psycopg://tester@/postgres?host={folder}"
            finally:
                server.send_signal(signal.SIGINT)  # a fast shutdown: clients are cut off
                server.wait(60)


def _wait_until_ready(bin_folder: Path, folder: str, server: subprocess.Popen[bytes]) -> None:
    ask = [f"{bin_folder}/pg_isready", "--quiet", "--host", folder, "--timeout", "1"]
    while subprocess.run(ask, check=False).returncode != 0:
        if server.poll() is not None:
            raise RuntimeError(f"the server did not start:\n{Path(folder, 'log').read_text()}")
