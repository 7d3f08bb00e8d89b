"""How the ingest process ends.

Bytewax has no signal handler of its own: a signal kills the process, and while it waits for peers
no Python handler runs at all. A handler set with `signal.set_wakeup_fd` is heard in every state:
the C part of the handler writes to a socket at once, and our thread reads it.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import sys
import threading
from typing import Final, NoReturn

from shop.errors import ExitCode
from shop.log import get_logger
from shop.output import end_waits, let_signals_end_waits

DRAIN_S: Final = 9.0
"""A stop that takes longer ends the process anyway: what was promised is 10 s."""


def calm_collector() -> None:
    """Keep the garbage collector from walking every message.

    A poll makes tens of thousands of message objects, none of them in a cycle: with the default
    thresholds the collector walks all of them again and again, a fifth of the reading thread.
    """
    gc.freeze()
    gc.set_threshold(200_000, 50, 100)


def stop_on_signals(stop: threading.Event) -> None:
    """Set `stop` on SIGTERM or SIGINT; end the process if it is still there 9 s later.

    Call it in the main thread.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: None)
    let_signals_end_waits()
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)

    def listen() -> None:
        while reader.recv(1)[0] not in (signal.SIGTERM, signal.SIGINT):
            pass
        stop.set()
        end_waits()
        get_logger().info("stopping: finishing the batch in progress")
        threading.Event().wait(DRAIN_S)
        get_logger().error(
            "not drained in time: ending; nothing is lost, uncommitted messages are read again",
            seconds=DRAIN_S,
        )
        end(ExitCode.TIMEOUT)

    # `writer` must live as long as the process: the handler holds only its number.
    thread = threading.Thread(target=listen, name="signals", daemon=True)
    thread.wakeup = writer  # type: ignore[attr-defined]  # ours, kept with the thread that needs it
    thread.start()


def fail(error: BaseException, *, what: str, code: ExitCode = ExitCode.FAILED) -> NoReturn:
    """Log in one line why the ingest cannot continue, and end the process.

    An exception inside a dataflow would end in a panic of the engine and its traceback instead.
    """
    get_logger().error(what, error=str(error).strip(), error_type=type(error).__name__)
    end(code)


def end(code: ExitCode) -> NoReturn:
    """End the process now; open transactions are rolled back by their server."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.flush()
    os._exit(code)
