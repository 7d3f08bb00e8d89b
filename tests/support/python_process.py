"""The one way in which tests start `python -m MODULE ...`: `Popen` and `run`, as of `subprocess`.

The imports of a command are most of its CPU time: 0.5 to 1.2 s. `tests.support.fork_server`, one a
worker, has done them and forks. The process is a child of the test all the same, with the
environment, directory, limits, process group and exit code that it would have; only its name in
`ps` is the server's. What Python or a library reads before the first line of the command needs an
interpreter of its own and gets one: a terminal, descriptors beyond the three, variables such as TZ,
PYTHONUTF8 or LD_PRELOAD. `subprocess` itself is right where a test is about the start, as in
tests/shop/postgres/test_session.py, which starts every command that reads the database.
"""

from __future__ import annotations

import atexit
import ctypes
import json
import os
import re
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_AT_START = re.compile(
    r"PYTHON|LC_|LANG$|TZ|LD_|_RJEM|MALLOC|GLIBC|OMP_|OPENBLAS|POLARS|RUST|BYTEWAX|NUMPY|TEXTUAL|NO_"
)
"""Variables that are read before the first line of a command, or while it imports."""
_OPTIONS = {"stdin", "stdout", "stderr", "text", "encoding", "errors", "cwd", "env", "bufsize"}
_OPTIONS |= {"start_new_session", "universal_newlines"}
START = subprocess.Popen._execute_child  # type: ignore[attr-defined]  # private, and not in the stubs
"""How `subprocess` starts a program."""
_LIMITS = (resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE, resource.RLIMIT_AS, resource.RLIMIT_CORE)


def _at_start(env: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that decide how an interpreter starts."""
    chosen = {k: v for k, v in env.items() if _AT_START.match(k)}
    # Python takes the C locale, which is what no variable means, for this one.
    return {"LANG": "C.UTF-8", **chosen}


class _ForkServer:
    """The worker's fork server; it starts when a process is asked for."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._at_start = _at_start(os.environ)
        self._owner = os.getpid()
        self._lock = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.fork_server", str(theirs.fileno())],
                cwd=ROOT,
                env={
                    **os.environ,
                    **self._at_start,
                    "OPENBLAS_NUM_THREADS": "1",
                    "_RJEM_MALLOC_CONF": "background_thread:false",
                },
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        self.pid = self._process.pid
        atexit.register(self._stop)
        if self._control.recv(16) != b"ready":
            raise RuntimeError("the fork server of the tests does not start")

    def _stop(self) -> None:
        self._control.close()
        self._process.wait()

    def can_start(self, env: Mapping[str, str]) -> bool:
        """Return whether an interpreter would start as the server did, as a child of this one."""
        return _at_start(env) == self._at_start and os.getpid() == self._owner

    def start(self, request: dict[str, object], descriptors: list[int]) -> int:
        """Fork; return the process id of what is now a child of this process."""
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        with self._lock:
            # For this moment only: a test's own orphans are adopted as those of a shop would be.
            prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
            try:
                socket.send_fds(self._control, [json.dumps(request).encode()], descriptors)
                pid = int(self._control.recv(16))
                self._control.recv(16)
            finally:
                prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        return pid


_server: _ForkServer | None = None


def server_pids() -> set[int]:
    """Return the process of the fork server, if it runs: a child of this one that stays."""
    return set() if _server is None else {_server.pid}


class Popen(subprocess.Popen[Any]):
    """`subprocess.Popen`, forked from the worker's fork server where that makes no difference."""

    def __init__(self, args: Any, **options: Any) -> None:
        words = [os.fspath(a) for a in args]
        self._request: dict[str, Any] | None = None
        if sys.platform == "linux" and words[:2] == [sys.executable, "-m"]:
            if not {k for k, v in options.items() if v is not None} - _OPTIONS:
                self._request = {
                    "parent": os.getpid(),
                    "module": words[2],
                    "words": words[3:],
                    "cwd": os.path.abspath(options.get("cwd") or "."),  # noqa: PTH100  (`resolve` would follow links)
                    "env": dict(os.environ if options.get("env") is None else options["env"]),
                    "limits": [(n, resource.getrlimit(n)) for n in _LIMITS],
                    "session": bool(options.get("start_new_session")),
                }
        super().__init__(words, **options)

    def _execute_child(self, *args: Any) -> None:
        """Fork instead of starting a program; `subprocess` does all else, as it is our child."""
        global _server  # noqa: PLW0603  (one a worker, made when it is needed)
        ends = args[10:16]  # of three pipes, of each the end to read from and the end to write to
        given = zip((ends[0], ends[3], ends[5]), (0, 1, 2), strict=True)
        descriptors = [own if end == -1 else end for end, own in given]
        if self._request is not None and not any(os.isatty(d) for d in descriptors):
            _server = _server or _ForkServer()
            if _server.can_start(self._request["env"]):
                try:
                    self.pid = _server.start(self._request, descriptors)
                    self._child_created = True
                finally:
                    self._close_pipe_fds(*ends)
                return
        START(self, *args)


def run(
    args: Any,
    *,
    input: str | bytes | None = None,  # noqa: A002  (as of subprocess)
    capture_output: bool = False,
    timeout: float | None = None,
    check: bool = False,
    **options: Any,
) -> subprocess.CompletedProcess[Any]:
    """Start a process and wait until it ends, as `subprocess.run` does."""
    if input is not None:
        options["stdin"] = subprocess.PIPE
    if capture_output:
        options["stdout"] = options["stderr"] = subprocess.PIPE
    with Popen(args, **options) as process:
        try:
            out, err = process.communicate(input, timeout=timeout)
        except BaseException:
            process.kill()
            raise
    done = subprocess.CompletedProcess(process.args, process.returncode, out, err)
    if check:
        done.check_returncode()
    return done
