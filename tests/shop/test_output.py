"""Output that nobody reads, or not yet."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from shop import output
from shop.output import UnblockedOutput
from tests.support.waiting import wait_until


@pytest.fixture
def pipe() -> Iterator[tuple[int, UnblockedOutput]]:
    """Where to read, and what writes there."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "w", encoding="utf-8") as stream:
        yield reader, UnblockedOutput(stream)
        os.set_blocking(reader, False)
        while _read(reader):  # the thread that waits ends its writing
            time.sleep(0.01)
    os.close(reader)


def _read(reader: int) -> bytes:
    try:
        return os.read(reader, 1 << 20)
    except BlockingIOError:
        return b""


def test_what_nobody_reads_is_written_in_order_once_somebody_does(
    pipe: tuple[int, UnblockedOutput],
) -> None:
    reader, written = pipe
    lines = [f"{number} 장터 {'x' * 1000}\n" for number in range(200)]
    for line in lines:
        written.write(line)
    written.flush()
    assert written.behind
    expected, found = "".join(lines).encode(), b""
    while len(found) < len(expected):
        found += os.read(reader, 1 << 16)
    assert found == expected
    wait_until(lambda: not written.behind, "all is written")


def test_flushed_text_is_there_before_what_others_write(
    pipe: tuple[int, UnblockedOutput],
) -> None:
    reader, written = pipe
    for number in range(100):
        written.write(f"{number}\n")
        written.flush()
        assert os.read(reader, 100) == f"{number}\n".encode()


def test_what_does_not_fit_is_counted(
    pipe: tuple[int, UnblockedOutput], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, written = pipe
    monkeypatch.setattr(output, "_MOST_UNREAD", 1000)
    first = "a" * (1 << 20)  # more than a pipe holds
    assert [written.write(text) for text in (first, "b", "c")] == [1 << 20, 1, 1]
    found = b""
    while len(found) < 1 << 20:
        found += os.read(reader, 1 << 16)
    wait_until(lambda: not written.behind, "all is written")
    written.write("d")
    assert os.read(reader, 100) == b"... 2 pieces of output were left out\nd"


def test_a_reader_that_is_gone_is_no_error() -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w", encoding="utf-8") as stream:
        written = UnblockedOutput(stream)
        os.close(reader)
        written.write("text")
        written.flush()
        assert not written.behind
    assert "output" in {thread.name for thread in threading.enumerate()}  # which still runs


def test_a_terminal_that_nobody_reads_does_not_keep_a_process_from_its_end() -> None:
    master, slave = pty.openpty()
    code = (
        "import sys; from shop import output\n"
        "def work():\n"
        "    unblocked = output.UnblockedOutput(sys.stdout)\n"
        "    unblocked.write('x' * 1_000_000)\n"
        "    unblocked.finish()\n"
        "    output.say('the end', to=sys.stderr)\n"
        "    return 7\n"
        "sys.exit(output.guarded('work', work))\n"
    )
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=slave, stdout=slave, stderr=slave
        )
        assert process.wait(60) == 7
    finally:
        os.close(master)
        os.close(slave)


@pytest.mark.parametrize("who", ["main", "thread", "log"])
def test_a_signal_ends_a_command_whose_output_nobody_reads(who: str) -> None:
    work = {
        "main": "while not stop.is_set(): say('x' * 10_000)",
        "thread": "threading.Thread(target=lambda: [say('x' * 10_000) for _ in range(99)],"
        " daemon=True).start(); stop.wait()",
        "log": "log.configure('a process', level='info')\n"
        "    while not stop.is_set(): log.get_logger().info('x' * 10_000)",
    }[who]
    code = (
        "import sys, threading\n"
        "from shop import command, log\n"
        "from shop.output import guarded, say\n"
        "def work():\n"
        "    stop = command.stop_on_signals()\n"
        f"    {work}\n"
        "    return 7\n"
        "sys.exit(guarded('work', work))\n"
    )
    reader, writer = os.pipe()
    try:
        process = subprocess.Popen([sys.executable, "-c", code], stdout=writer, stderr=writer)
        wait_until(lambda: not select.select([], [writer], [], 0)[1], "the pipe is full")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 7
    finally:
        os.close(reader)
        os.close(writer)


def test_a_signal_takes_nothing_from_a_reader_that_reads() -> None:
    code = (
        "import sys\n"
        "from shop import command\n"
        "from shop.output import guarded, say\n"
        "def work():\n"
        "    stop = command.stop_on_signals()\n"
        "    say('begun')\n"
        "    stop.wait()\n"
        "    for number in range(1000): say(number, 'x' * 1000)\n"
        "    return 0\n"
        "sys.exit(guarded('work', work))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)  # the pipe is full, but for a moment
        process.send_signal(signal.SIGTERM)
        assert len(process.stdout.read().splitlines()) == 1000
