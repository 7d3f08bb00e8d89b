"""A terminal for the real program: a pty with its output, and the actions of a person."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

_CODES = re.compile(r"\x1b(\[[0-9;?<>=]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|P[^\x1b]*\x1b\\|.)")


class Terminal:
    """Runs `python -m MODULE ARGS` in a pseudo-terminal."""

    def __init__(
        self,
        *args: str,
        env: Mapping[str, str],
        size: tuple[int, int] = (120, 40),
        module: str = "console",
        cwd: Path | None = None,
    ) -> None:
        self.master, slave = pty.openpty()
        self.resize(*size)
        self.raw = b""
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *args],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={"TERM": "xterm-256color", **env, "COLUMNS": "", "LINES": ""},
            cwd=cwd,
            start_new_session=True,
            preexec_fn=_own_terminal,  # noqa: PLW1509  (no thread of this process holds a lock)
        )
        os.close(slave)

    def resize(self, columns: int, rows: int) -> None:
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, size)

    def press(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def pump(self, seconds: float = 0.05) -> None:
        """Read what the program wrote."""
        if self.master < 0:
            time.sleep(seconds)
            return
        ready, _, _ = select.select([self.master], [], [], seconds)
        if ready:
            try:
                self.raw += os.read(self.master, 65_536)
            except OSError:  # the program has closed its side
                time.sleep(seconds)

    @property
    def text(self) -> str:
        """Everything that was written, without control codes."""
        return _CODES.sub("", self.raw.decode(errors="replace"))

    def forget(self) -> None:
        self.raw = b""

    def wait_for(self, wanted: str | Callable[[], Any], timeout: float = 60) -> None:
        """Wait until a text is written, or a condition holds."""
        deadline = time.monotonic() + timeout
        while not (wanted in self.text if isinstance(wanted, str) else wanted()):
            assert time.monotonic() < deadline, f"no {wanted!r} in {self.text[-6000:]!r}"
            assert self.process.poll() is None or isinstance(wanted, str) is False, (
                self.process.returncode,
                self.text[-3000:],
            )
            self.pump()

    def exit_code(self, timeout: float = 30) -> int:
        deadline = time.monotonic() + timeout
        while self.process.poll() is None:
            assert time.monotonic() < deadline, "it does not end"
            self.pump()
        return int(self.process.returncode)

    def hang_up(self) -> None:
        """Close the terminal under the program."""
        os.close(self.master)
        self.master = -1

    def cpu_s(self) -> float:
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.master >= 0:
            os.close(self.master)


def _own_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
