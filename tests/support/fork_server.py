"""A process that has imported the packages of the commands, and forks for each that a test starts.

    python -m tests.support.fork_server FD

`tests.support.python_process` starts it and asks it over the socket FD. The forked process becomes
`python -m MODULE ARGS`: the last line of this file runs the module as the interpreter's own `-m`
does, so that exit codes, tracebacks, signals and what runs at exit are Python's own.

It imports, and does nothing else: it opens no connection and reads no setting. A lock that another
thread holds stays locked in a fork, so no thread may work here: OPENBLAS_NUM_THREADS=1 and
_RJEM_MALLOC_CONF=background_thread:false leave one, which waits for polars to spill to the disk.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import io
import json
import os
import pkgutil
import resource
import runpy
import signal
import socket
import sys
import time
import types
import warnings
from pathlib import Path
from typing import Any, TextIO

PACKAGES = ("bytewax.run", "encodings.idna", "structlog")
"""What the commands import beyond the rooms."""
ROOMS = ("shop", "jangteo", "flows", "generators", "grading", "console")
KEPT = {"__main__", "builtins", "logging", "sys", "threading"}
"""Modules that the interpreter needs or that flush when it ends."""
ADOPTED_S = 60.0
"""Seconds within which the process that forks between has ended, on the busiest machine."""
LARGEST_REQUEST = 1 << 17
"""Bytes of a request: an environment and a command line. A datagram may have 212,992."""


def import_rooms() -> None:
    """Import all that the commands do, and keep garbage collection from copying it in each fork."""
    for room in ROOMS:
        package = importlib.import_module(room)
        for module in pkgutil.walk_packages(package.__path__, f"{room}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    for name in PACKAGES:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


def leave_modules(imported: dict[str, types.ModuleType]) -> None:
    """Take the modules that a fork began with out of what the interpreter clears when it ends.

    Clearing all of them takes 55 ms of CPU, and is no part of what a command does.
    """
    for name, module in imported.items():
        if sys.modules.get(name) is module:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(module))
            del sys.modules[name]


def fork() -> int:
    """Fork, without the warning of Python 3.12 that threads are running."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def serve(control: socket.socket) -> str:
    """Fork for each request; return in the forked process only, with the module to run."""
    control.send(b"ready")
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, LARGEST_REQUEST, 3)
        if not message:
            os._exit(0)  # the tests have ended
        if (middle := fork()) == 0:
            if (pid := fork()) == 0:
                control.close()
                return become(json.loads(message), descriptors)
            control.send(str(pid).encode())
            os._exit(0)  # the forked process is from now on a child of the one that asked
        for descriptor in descriptors:
            os.close(descriptor)
        os.waitpid(middle, 0)
        control.send(b"adopted")


def stream(old: TextIO, number: int) -> TextIO:
    """Open a standard stream as the interpreter does when it starts."""
    assert isinstance(old, io.TextIOWrapper)
    unbuffered = old.write_through
    buffer = open(  # noqa: SIM115  (it lives as long as the process)
        number, "wb" if number else "rb", buffering=0 if unbuffered else -1, closefd=False
    )
    (buffer if unbuffered else buffer.raw).name = old.name  # type: ignore[attr-defined]  # as the interpreter does
    made = io.TextIOWrapper(
        buffer, old.encoding, old.errors, "\n",
        line_buffering=old.line_buffering, write_through=unbuffered,
    )  # fmt: skip
    made.mode = "w" if number else "r"
    return made


def become(request: dict[str, Any], descriptors: list[int]) -> str:
    """Take on the environment, directory, limits and streams of a request; return its module."""
    parent, module, words, cwd, env, limits, session = (
        request[k] for k in ("parent", "module", "words", "cwd", "env", "limits", "session")
    )
    deadline = time.monotonic() + ADOPTED_S
    while os.getppid() != parent:
        if time.monotonic() > deadline:
            os._exit(70)  # the one that asked has ended
        time.sleep(0.0002)
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
    for descriptor in descriptors:
        os.close(descriptor)
    # typed as final, and replaced as a new interpreter would
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        opened = stream(getattr(sys, name), number)
        setattr(sys, name, opened)
        setattr(sys, f"__{name}__", opened)
    if session:
        os.setsid()
    for number, limit in limits:
        resource.setrlimit(number, tuple(limit))
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = ["-m", *words]
    sys.path[0] = str(Path.cwd())
    sys.modules.pop(str(module), None)  # runs as `__main__`, and is imported again if need be
    sys.modules["__main__"] = types.ModuleType("__main__")
    return str(module)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    imported: dict[str, types.ModuleType] = {}
    atexit.register(leave_modules, imported)  # the first to be registered is the last to run
    import_rooms()
    imported.update({name: m for name, m in sys.modules.items() if name not in KEPT})
    asked = serve(socket.socket(fileno=int(sys.argv[1])))
    run = runpy._run_module_as_main  # type: ignore[attr-defined]  # what `python -m` calls
    run(asked)
