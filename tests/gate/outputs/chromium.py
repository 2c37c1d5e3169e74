"""A headless Chromium for tests, driven over a pair of pipes by the DevTools protocol: no package, no port."""

import base64
import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BINARY = shutil.which("chromium") or shutil.which("chromium-browser")
# The sandbox needs rights that a container rarely gives; the pages are our own.
_FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe")


class Page:
    """The one page of a browser.

    `complaints` are the lines of its console and its uncaught errors, `requests` the addresses it asked for.
    """

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self._to, self._from, self._session, self._last, self._left = to_browser, from_browser, "", 0, b""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    def show(self, path: Path, *, width: int, dark: bool = False, script: bool = True, fragment: str = "") -> None:
        """Load the file at `path` in a window of `width` pixels and wait until it is there."""
        self._call("Emulation.setScriptExecutionDisabled", value=not script)
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", media="", features=[scheme])
        # From one fragment to another of the same file is no load: leave the file in between.
        self._load("about:blank")
        self._load(path.resolve().as_uri() + fragment)

    def value(self, expression: str) -> Any:
        """What `expression` is in the page, as JSON has it."""
        found = self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, key: str, text: str = "") -> None:
        """Press and release a key of the keyboard ("Tab", "Enter" with its text "\\r")."""
        code = {"Tab": 9, "Enter": 13}[key]
        facts = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self._call("Input.dispatchKeyEvent", type="keyDown", text=text, **facts)
        self._call("Input.dispatchKeyEvent", type="keyUp", **facts)

    def picture(self, *, whole: bool = False) -> bytes:
        """What the window shows, or the whole page, as PNG."""
        found = self._call("Page.captureScreenshot", captureBeyondViewport=whole)
        return base64.b64decode(found["data"])

    def _load(self, url: str) -> None:
        self._call("Page.navigate", url=url)
        while self._receive().get("method") != "Page.loadEventFired":
            pass

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._last += 1
        message = {"id": self._last, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._last:
                assert "error" not in answer, answer
                return answer["result"]

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._left:
            read = os.read(self._from, 1 << 20)
            assert read, "the browser is gone"
            self._left += read
        message, _, self._left = self._left.partition(b"\0")
        event = json.loads(message)
        if event.get("method") in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"):
            self.complaints.append(json.dumps(event["params"]))
        if event.get("method") == "Network.requestWillBeSent":
            self.requests.append(event["params"]["request"]["url"])
        return event


@contextmanager
def browse(profile: Path) -> Iterator[Page]:
    """A page of a fresh browser whose profile lies in the folder `profile`; it ends with the block."""
    assert BINARY is not None
    browser_reads, to_browser = _pipe()
    from_browser, browser_writes = _pipe()
    moved = f"os.dup2({browser_reads}, 3); os.dup2({browser_writes}, 4)"
    start = f"import os, sys; {moved}; os.execv(sys.argv[1], sys.argv[1:])"
    process = subprocess.Popen(
        [sys.executable, "-c", start, BINARY, *_FLAGS, f"--user-data-dir={profile}"],
        pass_fds=(browser_reads, browser_writes), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(browser_reads)
    os.close(browser_writes)
    try:
        yield Page(to_browser, from_browser)
    finally:
        os.close(to_browser)  # its end of the pipe is the browser's sign to leave
        os.close(from_browser)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _pipe() -> tuple[int, int]:
    """A pipe (reading end, writing end) with numbers from 10: the protocol's own are 3 and 4 of the browser."""
    low = os.pipe()
    first, second = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in low)
    for end in low:
        os.close(end)
    return first, second
