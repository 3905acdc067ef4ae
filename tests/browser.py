"""Chromium without a screen, driven over its DevTools protocol through a pair of pipes: no server, no port, no driver.

https://chromedevtools.github.io/devtools-protocol/: messages are JSON, each ended by a zero byte; Chromium reads them
from file descriptor 3 and writes to 4.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

# Chrome first: Ubuntu 24.04 lets it alone have a sandbox, and on GitHub's runners both are there.
NAMES = ("google-chrome", "google-chrome-stable", "chrome", "chromium", "chromium-browser")
PATIENCE = 60.0  # seconds for one answer; a busy machine is slow to start
FLAGS = (
    *("--headless=new", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"),
    *("--disable-component-update", "--disable-extensions", "--mute-audio", "--remote-debugging-pipe"),
    "--host-resolver-rules=MAP * ~NOTFOUND",  # nothing outside can be reached, whatever a page asks for
)


def installed() -> str | None:
    """The path of a Chromium that starts, if there is one; on some systems a script of that name only advises."""
    for path in filter(None, map(shutil.which, NAMES)):
        if subprocess.run([path, "--version"], check=False, capture_output=True).returncode == 0:
            return path
    return None


class Page:
    """One open tab."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session
        self.events: list[dict[str, Any]] = []
        self.visits = 0

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.call(method, parameters, self._session)

    def open(self, file: Path, fragment: str = "") -> None:
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.visits += 1
        if self.run("location.protocol") == "file:":
            self.run("window.left = true")  # else the page that is being left would count as the one opened
        self.call("Page.navigate", url=file.resolve().as_uri() + fragment)
        self.until("document.readyState === 'complete' && location.protocol === 'file:' && !window.left")

    def run(self, script: str) -> Any:
        """What a script evaluates to; a promise is waited for, and it counts as a person's click."""
        done = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True, userGesture=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def until(self, script: str) -> None:
        end = time.monotonic() + PATIENCE
        while not self.run(script):
            assert time.monotonic() < end, f"never: {script}"
            time.sleep(0.02)

    def expect(self, script: str, value: Any) -> None:
        """Wait until ``script`` evaluates to ``value``: what follows an event is drawn when the machine gets to it."""
        end = time.monotonic() + PATIENCE
        while (seen := self.run(script)) != value:
            assert time.monotonic() < end, f"{script}: {seen!r}, not {value!r}"
            time.sleep(0.02)

    def click(self, script: str) -> None:
        """Press the mouse on the middle of the element that a script evaluates to."""
        x, y = self.run(
            f"(() => {{ const e = {script}; e.scrollIntoView({{block: 'center', inline: 'center'}});"
            "const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def key(self, name: str, code: int) -> None:
        for kind in ("keyDown", "keyUp"):
            text = {"text": "\r"} if name == "Enter" and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code, **text)

    def type(self, text: str) -> None:
        """Into what has the focus."""
        self.call("Input.insertText", text=text)

    @property
    def requested(self) -> list[str]:
        """The addresses of all requests so far."""
        return [e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"]

    @property
    def complaints(self) -> list[dict[str, Any]]:
        """What a developer's console would show in red."""
        bad = []
        for event in self.events:
            entry = event["params"].get("entry", {})
            if event["method"] == "Runtime.exceptionThrown" or entry.get("level") in ("error", "warning"):
                bad.append(event)
            if event["method"] == "Runtime.consoleAPICalled" and event["params"]["type"] in ("error", "warning"):
                bad.append(event)
        return bad


class Browser:
    """A running Chromium with a profile of its own."""

    def __init__(self, program: str, profile: Path) -> None:
        read, self._to = os.pipe()
        self._from, write = os.pipe()
        # Chromium refuses to sandbox what root runs; containers are root.
        flags = [*FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else []), f"--user-data-dir={profile}", "about:blank"]
        shell = f'exec "$@" 3<&{read} 4>&{write}'
        self._process = subprocess.Popen(
            ["bash", "-c", shell, "browser", program, *flags],
            pass_fds=(read, write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read)
        os.close(write)
        self._number, self._unread = 0, b""
        self._pages: dict[str, Page] = {}

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.call("Browser.close", {})
        except (OSError, AssertionError):
            self._process.kill()
        self._process.wait(timeout=PATIENCE)
        os.close(self._to)
        os.close(self._from)

    @contextmanager
    def page(self) -> Iterator[Page]:
        target = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        self._pages[session] = Page(self, session)
        try:
            yield self._pages[session]
        finally:
            self.call("Target.closeTarget", {"targetId": target})

    def call(self, method: str, parameters: dict[str, Any], session: str | None = None) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                result: dict[str, Any] = answer["result"]
                return result
            if (page := self._pages.get(answer.get("sessionId", ""))) and "method" in answer:
                page.events.append(answer)

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._from], [], [], max(0.0, end - time.monotonic()))
            assert ready, "the browser does not answer"
            part = os.read(self._from, 1 << 20)
            assert part, "the browser has gone"
            self._unread += part
        text, _, self._unread = self._unread.partition(b"\0")
        answer: dict[str, Any] = json.loads(text)
        return answer
