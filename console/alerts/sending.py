"""Deliver notifications to a command and a webhook, each in a thread of its own.

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
from functools import partial
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
        failed: called, in a sending thread, for each notification that is not delivered.
        pause: seconds before a second attempt; doubles.
    """

    def __init__(
        self, command: Sequence[str], webhook: str, failed: Failed, *, pause: float = 1.0
    ) -> None:
        def told(way: str, why: str) -> None:
            host = urlsplit(webhook).hostname if webhook else ""
            failed(way, printable(redact(why.replace(webhook or "\0", str(host)))))

        self._ways = []
        if command:
            self._ways.append(_Way("command", partial(run, [*command]), told, pause))
        if webhook:
            self._ways.append(_Way("webhook", partial(post, webhook), told, pause))

    def send(self, alert: Alert) -> None:
        """Have a notification delivered."""
        for way in self._ways:
            way.put(as_fields(alert))

    def close(self, patience: float = 2.0) -> None:
        """End the threads; what waits is still delivered within `patience` seconds."""
        deadline = time.monotonic() + patience
        while any(way.busy for way in self._ways) and time.monotonic() < deadline:
            time.sleep(0.02)
        for way in self._ways:
            way.end()


class _Way(threading.Thread):
    """Delivers notifications one after the other: a webhook that hangs delays no command.

    Args:
        name: of the way, for people.
        deliver: gets the values of a notification.
        failed: as of `AlertSender`.
        pause: seconds before a second attempt; doubles.
    """

    def __init__(
        self, name: str, deliver: Callable[[dict[str, str]], None], failed: Failed, pause: float
    ) -> None:
        super().__init__(name=f"alerts-{name}", daemon=True)
        self._way = name
        self._deliver = deliver
        self._failed = failed
        self._pause = pause
        self._queue: queue.Queue[dict[str, str]] = queue.Queue(WAITING)
        self._ended = threading.Event()
        self.start()

    @property
    def busy(self) -> bool:
        """Whether a notification is not delivered yet."""
        return bool(self._queue.unfinished_tasks)

    def put(self, fields: dict[str, str]) -> None:
        """Have a notification delivered; never waits."""
        try:
            self._queue.put_nowait(fields)
        except queue.Full:
            self._failed(self._way, f"{WAITING} notifications wait already")

    def end(self) -> None:
        """End the thread after the attempt that it makes."""
        self._ended.set()

    def run(self) -> None:
        """Deliver until ended."""
        while not self._ended.is_set():
            try:
                fields = self._queue.get(timeout=0.5)
            except queue.Empty:
                continue
            self._try(fields)
            self._queue.task_done()

    def _try(self, fields: dict[str, str]) -> None:
        for attempt in range(TRIES):
            try:
                self._deliver(fields)
            except (OSError, ValueError, subprocess.SubprocessError) as e:
                last = attempt + 1 == TRIES or self._ended.wait(self._pause * 2**attempt)
                if last or not _again(e):
                    self._failed(self._way, first_line(e))
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
