"""Access to the console in a browser: only with a printed address, from its own page.

Without this, any page that a browser on this machine shows could connect to the console: a
WebSocket is not held back by the browser's same-origin policy, and a name of the attacker's own may
resolve to 127.0.0.1 (DNS rebinding). So `Host` has to be an address of loopback, `Origin` has to be
the very page, and a token is needed that only the terminal shows. It is good for one visit: it is
exchanged for a cookie of that browser, and the next address is printed.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Iterator

HEALTH: Final = "/healthz"
"""Answers anybody on this machine; it shows nothing and starts nothing."""
SOCKET: Final = "/ws"
MOST_VISITORS: Final = 4
"""At a time; each has a console of its own, a process of about 100 MB."""
MOST_COOKIES: Final = 64
"""Browsers that are remembered; the longest unused one is forgotten."""
LARGEST: Final = 1000
"""Columns or rows of a terminal; a larger picture would only take memory."""
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Visitors:
    """Lets requests in, or answers them with what is wrong; the middleware is `guard`.

    Args:
        host: that the server listens on, a loopback address.
        port: likewise.
        show: is called with each address that lets one browser in, the first one at once.
    """

    def __init__(self, host: str, port: int, show: Callable[[str], None]) -> None:
        self._home = f"{host}:{port}"
        self._hosts = (self._home, f"localhost:{port}")
        self._cookie = f"jangteo-console-{port}"  # cookies do not know ports
        self._show = show
        self._browsers: OrderedDict[str, None] = OrderedDict()
        self._present = 0
        self._token = ""
        self._new_token()

    def _new_token(self) -> None:
        self._token = secrets.token_urlsafe(24)
        self._show(f"http://{self._home}/?token={self._token}")

    @web.middleware
    async def guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Check a request before anything else sees it."""
        if (wrong := self._wrong(request)) is not None:
            return wrong
        if request.path == HEALTH:
            return web.Response(text="ok\n", headers=_HEADERS)
        if not self._known(request):
            token = request.query.get("token", "")
            if not secrets.compare_digest(token.encode(), self._token.encode()):
                return _refused(403, "open the address that the terminal shows; it works once")
            if request.path != SOCKET:
                return self._welcome(request)
            self._new_token()
        if request.path == SOCKET:
            return await self._console(request, handler)
        response = await handler(request)
        response.headers.update(_HEADERS)
        return response

    def _wrong(self, request: web.Request) -> web.Response | None:
        if request.host not in self._hosts:
            return _refused(403, "this is not an address of the console")
        if request.method != "GET":
            return _refused(405, "this console is read-only")
        if request.headers.get("Origin", f"http://{request.host}") != f"http://{request.host}":
            return _refused(403, "another page requested the console")
        return None

    def _known(self, request: web.Request) -> bool:
        value = request.cookies.get(self._cookie, "")
        if value not in self._browsers:
            return False
        self._browsers.move_to_end(value)
        return True

    def _welcome(self, request: web.Request) -> web.StreamResponse:
        """Exchange the token for a cookie, on the one host that the page's socket is at."""
        if request.host != self._home:
            return _moved(f"http://{self._home}{request.path_qs}")
        value = secrets.token_urlsafe(24)
        self._browsers[value] = None
        while len(self._browsers) > MOST_COOKIES:
            self._browsers.popitem(last=False)
        response = _moved("/")
        # Not Strict: a link in another page, such as one that shows logs, would lose it on the way.
        response.set_cookie(self._cookie, value, httponly=True, samesite="Lax", path="/")
        self._new_token()
        return response

    async def _console(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        sizes = [request.query.get(name, "1") for name in ("width", "height")]
        if not all(s.isdecimal() and len(s) < 5 and 0 < int(s) <= LARGEST for s in sizes):
            return _refused(400, f"width and height are from 1 to {LARGEST}")
        if self._present >= MOST_VISITORS:
            return _refused(503, f"{MOST_VISITORS} browsers are connected already")
        with self._visit():
            return await handler(request)

    @contextmanager
    def _visit(self) -> Iterator[None]:
        self._present += 1
        try:
            yield
        finally:
            self._present -= 1


def _moved(to: str) -> web.Response:
    return web.Response(status=302, headers={**_HEADERS, "Location": to})


def _refused(status: int, why: str) -> web.Response:
    return web.Response(status=status, text=f"{why}\n", headers=_HEADERS)
