"""An example app under ``uvicorn --workers``, as people run it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

APPS = Path(__file__).resolve().parents[1] / "apps"

# Nothing takes nearly as long; it only keeps a test that hangs from hanging for ever.
PATIENCE = 60.0


class Server:
    """``uvicorn --workers``, on a port that the system chose."""

    def __init__(self, app: str, workers: int, folder: Path, apps: Path = APPS) -> None:
        """The module ``app`` of the folder ``apps``; the working directory is ``folder``."""
        self._workers = workers
        self.path = folder / "shapes.db"
        self._said: list[str] = []
        self._heard = threading.Condition()
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "uvicorn", f"{app}:app", f"--workers={workers}", "--port=0"),
                # A worker on a slow machine is not to be taken for one that hangs.
                f"--timeout-worker-healthcheck={PATIENCE:.0f}",
                # Nor is a connection to be closed between a client's two requests.
                f"--timeout-keep-alive={PATIENCE:.0f}",
            ],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": f"{apps}{os.pathsep}{APPS.parent.parent}"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            with self._heard:
                self._said.append(line)
                self._heard.notify_all()

    @property
    def said(self) -> str:
        return "".join(self._said)

    def wait_until_ready(self) -> None:
        with self._heard:
            ready = self._heard.wait_for(
                lambda: self.said.count("Application startup complete") == self._workers and "http://" in self.said,
                PATIENCE,
            )
        assert ready, self.said

    @property
    def url(self) -> str:
        [url] = re.findall(r"http://127\.0\.0\.1:\d+", self.said)
        return str(url)

    def stop(self) -> None:
        """Stop it as a service manager does."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(PATIENCE)
        finally:
            self._process.kill()
        self._listener.join()
        assert self._process.stderr is not None
        self._process.stderr.close()
