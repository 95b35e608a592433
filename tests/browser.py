"""A real browser for tests: Chromium without a window, driven through its DevTools protocol.

It talks through a pipe, so that no port is open and no further package is needed.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, Self

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_FLAGS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--hide-scrollbars",
)
_PATIENCE = 60.0


def find() -> str | None:
    """The browser of this machine, None where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """A running browser; a context manager that ends it.

    Args:
        executable: the browser.
        profile: an empty folder of its own.
    """

    def __init__(self, executable: str, profile: Path) -> None:
        read_end, self._out = os.pipe()
        self._in, write_end = os.pipe()

        def place() -> None:
            # the browser reads from 3 and writes to 4, whatever these numbers are here
            to_read, to_write = (os.dup(os.dup(fd)) for fd in (read_end, write_end))
            os.dup2(to_read, 3)
            os.dup2(to_write, 4)

        # as root there is no sandbox, and none is needed for pages of ours
        more = ["--no-sandbox"] if os.geteuid() == 0 else []
        self._process = subprocess.Popen(
            [executable, *_FLAGS, *more, f"--user-data-dir={profile}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(3, 4),
            preexec_fn=place,
            env={**os.environ, "HOME": str(profile)},
        )
        os.close(read_end)
        os.close(write_end)
        self._number = 0
        self._held = b""
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Ask for something and wait for the answer."""
        self._number += 1
        number = self._number
        asked: dict[str, Any] = {"id": number, "method": method, "params": params}
        if session:
            asked["sessionId"] = session
        os.write(self._out, json.dumps(asked).encode() + b"\0")
        while True:
            said = self._message()
            if said.get("id") == number:
                if "error" in said:
                    raise RuntimeError(f"{method}: {said['error']}")
                answer: dict[str, Any] = said["result"]
                return answer
            self.events.append(said)

    def wait(self, method: str, session: str) -> None:
        """Until an event has happened; earlier ones count."""
        while not any(
            e.get("method") == method and e.get("sessionId") == session for e in self.events
        ):
            self.events.append(self._message())

    def _message(self) -> dict[str, Any]:
        begun = time.monotonic()
        while b"\0" not in self._held:
            piece = os.read(self._in, 1 << 20)
            if not piece or time.monotonic() - begun > _PATIENCE:
                raise RuntimeError("the browser does not answer")
            self._held += piece
        text, _, self._held = self._held.partition(b"\0")
        said: dict[str, Any] = json.loads(text)
        return said

    def open(
        self,
        path: Path,
        width: int = 1280,
        height: int = 900,
        *,
        dark: bool = False,
        touch: bool = False,
        part: str = "",
    ) -> Tab:
        """Show a file, from a `part` of it (`#frame-7`) on; `touch`: on a screen for fingers."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = Tab(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            tab.call(f"{domain}.enable")
        tab.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        if touch:
            tab.call("Emulation.setTouchEmulationEnabled", enabled=True, maxTouchPoints=2)
        likes = {
            "prefers-color-scheme": "dark" if dark else "light",
            "prefers-reduced-motion": "reduce",  # what scrolls is there at once
        }
        features = [{"name": name, "value": value} for name, value in likes.items()]
        tab.call("Emulation.setEmulatedMedia", features=features)
        begun = time.monotonic()
        tab.call("Page.navigate", url=path.resolve().as_uri() + part)
        self.wait("Page.loadEventFired", session)
        tab.seconds = time.monotonic() - begun
        return tab

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.call("Browser.close")
            self._process.wait(20)
        except (OSError, RuntimeError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._in)
        os.close(self._out)


class Tab:
    """A page that is shown.

    Attributes:
        seconds: from asking for it until it was loaded.
    """

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser, self._session = browser, session
        self.seconds = 0.0

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Of the DevTools protocol, in this page."""
        return self._browser.call(method, self._session, **params)

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        answer = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(json.dumps(answer["exceptionDetails"])[:2000])
        return answer["result"].get("value")

    def press(self, key: str, text: str = "") -> None:
        """A key, as a person presses it."""
        codes = {"ArrowRight": 39, "ArrowLeft": 37, "Tab": 9, "Enter": 13, "Escape": 27, "End": 35}
        code = codes.get(key, ord(key[0].upper()))
        about = {"key": key, "windowsVirtualKeyCode": code}
        written = {"Enter": "\r"}.get(key, key if len(key) == 1 else text)
        self.call("Input.dispatchKeyEvent", type="keyDown", **about, text=written)
        self.call("Input.dispatchKeyEvent", type="keyUp", **about)

    def mouse(self, kind: str, x: float, y: float) -> None:
        """`mouseMoved`, `mousePressed` or `mouseReleased` of the left button."""
        button = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **button)

    def fingers(self, *moves: tuple[tuple[float, float], ...]) -> None:
        """Fingers that come down at the first places, move on to the others, and leave."""
        for number, places in enumerate(moves):
            self.call(
                "Input.dispatchTouchEvent",
                type="touchMove" if number else "touchStart",
                touchPoints=[{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(places)],
            )
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
        # what a page does with the next picture that it draws
        self.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """What it looks like, as PNG."""
        more: dict[str, Any] = {}
        if whole:
            size = self.call("Page.getLayoutMetrics")["cssContentSize"]
            more = {"captureBeyondViewport": True, "clip": {**size, "scale": 1}}
        answer = self.call("Page.captureScreenshot", format="png", **more)
        path.write_bytes(base64.b64decode(answer["data"]))

    def events(self, method: str) -> list[dict[str, Any]]:
        """What happened in it so far, of one kind."""
        self.run("0")
        return [
            e["params"]
            for e in self._browser.events
            if e.get("method") == method and e.get("sessionId") == self._session
        ]

    @property
    def fetched(self) -> list[str]:
        """Every address that it asked for."""
        return [e["request"]["url"] for e in self.events("Network.requestWillBeSent")]

    @property
    def complaints(self) -> list[str]:
        """Errors of its scripts, and what the browser found wrong."""
        details = [e["exceptionDetails"] for e in self.events("Runtime.exceptionThrown")]
        thrown = [e.get("exception", {}).get("description") or e["text"] for e in details]
        logged = [e["entry"] for e in self.events("Log.entryAdded")]
        return thrown + [e["text"] for e in logged if e["level"] == "error"]
