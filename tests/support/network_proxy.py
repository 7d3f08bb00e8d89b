"""A TCP proxy in front of a server that delays, stalls, cuts, or lets a host vanish."""

from __future__ import annotations

import socket
import struct
import threading
import time
from contextlib import suppress

_RESET = struct.pack("ii", 1, 0)
_COMMIT = b"COMMIT"


class Link:
    """A client's connection and its connection to the server."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.open = True
        self.asked = False

    def close_client(self) -> None:
        """Reset the client's side; a reader of that socket wakes up."""
        self.open = False
        for step in (
            lambda: self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET),
            lambda: self.client.shutdown(socket.SHUT_RDWR),
            self.client.close,
        ):
            with suppress(OSError):
                step()

    def close_server(self) -> None:
        self.open = False
        for step in (lambda: self.server.shutdown(socket.SHUT_RDWR), self.server.close):
            with suppress(OSError):
                step()


class Proxy:
    """Listens on a free loopback port while the context lasts.

    Args:
        port: of the server.
        host: of the server.
        advertised: whether the server names its own address, as a broker does in its metadata: a
            client then gets the proxy's instead, and comes through it too.

    Attributes:
        port: where it listens.
        delay: seconds that each piece of data takes, either way.
        stalled: whether nothing passes, although both sides are acknowledged.
        cut_before: COMMITs that are still to be lost on their way, with their connection.
        cut_after: COMMITs whose answer is still to be lost, with their connection.
        cuts: how many of both there were.
        hold_after: the first connection that sends these bytes passes them on, and nothing more.
        holds: whether one did.
        round_trips: how often a server began to answer.
    """

    def __init__(self, port: int, host: str = "127.0.0.1", *, advertised: bool = False) -> None:
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        # In Kafka's protocol a port of four bytes follows the host.
        name = host.encode()
        self._theirs = name + struct.pack(">i", port) if advertised else b""
        self._ours = name + struct.pack(">i", self.port)
        self.delay = 0.0
        self.stalled = False
        self.cut_before = 0
        self.cut_after = 0
        self.cuts = 0
        self.hold_after = b""
        self.holds = False
        self.round_trips = 0
        self._lock = threading.Lock()
        self._links: list[Link] = []
        self._held: list[Link] = []

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stalled = False
        self._listener.close()
        for link in self._links:
            link.close_client()
            link.close_server()

    def vanish(self) -> int:
        """Drop all clients without closing the server's side; return their number."""
        with self._lock:
            gone = [link for link in self._links if link.open]
            self._held += gone
        for link in gone:
            link.close_client()
        return len(gone)

    def release(self) -> None:
        """Let the server notice."""
        for link in self._held:
            link.close_server()
        self._held.clear()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target)
            except OSError:
                client.close()
                continue
            link = Link(client, server)
            with self._lock:
                self._links.append(link)
            for pump in (self._up, self._down):
                threading.Thread(target=pump, args=(link,), daemon=True).start()

    def _pass(self) -> None:
        while self.stalled:
            time.sleep(0.02)
        if self.delay:
            time.sleep(self.delay)

    def _up(self, link: Link) -> None:
        try:
            while link.open and (data := link.client.recv(1 << 16)):
                link.asked = True
                self._pass()
                if _COMMIT in data and self._cut(link, data):
                    return
                if self.hold_after and self.hold_after in data and not self.holds:
                    link.server.sendall(data)
                    self.holds = True
                    while link.open:
                        time.sleep(0.02)
                    return
                link.server.sendall(data)
        except OSError:
            pass
        if link not in self._held:
            link.close_client()
            link.close_server()

    def _cut(self, link: Link, data: bytes) -> bool:
        with self._lock:
            before, after = self.cut_before > 0, self.cut_after > 0
            if before:
                self.cut_before -= 1
            elif after:
                self.cut_after -= 1
            else:
                return False
            self.cuts += 1
        if not before:
            link.open = False  # the answer goes nowhere
            link.server.sendall(data)
            time.sleep(0.2)
        link.close_client()
        link.close_server()
        return True

    def _down(self, link: Link) -> None:
        try:
            while data := link.server.recv(1 << 16):
                self.round_trips += link.asked
                link.asked = False
                self._pass()
                if self._theirs:
                    data = data.replace(self._theirs, self._ours)
                if link.open:
                    link.client.sendall(data)
        except OSError:
            pass
        if link.open:
            link.close_client()
            link.close_server()
