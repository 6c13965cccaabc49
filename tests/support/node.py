"""The published clients on real node: installed once, and driven by JSON lines (see ``tests/clients/driver.mjs``)."""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import json
import re
import shutil
import subprocess
import tempfile
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import IO, Any

import pytest

CLIENTS = Path(__file__).resolve().parents[1] / "clients"
OLDEST_NODE = 20
INSTALLATION_SECONDS = 200
PATIENCE = 90.0
"""Seconds; longer than the driver's own, whose complaint says more."""


def node_modules(cache: Path) -> Path:
    """A folder with what package-lock.json names, in ``cache``; the test is skipped where it cannot be had."""
    _refuse_without_node()
    manifests = [CLIENTS / "package.json", CLIENTS / "package-lock.json"]
    digest = hashlib.sha256(b"".join(manifest.read_bytes() for manifest in manifests)).hexdigest()[:16]
    folder = cache / digest
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "installed").exists():
            _install(folder, manifests)
    return folder / "node_modules"


def _refuse_without_node() -> None:
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"the clients need node: there is no {program} on the PATH")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    if int(re.findall(r"\d+", version)[0]) < OLDEST_NODE:
        pytest.skip(f"the clients need node {OLDEST_NODE} or newer, not {version.strip()}")


def _install(folder: Path, manifests: list[Path]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for manifest in manifests:
        shutil.copy(manifest, folder)
    command = ["npm", "ci", "--ignore-scripts", "--omit=peer", "--no-audit", "--no-fund", "--fetch-retries=1"]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False, timeout=INSTALLATION_SECONDS
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"the clients could not be installed: npm ci took more than {INSTALLATION_SECONDS} seconds")
    if done.returncode != 0:
        said = " ".join(done.stderr.split())[:300]
        pytest.skip(f"the clients could not be installed: npm ci ended with status {done.returncode}: {said}")
    (folder / "installed").touch()


class Refused(Exception):
    """A command of the driver failed; ``str`` of it is its message."""


class Node:
    """A process that runs ``driver.mjs``, or another program of the same protocol."""

    def __init__(self, modules: Path, folder: Path, program: str = "driver.mjs") -> None:
        """``folder`` is a folder of the test's own: modules are looked for beside the program."""
        (folder / "node_modules").symlink_to(modules)
        shutil.copy(CLIENTS / program, folder)
        (folder / "package.json").write_text('{"type": "module"}')
        self._complaints = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            ["node", str(folder / program)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            text=True,
        )
        self._numbers = itertools.count(1)
        self._asked: dict[int, Future[Any]] = {}
        self._lock = threading.Lock()
        self._listener = threading.Thread(target=self._listen, name="listener", daemon=True)
        self._listener.start()

    def send(self, do: str, name: str = "", **arguments: Any) -> Future[Any]:
        """Ask for something; the answer comes by the future, as a Refused if the command failed."""
        answer: Future[Any] = Future()
        number = next(self._numbers)
        with self._lock:
            self._asked[number] = answer
        stdin = _there(self._process.stdin)
        stdin.write(json.dumps({"id": number, "do": do, "name": name} | arguments) + "\n")
        stdin.flush()
        return answer

    def call(self, do: str, name: str = "", **arguments: Any) -> Any:
        """Ask for something, and wait for the answer."""
        return self.send(do, name, **arguments).result(PATIENCE)

    def _listen(self) -> None:
        for line in _there(self._process.stdout):
            said = json.loads(line)
            with self._lock:
                answer = self._asked.pop(said["id"])
            if "error" in said:
                answer.set_exception(Refused(said["error"]))
            else:
                answer.set_result(said["ok"])
        with self._lock:
            asked, self._asked = self._asked, {}
        for answer in asked.values():
            answer.set_exception(Refused(f"node ended; it wrote: {self._complained()}"))

    def _complained(self) -> str:
        self._complaints.seek(0)
        return self._complaints.read()

    def close(self) -> None:
        """End it; nothing may be left of it."""
        _there(self._process.stdin).close()
        try:
            self._process.wait(PATIENCE)
        finally:
            self._process.kill()
        self._listener.join()
        _there(self._process.stdout).close()
        complained = self._complained()
        self._complaints.close()
        assert (self._process.returncode, complained) == (0, ""), complained


def _there(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream
