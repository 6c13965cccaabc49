"""A MariaDB server for the tests: in a temporary folder, on a socket in that folder, stopped at the end."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PLACES = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin", "/usr/local/bin")


def binary() -> Path | None:
    """The server's program, if it is installed."""
    path = os.pathsep.join((os.environ.get("PATH", ""), *PLACES))
    found = shutil.which("mariadbd", path=path)
    return Path(found) if found else None


def ordinary_user() -> str | None:
    """The user that runs the server, which refuses to run as root. None: the user that runs the tests."""
    if os.getuid() != 0:
        return None
    names = [entry.pw_name for entry in pwd.getpwall()]
    return "mysql" if "mysql" in names else "nobody"


@contextmanager
def running_server(program: Path) -> Iterator[str]:
    """The URL of a server without databases of its own, while it runs."""
    user = ordinary_user()
    # Not in pytest's folder: other users cannot enter it, and its path is too long for a socket.
    with tempfile.TemporaryDirectory(prefix="maria-", dir="/tmp") as folder:
        data, socket = Path(folder, "data"), Path(folder, "socket")
        data.mkdir()
        if user is not None:
            shutil.chown(folder, user)
            shutil.chown(data, user)
        options = {
            "datadir": data,
            "socket": socket,
            "pid-file": Path(folder, "pid"),
            "character-set-server": "utf8mb4",
            "innodb-buffer-pool-size": "16M",
            "innodb-log-file-size": "8M",
            "innodb-flush-log-at-trx-commit": "0",
        }
        # Without its own tables, which take seconds to make, it knows no users and lets everyone in.
        command = [str(program), "--no-defaults", "--skip-networking", "--skip-grant-tables", "--skip-log-bin"]
        command += [f"--{name}={value}" for name, value in options.items()]
        with Path(folder, "log").open("w") as log:
            server = subprocess.Popen(command, user=user, cwd=folder, stdout=log, stderr=log)
            try:
                _wait_until_ready(socket, server, Path(folder, "log"))
                yield f"mariadb+pymysql://tester@localhost/?unix_socket={socket}&charset=utf8mb4"
            finally:
                server.terminate()
                server.wait(60)


def _wait_until_ready(socket: Path, server: subprocess.Popen[bytes], log: Path) -> None:
    while not (socket.exists() and "ready for connections" in log.read_text(errors="replace")):
        if server.poll() is not None:
            raise RuntimeError(f"the server did not start:\n{log.read_text(errors='replace')}")
        time.sleep(0.02)
