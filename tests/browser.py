"""A headless Chromium that tests look at pages with, through its DevTools pipe: no driver package is needed."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
)
# What a page would show a reader who scrolls through all of it; pictures may be decoded only when asked for.
MEASURE = """(async () => {
    document.querySelectorAll('details').forEach(folded => { folded.open = true; });
    await Promise.all([...document.images].map(image => image.decode().catch(() => null)));
    const room = document.documentElement.clientWidth;
    const inTable = element => element.closest('.table') && !element.matches('.table');
    return {
        width: innerWidth, room, scroll: document.documentElement.scrollWidth,
        pictures: [...document.images].map(image => image.naturalWidth),
        outside: [...document.body.querySelectorAll('*')].filter(element => !inTable(element) &&
            element.getBoundingClientRect().right > room + 0.5).map(element => element.outerHTML.slice(0, 200)),
        scripts: document.scripts.length };
})()"""
# Chromium reads commands from descriptor 3 and writes answers to 4.
START = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])"
)


def find_browser() -> str | None:
    """Path of an installed Chromium or Chrome."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def move_up(descriptor: int) -> int:
    """The same file under a number from 10 on, so that 3 and 4 are free."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD, 10)
    os.close(descriptor)
    return moved


class Browser:
    """One page in a browser with an empty profile; ends with the `with` block."""

    def __init__(self, command: str) -> None:
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        reads, ours = os.pipe()
        theirs, writes = os.pipe()
        reads, writes = (move_up(descriptor) for descriptor in (reads, writes))
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-S",
                "-c",
                START,
                str(reads),
                str(writes),
                command,
                *FLAGS,
                f"--user-data-dir={self.profile.name}",
                "about:blank",
            ],
            pass_fds=(reads, writes),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(reads)
        os.close(writes)
        self.commands, self.answers = os.fdopen(ours, "wb", 0), os.fdopen(theirs, "rb")
        self.session, self.number, self.waiting, self.events = None, 0, b"", []

    def __enter__(self) -> Browser:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Page.enable")
        self.call("Network.enable")
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.process.terminate()
        self.process.wait(30)
        self.commands.close()
        self.answers.close()
        self.profile.cleanup()

    def message(self) -> dict:
        """The next one that the browser sends."""
        while b"\0" not in self.waiting:
            part = os.read(self.answers.fileno(), 1 << 16)
            if not part:
                raise RuntimeError("The browser ended.")
            self.waiting += part
        text, self.waiting = self.waiting.split(b"\0", 1)
        return json.loads(text)

    def call(self, method: str, **parameters: object) -> dict:
        """The answer to a DevTools command; events on the way are kept."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        message |= {"sessionId": self.session} if self.session else {}
        self.commands.write(json.dumps(message).encode() + b"\0")
        while (answer := self.message()).get("id") != self.number:
            self.events.append(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def wait_for(self, event: str) -> None:
        """Until an event has come since the page was asked for."""
        while not any(seen.get("method") == event for seen in self.events):
            self.events.append(self.message())

    def open(self, page: Path, width: int, dark: bool = False) -> dict:
        """Load a file at a width in CSS pixels; returns what MEASURE says, and `requests`,
        the addresses that it asked for."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.events.clear()
        self.call("Page.navigate", url=page.resolve().as_uri())
        self.wait_for("Page.loadEventFired")
        answer = self.call("Runtime.evaluate", expression=MEASURE, awaitPromise=True, returnByValue=True)
        measured = answer["result"]["value"]
        asked = [
            event["params"]["request"]["url"]
            for event in self.events
            if event.get("method") == "Network.requestWillBeSent"
        ]
        return measured | {"requests": [url for url in asked if not url.startswith("data:")]}

    def evaluate(self, expression: str) -> object:
        """What an expression of JavaScript gives in the page."""
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def press(self, key: str) -> None:
        """A key on the element that has the focus."""
        code = {"ArrowLeft": 37, "ArrowRight": 39, "Home": 36, "End": 35}[key]
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def screenshot(self, file: Path, height: int, top: int = 0) -> None:
        """Part of the page as PNG."""
        clip = {"x": 0, "y": top, "width": self.evaluate("innerWidth"), "height": height, "scale": 1}
        data = self.call("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)["data"]
        file.write_bytes(base64.b64decode(data))


def faults(browser: Browser, page: Path, width: int) -> list[str]:
    """What is wrong with a page: wider than the window, pictures that do not show, scripts, other requests."""
    seen = browser.open(page, width)
    found = [] if seen["width"] == width else [f"the window is {seen['width']} wide, not {width}"]
    found += [] if seen["scroll"] <= seen["room"] else [f"{seen['scroll']} wide in {seen['room']}"]
    found += [f"outside of the window: {element}" for element in seen["outside"]]
    found += [f"picture {index} does not show" for index, natural in enumerate(seen["pictures"]) if natural == 0]
    found += [f"{seen['scripts']} scripts"] if seen["scripts"] else []
    return found + [f"asked for {url}" for url in seen["requests"] if url != page.resolve().as_uri()]
