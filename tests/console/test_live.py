"""The console over a running shop: three sizes, servers killed under it, actions, a browser."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from textual.color import Color

from console.tui import theme
from shop import process_status
from shop.settings import stack_file
from tests.console.terminal import Terminal
from tests.support import python_process
from tests.support.outside_servers import outside
from tests.support.waiting import wait_until


class LiveShop:
    """A `jangteo up` of its own."""

    def __init__(self, directory: Path) -> None:
        self.data_dir = directory / ".jangteo"
        self.out = directory / "out"
        self.env = {
            **outside(),
            "XDG_STATE_HOME": str(directory / "state"),
            "JANGTEO_DATA_DIR": str(self.data_dir),
            "JANGTEO_LANG": "en",
            "GRADE_INTERVAL": "600",
        }
        with self.out.open("w") as out:
            self.process = python_process.Popen(
                [
                    *(sys.executable, "-m", "jangteo", "up", "--plain"),
                    *("--users", "500", "--products", "100"),
                ],
                env=self.env,
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def wait_for(self, condition: Callable[[], Any], timeout: float = 90) -> Any:
        def seen() -> Any:
            if not (found := condition()):
                assert self.process.poll() is None, self.out.read_text()[-3000:]
            return found

        return wait_until(seen, lambda: self.out.read_text()[-3000:], timeout)

    def pid(self, name: str) -> int:
        found = {s.name: s.pid for s in process_status.read_snapshot(self.data_dir)}
        return int(found.get(name) or 0)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return python_process.run(
            [sys.executable, "-m", "jangteo", *words],
            env=self.env,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=90,
        )

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveShop]:
    made = LiveShop(tmp_path_factory.mktemp("live"))
    try:
        made.wait_for(lambda: "the shop is open" in made.out.read_text())
        yield made
    finally:
        made.stop()


@pytest.mark.slow
def test_three_sizes_over_a_running_shop(shop: LiveShop) -> None:
    assert stack_file.read_stack(shop.data_dir)
    for size, last in (((80, 24), "Processes"), ((120, 40), "memory"), ((200, 60), "Refreshes")):
        t = Terminal(env={**shop.env, "TERM": "xterm-256color"}, size=size)
        try:
            t.wait_for("BRONZE")
            t.wait_for(last)
            t.wait_for("grader")
            t.press("3")
            t.wait_for("ops")
            t.press("q")
            assert t.exit_code() == 0
        finally:
            t.end()


@pytest.mark.slow
@pytest.mark.fault
def test_servers_are_killed_under_it_and_come_back(shop: LiveShop) -> None:
    t = Terminal(env={**shop.env, "TERM": "xterm-256color"}, size=(160, 48))
    try:
        t.wait_for("BRONZE")
        for name in ("redis", "postgres", "kafka"):
            pid = shop.pid(name)
            os.kill(pid, signal.SIGSTOP)  # away, but not yet found out by who restarts it
            t.press("r")
            try:
                t.wait_for(name)
                t.wait_for("does not answer")
            finally:
                os.kill(pid, signal.SIGCONT)
                os.kill(pid, signal.SIGKILL)
            shop.wait_for(lambda p=pid, n=name: shop.pid(n) not in (0, p))
            t.press("r")
            t.press("5")  # the overview shows what went wrong before what is over
            t.press("c")  # changes and actions alone: what others log at a start may fill a page
            t.wait_for("answers again")
            t.press("c")
            t.press("1")
            t.wait_for("Partitions")
            t.forget()
        t.press("q")
        assert t.exit_code() == 0
    finally:
        t.end()


@pytest.mark.slow
def test_actions_take_effect(shop: LiveShop) -> None:
    before = shop.pid("orders")
    done = shop.run("do", "process.restart", "orders", "--yes", "--wait", "--json")
    result = json.loads(done.stdout)
    assert result["outcome"] == "done", done
    assert shop.pid("orders") not in (0, before)
    assert "orders restarted as asked" in shop.out.read_text()
    graded = shop.run("do", "grading.run", "--wait", "--timeout", "40")
    assert graded.returncode == 0, graded.stdout
    refused = shop.run("do", "process.restart", "kafka", "--yes")
    assert refused.returncode == 2
    assert "is a server" in refused.stdout
    once = shop.run("console", "--once", "--json")
    seen = json.loads(once.stdout)
    texts = [e["text"] for e in seen["events"] if e["kind"] == "action"]
    assert any(t.startswith("process.restart orders: done") for t in texts)


def shown_colours(png: bytes) -> set[tuple[int, ...]]:
    with Image.open(io.BytesIO(png)) as image:
        found = image.convert("RGB").getcolors(1 << 24)
    return {colour for _, colour in found or () if isinstance(colour, tuple)}


@pytest.mark.slow
@pytest.mark.browser
async def test_a_browser_shows_it(shop: LiveShop, tmp_path: Path) -> None:
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if not program:
        pytest.skip("no chromium on the PATH")
    pytest.importorskip("textual_serve", reason="the extra `serve` is not installed")
    browser = pytest.importorskip("browser", reason="its aiohttp comes with the extra `serve`")
    served = python_process.Popen(
        [sys.executable, "-m", "console", "--serve"],
        env=shop.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert served.stderr
        address = next(line.strip() for line in served.stderr if "://" in line)
        url = address.partition("?")[0]
        assert url.startswith("http://127.0.0.1:")
        async with browser.Browser(program, tmp_path / "profile") as page:
            await page.call("Page.navigate", url=address)
            await page.wait_for("document.body.classList.contains('-first-byte')")
            dark = theme.THEMES[0]
            green, blue = (Color.parse(c or "").rgb for c in (dark.success, dark.primary))
            deadline = time.monotonic() + 60
            while not {green, blue} <= shown_colours(png := await page.picture()):
                assert time.monotonic() < deadline
            (tmp_path / "browser.png").write_bytes(png)
            elsewhere = [a for a in page.asked if not a.startswith((url, "data:", "ws://127"))]
            assert elsewhere == [], "nothing is fetched from another place"
    finally:
        served.send_signal(signal.SIGINT)
        served.wait(30)
