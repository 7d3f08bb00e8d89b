"""The console in a browser: only with its address, and read-only."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import python_process

aiohttp: Any = pytest.importorskip("aiohttp", reason="comes with the extra `serve`")
pytest.importorskip("textual_serve", reason="the extra `serve` is not installed")

from console.web.visitors import MOST_VISITORS  # noqa: E402  (needs aiohttp)


class Served:
    """A `jangteo console --serve` over servers that are all out of reach."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process = python_process.Popen(
            [sys.executable, "-m", "console", "--serve", "--data-dir", str(folder / "data")],
            env={
                "PATH": "/usr/bin:/bin",
                "HOME": str(folder),
                "POSTGRES_HOST": "127.0.0.1",
                "POSTGRES_PORT": "1",
                "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
                "REDIS_URL": "redis://127.0.0.1:1/0",
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.url, self.token = self.next_address()
        self.host = self.url.removeprefix("http://").rstrip("/")
        self.socket = f"ws://{self.host}/ws?width=80&height=24"

    def next_address(self) -> tuple[str, str]:
        assert self.process.stderr
        line = next(line.strip() for line in self.process.stderr if "://" in line)
        url, _, token = line.partition("?token=")
        assert token
        return url, token

    def end(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(30)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    made = Served(tmp_path_factory.mktemp("served"))
    yield made
    made.end()


async def _visit(served: Served) -> Any:
    """Return a session of a browser that has the cookie."""
    session = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))
    while True:
        # The server listens a moment after it has printed the address.
        try:
            page = await session.get(f"{served.url}?token={served.token}")
        except aiohttp.ClientConnectionError:
            await asyncio.sleep(0.05)
            continue
        assert page.status == 200, await page.text()
        assert served.host in await page.text(), "the page has the address of the socket"
        _, served.token = served.next_address()
        return session


async def _connect(session: Any, served: Served) -> Any:
    """Return a socket; a visitor that left counts until the server has ended its console."""
    while True:
        try:
            return await session.ws_connect(served.socket)
        except aiohttp.WSServerHandshakeError as e:
            if e.status != 503:
                raise
            await asyncio.sleep(0.1)


async def _first_bytes(socket: Any) -> bytes:
    async for message in socket:
        if message.type is aiohttp.WSMsgType.BINARY:
            return bytes(message.data)
    raise AssertionError("closed without a picture")


async def test_an_address_lets_one_browser_in_and_only_from_its_own_page(served: Served) -> None:
    async with await _visit(served) as session:
        async with session.ws_connect(served.socket, origin=f"http://{served.host}") as socket:
            assert await _first_bytes(socket)
        again = await session.get(served.url)
        assert again.status == 200, "a reload"
        assert again.headers["X-Frame-Options"] == "DENY"
        for origin in ("https://evil.example", "http://localhost:3000", "null", "http://127.0.0.1"):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await session.ws_connect(served.socket, origin=origin)
            assert refused.value.status == 403, origin
        for host in ("evil.example", f"evil.example:{served.host.split(':')[1]}", "127.0.0.1:1"):
            foreign = await session.get(served.url, headers={"Host": host})
            assert foreign.status == 403, host
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await session.ws_connect(
                    served.socket, headers={"Host": host}, origin=f"http://{host}"
                )
            assert refused.value.status == 403, host
        assert (await session.post(served.url)).status == 405


async def test_without_the_token_nothing_is_shown(served: Served) -> None:
    used = served.token
    (await (await _visit(served)).close())
    async with aiohttp.ClientSession() as stranger:
        for path in ("", "ws", "static/js/textual.js", "download/x", f"?token={used}", "?token=x",
                     "?token="):  # fmt: skip
            answer = await stranger.get(served.url + path)
            assert answer.status == 403, path
            assert "terminal" in await answer.text()
        for query in ("", "&token=wrong", f"&token={used}"):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await stranger.ws_connect(served.socket + query)
            assert refused.value.status == 403
        assert (await stranger.get(f"{served.url}healthz")).status == 200


async def test_visitors_are_bounded_and_so_are_their_pictures(served: Served) -> None:
    async with await _visit(served) as session:
        for size in ("width=0", "width=1000000", "height=-1", "width=x"):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await session.ws_connect(f"ws://{served.host}/ws?{size}")
            assert refused.value.status == 400, size
        sockets = [await _connect(session, served) for _ in range(MOST_VISITORS)]
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(served.socket)
        assert refused.value.status == 503
        for socket in sockets:
            await socket.close()
        await (await _connect(session, served)).close()


async def test_a_visitor_cannot_make_it_write_a_file(served: Served) -> None:
    async with await _visit(served) as session, await _connect(session, served) as socket:
        assert await _first_bytes(socket)
        for key in "eRA":
            await socket.send_json(["stdin", key])
        await socket.send_json(["stdin", "?"])
        seen = b""
        async for message in socket:
            seen += message.data if isinstance(message.data, bytes) else b""
            if b"On this tab" in seen:  # the help; the keys before it were handled
                break
    assert not [f for f in served.folder.rglob("*") if f.suffix in (".svg", ".csv", ".rec")]
