"""A headless browser, controlled over its debugging protocol."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import aiohttp


class Browser:
    """Chromium with one page; use `async with`."""

    def __init__(self, program: str, profile: Path) -> None:
        self._profile = profile
        self._numbers = itertools.count(1)
        self._process = subprocess.Popen(
            [
                *(program, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
                *("--remote-debugging-port=0", f"--user-data-dir={profile}"),
                *("--window-size=1300,850", "about:blank"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.asked: list[str] = []

    async def __aenter__(self) -> Browser:
        port_file = self._profile / "DevToolsActivePort"
        deadline = time.monotonic() + 60
        while not (port_file.exists() and port_file.read_text().strip()):
            assert time.monotonic() < deadline, "the browser does not start"
            await asyncio.sleep(0.1)
        port = port_file.read_text().split()[0]
        self._session = aiohttp.ClientSession()
        async with self._session.get(f"http://127.0.0.1:{port}/json") as found:
            pages = [p for p in await found.json() if p["type"] == "page"]
        self._socket = await self._session.ws_connect(
            pages[0]["webSocketDebuggerUrl"], max_msg_size=0
        )
        await self.call("Network.enable")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        self._process.kill()
        self._process.wait()

    async def call(self, method: str, **parameters: Any) -> Any:
        """Call a method of the protocol; record the addresses requested meanwhile."""
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        async for message in self._socket:
            answer = json.loads(message.data)
            if answer.get("method") == "Network.requestWillBeSent":
                self.asked.append(answer["params"]["request"]["url"])
            if answer.get("id") == number:
                return answer.get("result", answer)
        raise AssertionError("the browser has gone")

    async def wait_for(self, script: str, timeout: float = 60) -> None:
        """Wait until a script returns true."""
        deadline = time.monotonic() + timeout
        while True:
            found = await self.call("Runtime.evaluate", expression=script)
            if found["result"].get("value") is True:
                return
            assert time.monotonic() < deadline, f"never: {script}"
            await asyncio.sleep(0.2)

    async def picture(self) -> bytes:
        """Return the page as PNG."""
        return base64.b64decode((await self.call("Page.captureScreenshot"))["data"])
