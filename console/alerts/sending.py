"""Deliver notifications to a command and a webhook, in a thread of its own.

What comes from outside is data: values reach a command as environment variables and as JSON on
its standard input, never as part of a command line, and contain no control characters.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from console.alerts.tracker import Alert
from console.text import printable
from shop.log import redact
from shop.retry import first_line

TIMEOUT_S: Final = 10.0
"""For a run of the command, and for an answer of the webhook."""
TRIES: Final = 3
WAITING: Final = 100
"""Notifications that wait; a newer one is dropped while there are as many."""
Failed = Callable[[str, str], None]
"""Called with the way, and with why a notification was not delivered."""


def as_fields(alert: Alert) -> dict[str, str]:
    """Return a notification as text values, which contain no control character."""
    values = {
        "state": alert.state.value,
        "kind": alert.kind,
        "subject": alert.subject,
        "level": alert.level,
        "text": str(alert.shown),
        "since": alert.since.isoformat(),
        "at": alert.at.isoformat(),
    }
    return {name: printable(value) for name, value in values.items()}


class AlertSender:
    """Sends notifications; `send` returns at once.

    Args:
        command: program and arguments; empty for none.
        webhook: address that gets a POST of JSON; empty for none.
        failed: called, in the sending thread, for each notification that is not delivered.
        pause: seconds before a second attempt; doubles.
    """

    def __init__(
        self, command: Sequence[str], webhook: str, failed: Failed, *, pause: float = 1.0
    ) -> None:
        self._command = [*command]
        self._webhook = webhook
        self._failed = failed
        self._pause = pause
        self._queue: queue.Queue[Alert] = queue.Queue(WAITING)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="alerts", daemon=True)
        if command or webhook:
            self._thread.start()

    def send(self, alert: Alert) -> None:
        """Have a notification delivered."""
        if not self._thread.is_alive():
            return
        try:
            self._queue.put_nowait(alert)
        except queue.Full:
            self._failed("queue", f"{WAITING} notifications wait already")

    def close(self, patience: float = 2.0) -> None:
        """End the thread; what waits is still delivered within `patience` seconds."""
        deadline = time.monotonic() + patience
        while self._queue.unfinished_tasks and time.monotonic() < deadline:
            time.sleep(0.02)
        self._stop.set()

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                alert = self._queue.get(timeout=0.5)
            except queue.Empty:
                continue
            fields = as_fields(alert)
            if self._command:
                self._try("command", lambda: run(self._command, fields))  # noqa: B023  (called at once)
            if self._webhook:
                self._try("webhook", lambda: post(self._webhook, fields))  # noqa: B023  (called at once)
            self._queue.task_done()

    def _try(self, way: str, work: Callable[[], None]) -> None:
        for attempt in range(TRIES):
            try:
                work()
            except (OSError, ValueError, subprocess.SubprocessError) as e:
                last = attempt + 1 == TRIES or self._stop.wait(self._pause * 2**attempt)
                if last or not _again(e):
                    host = urlsplit(self._webhook).hostname if way == "webhook" else ""
                    said = first_line(e).replace(self._webhook or "\0", str(host))
                    self._failed(way, printable(redact(said)))
                    return
            else:
                return


def _again(error: Exception) -> bool:
    """Return whether another attempt may succeed."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code >= 500 or error.code == 429
    return not isinstance(error, ValueError | FileNotFoundError | PermissionError)


def run(command: Sequence[str], fields: dict[str, str]) -> None:
    """Run a program with a notification in JANGTEO_ALERT_* and as JSON on its standard input.

    Raises:
        OSError: if it cannot be started.
        subprocess.SubprocessError: if it fails, or takes longer than `TIMEOUT_S`.
    """
    env = {**os.environ, **{f"JANGTEO_ALERT_{k.upper()}": v for k, v in fields.items()}}
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,  # the terminal belongs to the console
        stderr=subprocess.DEVNULL,
        env=env,
        start_new_session=True,
    )
    try:
        process.communicate(msgspec.json.encode(fields) + b"\n", timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    if process.returncode:
        raise subprocess.SubprocessError(f"{command[0]} ended with {process.returncode}")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected POST would arrive as a GET without its content."""

    def redirect_request(self, *_args: Any, **_kwargs: Any) -> None:
        return None


def post(address: str, fields: dict[str, str]) -> None:
    """Post a notification as JSON.

    Raises:
        OSError: if there is no answer, or one that is not a success.
    """
    request = urllib.request.Request(  # noqa: S310  (http and https alone: checked where it is set)
        address,
        data=msgspec.json.encode(fields),
        headers={"Content-Type": "application/json", "User-Agent": "jangteo-console"},
        method="POST",
    )
    with urllib.request.build_opener(_NoRedirect).open(request, timeout=TIMEOUT_S) as answer:
        answer.read(1_000)
