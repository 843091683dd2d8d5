"""A headless Chromium, driven through its DevTools pipe (no WebSocket library needed)."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

KEY_CODES = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Enter": 13}


class Chromium:
    """One browser with one page. Software rendering, so that WebGL works without a GPU."""

    def __init__(self, profile: Path, downloads: Path) -> None:
        # The browser reads commands from its descriptor 3 and answers on 4, each message ended by NUL.
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        arguments = [
            shutil.which("chromium") or "chromium", "--headless=new", "--no-sandbox", "--remote-debugging-pipe",
            "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist",
            "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", "--disable-extensions",
            "--window-size=1400,900", f"--user-data-dir={profile}", "about:blank",
        ]
        # dup2 in the child: the pipes' numbers here need not be 3 and 4.
        high = [os.dup2(to_browser, 203, inheritable=True), os.dup2(from_browser, 204, inheritable=True)]
        with open(profile.with_suffix(".log"), "wb") as log:
            self._process = subprocess.Popen(["/bin/bash", "-c", 'exec "$0" "$@" 3<&203 4>&204', *arguments],
                                             pass_fds=high, stdout=log, stderr=log)
        for descriptor in (to_browser, from_browser, *high):
            os.close(descriptor)
        self._buffer = b""
        self._count = 0
        self.requests: list[str] = []
        self.errors: list[str] = []
        target = next(t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page")
        self._session: str | None = self.call("Target.attachToTarget", targetId=target["targetId"],
                                              flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network"):
            self.call(f"{domain}.enable")
        self.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))

    def __enter__(self) -> Chromium:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._write)
        os.close(self._read)

    _session: str | None = None

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            data = os.read(self._read, 1 << 20)
            if not data:
                raise RuntimeError("Chromium went away")
            self._buffer += data
        message, self._buffer = self._buffer.split(b"\0", 1)
        parsed: dict[str, Any] = json.loads(message)
        return parsed

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:  # noqa: ANN401
        """Sends one command and returns its result; events that come before it are noted."""
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            reply = self._receive()
            if reply.get("method") == "Network.requestWillBeSent":
                self.requests.append(reply["params"]["request"]["url"])
            if reply.get("method") == "Runtime.exceptionThrown":
                self.errors.append(json.dumps(reply["params"]["exceptionDetails"])[:500])
            if reply.get("id") == self._count:
                if "error" in reply:
                    raise RuntimeError(f"{method}: {reply['error']}")
                result: dict[str, Any] = reply["result"]
                return result

    def evaluate(self, expression: str) -> Any:  # noqa: ANN401
        reply = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in reply:
            raise RuntimeError(f"{expression}: {reply['exceptionDetails']}")
        return reply["result"].get("value")

    def wait_for(self, expression: str, seconds: float = 60) -> None:
        """Waits until the expression is true; the error says which one never was."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.evaluate(expression):
                return
            time.sleep(0.05)
        raise TimeoutError(f"never true: {expression}; page errors: {self.errors}")

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        self.wait_for("document.readyState === 'complete' && location.href !== 'about:blank'")

    def reload(self) -> None:
        self.evaluate("window.beforeReload = true")
        self.call("Page.reload")
        self.wait_for("document.readyState === 'complete' && !window.beforeReload")

    def press(self, key: str) -> None:
        code = KEY_CODES.get(key, ord(key.upper()[0]))
        text = {} if len(key) > 1 else {"text": key}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def centre(self, selector: str) -> tuple[float, float]:
        element = f"document.querySelector({json.dumps(selector)})"
        box = self.evaluate(f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])"
                            f"({element}.getBoundingClientRect())")
        return box[0], box[1]

    def click(self, selector: str, fraction: tuple[float, float] = (0, 0)) -> None:
        x, y = self.centre(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x + fraction[0], y=y + fraction[1], button="left",
                      clickCount=1)

    def wheel(self, selector: str, delta: float) -> None:
        x, y = self.centre(selector)
        self.call("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=delta)

    def screenshot(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
