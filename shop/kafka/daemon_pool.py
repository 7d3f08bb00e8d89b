"""Threads that ask servers at the same time, and that no server's silence keeps a program from."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")
_Work = tuple["Future[Any]", Callable[[], Any]]


class DaemonPool:
    """Runs functions on a few threads, which are started as they are needed and then reused.

    Python waits at its end for the threads of a `ThreadPoolExecutor`, and for one whose server was
    stopped, for ever; daemon threads end with the program.

    Args:
        threads: the most that there are.
        name: of the threads.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._most = threads
        self._name = name
        self._work: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._busy = 0

    def submit(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """Have a function called; its result or exception is the future's."""
        future: Future[T] = Future()
        with self._lock:
            self._busy += 1
            if self._busy > self._threads < self._most:
                self._threads += 1
                threading.Thread(target=self._run, name=self._name, daemon=True).start()
        self._work.put((future, lambda: function(*arguments)))
        return future

    def close(self) -> None:
        """Let the threads end once they have nothing more to do."""
        with self._lock:
            for _ in range(self._threads):
                self._work.put(None)
            self._threads = 0

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            future, function = work
            try:
                result = function()
            except BaseException as e:  # the one who waits for it gets it
                self._done()
                future.set_exception(e)
            else:
                self._done()
                future.set_result(result)
            del work, future, function  # a thread that waits holds on to nothing

    def _done(self) -> None:
        with self._lock:
            self._busy -= 1
