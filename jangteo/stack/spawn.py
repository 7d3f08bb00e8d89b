"""Children that end with their parent, in a process group of their own, with a log file each."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from shop.private_files import open_own

SAME: Final = "same"
_SHIM: Final = str(Path(__file__).with_name("child.py"))


def shim(argv: Sequence[str], *, death_signal: int, identity: str = SAME) -> list[str]:
    """Return the command line that runs `argv` through `jangteo/stack/child.py`.

    Args:
        argv: the command; its first element is an absolute path.
        death_signal: signal that the child gets when this process ends for any reason.
        identity: ``same``, ``userns`` or ``UID:GID``.
    """
    head = [sys.executable, "-I", "-S", _SHIM]
    return [*head, str(os.getpid()), str(int(death_signal)), identity, "--", *argv]


def spawn(
    argv: Sequence[str],
    *,
    log: Path,
    env: Mapping[str, str],
    death_signal: int = signal.SIGTERM,
    identity: str = SAME,
    cwd: Path | None = None,
    descriptors: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a child whose output is appended to `log`. Call it in the main thread only.

    The kernel binds a child to the *thread* that forked it: started from any other thread, it
    would get its death signal when that thread ends. The child leads a process group of its own
    (`jangteo/stack/child.py`), so a Ctrl-C in the terminal reaches the parent alone. A log that
    cannot be opened costs the log, not the child.

    Args:
        argv: the command; its first element is an absolute path.
        log: file that its output is appended to, or a terminal.
        env: its whole environment.
        death_signal: signal that it gets when this process ends for any reason.
        identity: ``same``, ``userns`` or ``UID:GID``.
        cwd: its working directory (default: this process's).
        descriptors: open files that it inherits, such as one that holds a lock.

    Raises:
        OSError: if there are no descriptors, memory or processes for a child.
    """
    with _opened(log) as output:
        return subprocess.Popen(
            shim(argv, death_signal=death_signal, identity=identity),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(env),
            cwd=cwd,
            pass_fds=descriptors,
        )


def _opened(log: Path) -> BinaryIO:
    """Open a log, or the terminal on which a person watches the child."""
    try:
        if log.is_char_device():
            return os.fdopen(os.open(log, os.O_WRONLY | os.O_NOCTTY), "wb")
        return os.fdopen(open_own(log, os.O_WRONLY | os.O_APPEND), "ab")
    except OSError:
        return open(os.devnull, "ab")  # noqa: PTH123  (closed by the caller)


def end(process: subprocess.Popen[bytes], signum: int, grace: float) -> int:
    """Send `signum`, after `grace` seconds SIGKILL; return the exit code."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signum)
    try:
        return process.wait(grace)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def tail(log: Path, lines: int = 5, *, window: int = 8192) -> str:
    """Return the last lines of a log as one line for an error message; empty if there is none."""
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - window))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    last = text.splitlines()[-lines:]
    return " / ".join(line.strip()[:300] for line in last if line.strip())
