"""A program at a pseudo-terminal, whose CPU, bytes and latency are measured."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.common import cpu_s
from shop.settings.stack_servers import SERVER_PREFIXES

SIZE = (120, 40)
_ESCAPES = re.compile(rb"\x1b(\[[0-?]*[ -/]*[@-~]|[\]P_^][^\x07\x1b]*(\x07|\x1b\\)|[ -/]*[0-~])")
PAINTED = 20
"""Letters and digits, lines of boxes not counted: from then on there is something to read."""


class Pty:
    """A program at a pseudo-terminal that counts what it writes."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str]) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", SIZE[1], SIZE[0], 0, 0))
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            argv, stdin=slave, stdout=slave, stderr=slave, env=dict(env), start_new_session=True
        )
        os.close(slave)
        self.written = 0
        self.tail = b""

    def pump(self, seconds: float) -> int:
        """Take what is written for some time; return how many bytes."""
        before, deadline = self.written, time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            ready, _, _ = select.select([self.master], [], [], left)
            if ready:
                data = os.read(self.master, 65_536)
                self.written += len(data)
                self.tail = (self.tail + data)[-200_000:]
        return self.written - before

    def wait_for(self, text: bytes, timeout: float = 60.0) -> float:
        """Wait until a text was written; return seconds since the call."""
        began = time.monotonic()
        while text not in self.tail:
            if time.monotonic() - began > timeout:
                raise TimeoutError(f"no {text!r}")
            self.pump(0.002)
        return time.monotonic() - began

    def first_paint(self, timeout: float = 60.0) -> float:
        """Wait until there is something to read; return seconds since the start of the program."""
        while len(re.findall(rb"[A-Za-z0-9]", _ESCAPES.sub(b"", self.tail))) < PAINTED:
            if time.monotonic() - self.began > timeout:
                raise TimeoutError("nothing was painted")
            if self.process.poll() is not None:
                raise RuntimeError(f"ended with {self.process.returncode}: {self.tail[-300:]!r}")
            self.pump(0.002)
        return time.monotonic() - self.began

    def cost(self, seconds: float) -> tuple[float, float]:
        """Return percent of a core and KiB/s over some time."""
        before, began = cpu_s(self.process.pid), time.monotonic()
        written = self.pump(seconds)
        took = time.monotonic() - began
        return 100 * (cpu_s(self.process.pid) - before) / took, written / 1024 / took

    def press(self, key: str) -> None:
        """Press a key."""
        os.write(self.master, key.encode())

    def end(self) -> None:
        """End the program."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.master)


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Return an environment that knows no other shop."""
    ours = (*SERVER_PREFIXES, "JANGTEO_", "PYTHONDONTWRITEBYTECODE")
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith(ours)},
        "TERM": "xterm-256color",
        "XDG_STATE_HOME": str(folder / "state"),
        "JANGTEO_DATA_DIR": str(folder / "data"),
        "JANGTEO_LANG": "en",
        **more,
    }
