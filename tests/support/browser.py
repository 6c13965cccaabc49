"""Headless Chromium through its driver, by the WebDriver protocol: pages as people see them."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from typing import Any

import httpx
import pytest

PATIENCE = 60.0
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_OPTIONS = [
    "--headless=new",
    "--no-sandbox",  # which refuses to run for root
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--window-size=1200,800",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # no page reaches anything but this machine
]


class Driver:
    """A process that starts browsers; the test is skipped where there is none."""

    def __init__(self) -> None:
        self._chromium = next(filter(None, map(shutil.which, _NAMES)), None)
        driver = shutil.which("chromedriver")
        if self._chromium is None or driver is None:
            pytest.skip("the page needs Chromium and its driver (on Debian: chromium and chromium-driver)")
        self._process = subprocess.Popen([driver, "--port=0"], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        port = None
        while port is None:
            line = self._process.stdout.readline()
            assert line, "chromedriver ended before it listened"
            port = re.search(r"started successfully on port (\d+)", line)
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{port[1]}", timeout=PATIENCE, trust_env=False)

    def start(self) -> Browser:
        """A browser of its own: no cache, no cookies of others."""
        options = {"binary": self._chromium, "args": _OPTIONS}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        started = self.call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        return Browser(self, started["sessionId"])

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        answer = self._client.request(method, path, json=body)
        value = answer.json()["value"]
        assert answer.status_code == 200, value
        return value

    def close(self) -> None:
        self._client.close()
        self._process.terminate()
        self._process.wait(PATIENCE)
        assert self._process.stdout is not None
        self._process.stdout.close()


class Browser:
    """One browser with one page."""

    def __init__(self, driver: Driver, session: str) -> None:
        self._driver = driver
        self._session = f"/session/{session}"

    def open(self, url: str) -> None:
        """Go to a page, and wait until it is loaded."""
        self._call("POST", "/url", {"url": url})

    def run(self, script: str, *arguments: Any) -> Any:
        """What a script returns; it sees ``arguments``."""
        return self._call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def until(self, script: str, *arguments: Any) -> Any:
        """Run a script until it returns something true; that."""
        deadline = time.monotonic() + PATIENCE
        while not (found := self.run(script, *arguments)):
            assert time.monotonic() < deadline, f"in vain: {script}; the page says: {self.text()}; {self.complaints()}"
            time.sleep(0.05)
        return found

    def text(self, selector: str = "body") -> str:
        """What a reader sees of an element."""
        return str(self.run("return document.querySelector(arguments[0])?.innerText ?? ''", selector))

    def until_text(self, selector: str, expected: str) -> None:
        """Wait until an element reads ``expected``."""
        script = "return document.querySelector(arguments[0])?.innerText.trim() === arguments[1]"
        self.until(script, selector, expected)

    def click(self, text: str) -> None:
        """Press the button that begins so, once it is there."""
        self.until(
            "const buttons = [...document.querySelectorAll('button')];"
            "const found = buttons.find((one) => one.innerText.startsWith(arguments[0]));"
            "found?.click(); return found !== undefined",
            text,
        )

    def complaints(self) -> list[str]:
        """What the console got since the last time: errors, refused scripts, failed requests."""
        entries = self._call("POST", "/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] in ("WARNING", "SEVERE")]

    def close(self) -> None:
        self._call("DELETE", "")

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        return self._driver.call(method, f"{self._session}{path}", body)
