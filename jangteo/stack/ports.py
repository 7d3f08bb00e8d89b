"""The ports of a data directory's servers: chosen once, kept in `ports.json`, the same every time.

Bookmarks, connection strings and open sessions then survive a restart of the shop.
"""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import Final

from shop.errors import ExitCode, JangteoError, UsageError
from shop.private_files import write_private

HOST: Final = "127.0.0.1"
CONVENTIONAL: Final[Mapping[str, int]] = {"kafka": 9092, "postgres": 5432, "redis": 6379}
"""The conventional port of each server."""
PORTS_FILE: Final = "ports.json"


class PortTakenError(JangteoError):
    """The port that a server must have is in use by another program."""

    exit_code = ExitCode.USAGE


def is_free(port: int) -> bool:
    """Return whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)  # a bound port that listens already refuses only here
        except OSError:
            return False
    return True


def free_port(besides: Container[int] = ()) -> int:
    """Return a free loopback port, outside the range of ports for outgoing connections.

    Args:
        besides: ports that are free and meant for others.

    Inside that range a client that reconnects to a server that is down may be given the server's
    own port as its source port, connect to itself and keep the server from coming back.
    """
    try:
        text = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii")
        ephemeral = int(text.split()[0])
    except (OSError, ValueError, IndexError):
        ephemeral = 32_768  # Linux's default; also below that of macOS
    candidates = range(10_000, ephemeral) if ephemeral > 10_100 else range(1_024, 65_536)
    for _ in range(200):
        # The system's randomness: a caller that seeds `random` would get the same port twice.
        port = secrets.choice(candidates)
        if port not in besides and is_free(port):
            return port
    raise JangteoError(f"no free port found on {HOST}")


class Ports:
    """Chooses the ports of the servers of one data directory, and keeps them there.

    Args:
        directory: data directory of the stack; holds `ports.json`.
        asked: ports that the user wants, by the name of the server; 0 asks for any free one.
        first: ports to try at the first choice, before any free one.
        say: takes a line for people when a kept port has to change.
    """

    def __init__(
        self,
        directory: Path,
        *,
        asked: Mapping[str, int] | None = None,
        first: Mapping[str, int] | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._path = directory / PORTS_FILE
        self._asked = asked or {}
        self._first = first or {}
        self._say = say

    def choose(self, name: str, title: str, *, former: int | None, move: bool) -> int:
        """Return a port that is free now: the one asked for, else the kept one, else a new one.

        Args:
            name: name of the server in the file.
            title: name of the server in messages.
            former: the port that it had in this process, if it ran before.
            move: take another port where the former or the kept one is in use.

        Raises:
            PortTakenError: if it must not move and the port is in use.
            UsageError: if the file is not readable.
        """
        kept = self._read()
        others = {*self._asked.values(), *(p for n, p in kept.items() if n != name)}
        if asked := self._asked.get(name):
            if not is_free(asked):
                raise PortTakenError(
                    f"{title}: another program uses port {asked}; stop it, or choose another "
                    f"with --{name}-port (0: any free one)"
                )
            port: int | None = asked
        else:
            port = former or (kept.get(name) if kept.get(name) not in others else None)
            if port and not is_free(port):
                if not move:
                    raise PortTakenError(f"{title}: another program took its port {port}")
                former, port = port, free_port(others)
                self._say(
                    f"{title}: another program uses its port {former}; it moves to {port} and "
                    f"keeps that: tools with the old address need the new one (`jangteo env`)"
                )
        if not port and name not in self._asked:
            first = self._first.get(name)
            port = first if first and first not in others and is_free(first) else None
        port = port or free_port(others)
        if kept.get(name) != port:
            self._write({**kept, name: port})
        return port

    def _read(self) -> dict[str, int]:
        try:
            record = json.loads(self._path.read_text(encoding="utf-8"))
            ports = {str(name): int(port) for name, port in record.items()}
            if not all(0 < port < 65_536 for port in ports.values()):
                raise ValueError("a port is a number from 1 to 65535")  # noqa: TRY301  (one handler for whatever is wrong with the file)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, AttributeError) as e:
            raise UsageError(
                f"{self._path} cannot be read ({e}): correct it, or remove it to choose ports again"
            ) from None
        return ports

    def _write(self, ports: Mapping[str, int]) -> None:
        write_private(self._path, json.dumps(ports, indent=1) + "\n", mode=0o644)
