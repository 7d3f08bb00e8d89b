"""What the embedded servers have in common: a program, a free port, a start that waits."""

from __future__ import annotations

import abc
import importlib.util
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar, Final

from jangteo.stack.ports import HOST, Ports, is_free
from jangteo.stack.spawn import SAME, end, spawn, tail
from shop.errors import JangteoError, UsageError
from shop.settings import Settings

_PORT_TRIES: Final = 5


class StartError(JangteoError):
    """A server ended while starting or did not get ready; the message has the tail of its log."""


def package_dir(*names: str) -> Path:
    """Return the directory of the first of these packages that is installed, without import.

    Raises:
        UsageError: names what to install.
    """
    for name in names:
        spec = importlib.util.find_spec(name)
        if spec and spec.submodule_search_locations:
            return Path(spec.submodule_search_locations[0])
    raise UsageError(
        f"the embedded servers need the package {names[0]}: pip install 'jangteo[embedded]'"
    )


def executable(path: Path) -> Path:
    """Return `path` if it can be executed.

    Raises:
        UsageError: if it is missing or not executable.
    """
    if not os.access(path, os.X_OK):
        raise UsageError(
            f"{path} is missing or not executable: reinstall it with "
            "pip install --force-reinstall 'jangteo[embedded]'"
        )
    return path


class Server(abc.ABC):
    """One server process.

    Args:
        data_dir: data directory of the stack; logs go to ``logs/`` in it.
        ports: chooses its port; by default any free one, kept in the data directory.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    stop_signal: ClassVar[int] = signal.SIGTERM
    death_signal: ClassVar[int] = signal.SIGTERM
    grace: ClassVar[float] = 20.0
    start_timeout: ClassVar[float] = 30.0
    passing: ClassVar[str | None] = None
    """Text in the log of a start that failed for a reason that passes within two seconds."""

    def __init__(self, data_dir: Path, *, ports: Ports | None = None) -> None:
        self.data_dir = data_dir.absolute()
        self.ports = ports or Ports(self.data_dir)
        self.log = self.data_dir / "logs" / f"{self.name}.log"
        self.port: int | None = None
        self.identity = SAME
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = False

    @property
    @abc.abstractmethod
    def version(self) -> str:
        """Version of the server's program."""

    @property
    @abc.abstractmethod
    def env(self) -> dict[str, str]:
        """The variables with which clients reach the server; they hold its password."""

    @property
    def where(self) -> str:
        """Address for messages."""
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process and self.alive else None

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def start(self, *, move: bool = True) -> None:
        """Start and wait until the server answers; nothing happens if it runs already.

        Args:
            move: take another port if another program uses the former one now.

        Raises:
            UsageError: if its package is not installed or its directory cannot be used.
            PortTakenError: if it must not move and another program uses its port.
            StartError: if it does not start; the message has the tail of its log.
        """
        self.launch(move=move)
        self.await_ready(move=move)

    def launch(self, *, move: bool = True) -> None:
        """Start without waiting; `await_ready` has to follow. Nothing happens if it runs already.

        Raises:
            UsageError, PortTakenError, StartError: see `start`.
        """
        if self.alive:
            return
        self._ready = False
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._prepare()
        self._process = self._spawn(self._choose_port(move=move))

    def await_ready(
        self, *, move: bool = True, stopped: Callable[[], bool] = lambda: False
    ) -> bool:
        """Wait until the server that was launched answers; nothing happens if it did.

        Args:
            move: see `start`.
            stopped: returns True to stop waiting, because the user asked to stop.

        Returns:
            False if the wait was stopped; the server is left as it is.

        Raises:
            PortTakenError, StartError: see `start`; it does not run then.
        """
        attempt = 1
        while not self._ready:
            try:
                self._ready = self._await_answer(stopped)
            except StartError as e:
                self.kill()
                # Another program took the port between our look and the server's: then try again.
                passes = self.passing is not None and self.passing in str(e)
                if attempt == _PORT_TRIES or (self._ports_are_free() and not passes):
                    raise
                if passes:
                    time.sleep(0.2 * 2**attempt)
                self._process = self._spawn(self._choose_port(move=move))
                attempt += 1
            except BaseException:
                self.kill()
                raise
            if stopped():
                break
        return self._ready

    def replace_lost(self, settings: Settings) -> str:  # noqa: ARG002  (for servers that lose something)
        """Recreate what a crash removed from a server that has just been restarted.

        Args:
            settings: settings of the stack.

        Returns:
            A line about what could not be restored; empty if the disk has everything.

        Raises:
            JangteoError, KafkaException: if the server refuses.
        """
        return ""

    def _choose_port(self, *, move: bool) -> int:
        self.port = self.ports.choose(self.name, self.title, former=self.port, move=move)
        return self.port

    def _ports_are_free(self) -> bool:
        return self.port is not None and is_free(self.port)

    def stop(self) -> None:
        """Stop the server gracefully and wait for it."""
        if self._process:
            end(self._process, self.stop_signal, self.grace)
        self._process = None

    def kill(self) -> None:
        """End the server as a crash would (SIGKILL) and wait for it."""
        if self._process:
            end(self._process, signal.SIGKILL, 5.0)
        self._process = None

    @abc.abstractmethod
    def _prepare(self) -> None:
        """Create what the server needs on disk."""

    @abc.abstractmethod
    def _argv(self, port: int) -> list[str]: ...

    @abc.abstractmethod
    def _probe(self) -> None:
        """Make one request to the server; raise one of `_not_yet` if it is not ready."""

    _not_yet: ClassVar[tuple[type[Exception], ...]]

    def _spawn(self, port: int) -> subprocess.Popen[bytes]:
        return spawn(
            self._argv(port),
            log=self.log,
            env=environment(),
            death_signal=self.death_signal,
            identity=self.identity,
        )

    def _await_answer(self, stopped: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + self.start_timeout
        not_yet: tuple[type[Exception], ...] = (OSError, *self._not_yet)
        for pause in _pauses():
            if stopped():
                break
            try:
                socket.create_connection((HOST, self.port or 0), timeout=1).close()
                self._probe()
            except not_yet as e:
                if not self.alive:
                    raise StartError(f"{self.title} ended while starting: {tail(self.log)}") from e
                if time.monotonic() > deadline:
                    raise StartError(
                        f"{self.title} is not ready after {self.start_timeout:g} s ({e}): "
                        f"{tail(self.log)}"
                    ) from e
            else:
                return True
            time.sleep(pause)
        return False


def _pauses() -> Iterator[float]:
    """Yield waits between probes: 10 ms at first (Redis is up in 20 ms), 200 ms at most."""
    pause = 0.01
    while True:
        yield pause
        pause = min(0.2, pause * 1.5)


def environment() -> dict[str, str]:
    """Return the environment for a server: ours without PG* and the brokers' variables."""
    kept = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH")
    return {**{k: v for k in kept if (v := os.environ.get(k))}, "LC_ALL": "C", "TZ": "UTC"}


def version_of(program: Path) -> str:
    """Return the version that a program reports."""
    output = subprocess.run(
        [str(program), "--version"], capture_output=True, text=True, check=False
    ).stdout
    found = re.search(r"\d+(\.\d+)+", output)
    return found[0] if found else "unknown"
