"""A bound on the wait for a server that does not answer at all.

`connect_timeout` ends with the connection, and the kernel's time-outs do not fire while the other
side's kernel acknowledges what is sent: behind a stalled proxy, or a server that was stopped, a
statement waits for ever.
"""

from __future__ import annotations

import os
import socket
import threading
from types import TracebackType
from typing import Any

import psycopg


class Deadline:
    """Shuts a connection down unless the context ends in time; the statement then fails at once.

    Args:
        conn: a connection that only this thread uses.
        seconds: time allowed from entering the context.
    """

    def __init__(self, conn: psycopg.Connection[Any], seconds: float) -> None:
        self._timer = threading.Timer(seconds, shut_down, (conn,))
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()


def shut_down(conn: psycopg.Connection[Any]) -> None:
    """End a connection from another thread: the thread that waits for its answer gets an error."""
    try:
        with socket.socket(fileno=os.dup(conn.fileno())) as copy:
            copy.shutdown(socket.SHUT_RDWR)
    except (OSError, psycopg.Error):  # it is closed already
        pass
