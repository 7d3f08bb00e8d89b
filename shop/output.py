"""The output of commands, for people and scripts: no other module prints.

Standard output may be anything: a terminal without UTF-8, a full disk, a pipe without a reader, or
closed. None of these is a defect of this program, so none gives a traceback.
"""

from __future__ import annotations

import atexit
import codecs
import contextlib
import errno
import io
import os
import re
import select
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, TextIO

from shop.errors import ExitCode

UNFIT: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
"""Control characters (C0, DEL, C1), invisible characters that reorder or join text, line
separators, lone surrogates, and the tag characters that no terminal shows."""
_ESCAPE: Final = "jangteo"
_STREAM_ERRORS: Final = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF, errno.EAGAIN}
)

_MOMENT_S: Final = 0.5
"""How long text is waited for: what others write to the terminal next comes after it."""
_MOST_UNREAD: Final = 1 << 20
"""Bytes that are kept for a reader that does not read: plain lines of several hours."""
_INTERRUPT: Final = signal.SIGURG
"""Ignored where nobody sets it, and of no other use to this program."""
_writers: Final[dict[int, TextIO]] = {}
"""Threads that are writing, by their ident, and what they write to."""


def escape(text: str) -> str:
    r"""Return text without characters by which a terminal moves the cursor, colours or hides text.

    >>> escape("a\n\x1b[31m\u202e 머그컵")
    'a\\x0a\\x1b[31m\\u202e 머그컵'
    """
    return UNFIT.sub(_short, text)


def escape_in_lines(text: str) -> str:
    r"""Escape all such characters but line ends and tabs, as in a JSON string.

    >>> escape_in_lines("a\n\x9b31m\U000e0041")
    'a\n\\u009b31m\\udb40\\udc41'
    """
    return UNFIT.sub(lambda m: m[0] if m[0] in "\n\t" else _long(m[0]), text)


def _short(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else _long(match[0])


def _long(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i] << 8 | units[i + 1]:04x}" for i in range(0, len(units), 2))


def _cannot_encode(error: UnicodeError) -> tuple[str, int]:
    """Write characters that an encoding lacks as JSON escapes, so that JSON stays JSON."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(map(_long, text)), error.end


codecs.register_error(_ESCAPE, _cannot_encode)


def prepare() -> None:
    """Prepare the standard streams for writing; safe to call again.

    A closed one becomes /dev/null: otherwise the next file or socket would get its number, and so
    our output.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115, PTH123  (lives as long as the process)
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123  (lives as long as the process)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123  (lives as long as the process)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure") and stream.errors != _ESCAPE:
            stream.reconfigure(errors=_ESCAPE)


@atexit.register
def _flush_or_discard() -> None:
    """Flush the streams here: if it failed later, the interpreter would end with exit code 120."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and attempt(stream, "") is not None:
            _discard(stream)


def say(*words: object, end: str = "\n", to: TextIO | None = None) -> None:
    """Print words, a space between them, at once; control characters are escaped.

    Args:
        words: what to print.
        end: what follows.
        to: the stream; by default `sys.stdout` at the time of the call. Text that cannot be
            written to `sys.stderr` is lost: there is no other place to report it.

    Raises:
        BrokenPipeError: if the reader has closed the pipe.
        OSError: if standard output cannot be written.
    """
    text = escape_in_lines(" ".join(map(str, words)))
    if to is not None and to is sys.stderr:
        attempt(to, text + end)
        return
    with _writing(to or sys.stdout) as stream:
        print(text, end=end, file=stream, flush=True)


def attempt(stream: TextIO, text: str) -> OSError | None:
    """Write text whose failure does not matter; return the error, None if it was written."""
    try:
        with _writing(stream):
            stream.write(text)
            stream.flush()
    except OSError as e:
        return e
    except ValueError:  # closed
        return OSError(errno.EBADF, os.strerror(errno.EBADF))
    return None


@contextlib.contextmanager
def _writing(stream: TextIO) -> Iterator[TextIO]:
    writer = threading.get_ident()
    _writers[writer] = stream
    try:
        yield stream
    finally:
        _writers.pop(writer, None)


def let_signals_end_waits() -> None:
    """Prepare `end_waits`; call it in the main thread."""
    signal.signal(_INTERRUPT, lambda _number, _frame: None)


def end_waits() -> None:
    """Release the threads that wait for a reader that does not read: they write to /dev/null.

    Otherwise a process that is asked to end would wait for that reader, too. A signal interrupts a
    write; Python then repeats it, to another file. Call it in a signal handler or in a thread.
    """
    given_up: set[TextIO] = set()
    for writer, stream in list(_writers.items()):
        if stream not in given_up and not _has_reader(stream):
            given_up.add(stream)
            _discard(stream)
        if stream in given_up and writer != threading.get_ident():
            signal.pthread_kill(writer, _INTERRUPT)


def _has_reader(stream: TextIO) -> bool:
    try:
        return bool(select.select([], [stream.fileno()], [], _MOMENT_S)[1])
    except (OSError, ValueError):  # a stream of a test has no number
        return True


class UnblockedOutput(io.TextIOBase):
    """Writes to a stream that may not be read for hours, or not at all: a thread waits for it.

    A terminal that was stopped with Ctrl-S, or a pager on a pipe, would keep the main thread from
    looking after the processes, and from noticing a signal.

    Args:
        stream: with a file descriptor; errors of writing to it are ignored.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._unread: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._left_out = 0
        self._stuck = False
        threading.Thread(target=self._work, name="output", daemon=True).start()

    @property
    def encoding(self) -> str:  # type: ignore[override]  # typeshed: an attribute
        """Of the stream."""
        return self._stream.encoding

    def fileno(self) -> int:
        """Return that of the stream."""
        return self._stream.fileno()

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        return self._stream.isatty()

    @property
    def behind(self) -> bool:
        """Whether text is not read yet."""
        return bool(self._unread)

    def write(self, text: str) -> int:
        """Keep text for the thread; what does not fit any more is counted and left out."""
        with self._changed:
            if sum(map(len, self._unread)) > _MOST_UNREAD:
                self._left_out += 1
                return len(text)
            if self._left_out:
                text = f"... {self._left_out:,} pieces of output were left out\n{text}"
                self._left_out = 0
            self._unread.append(text.encode(self.encoding, self._stream.errors or "replace"))
            self._changed.notify_all()
        return len(text)

    def flush(self) -> None:
        """Wait until all is read, but only for a moment, and not again before it is."""
        with self._changed:
            if not self._stuck:
                self._stuck = not self._changed.wait_for(lambda: not self._unread, _MOMENT_S)

    def finish(self) -> None:
        """Write no more: where nobody reads, what comes after would wait for a reader as well.

        Even an empty text would: a terminal takes one writer at a time.
        """
        self.flush()
        if self.behind:
            waiting = [s for s in (sys.stdout, sys.stderr) if _same_file(s, self._stream)]
            for stream in waiting:
                _discard(stream)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._unread)
                text = self._unread[0]
            with contextlib.suppress(OSError, ValueError):
                self._write_all(text)
            with self._changed:
                self._unread.popleft()
                if not self._unread:
                    self._stuck = False
                    self._changed.notify_all()

    def _write_all(self, text: bytes) -> None:
        # Not through the stream: Python cannot end while a thread that waits holds its lock.
        while text:
            try:
                text = text[os.write(self.fileno(), text) :]
            except BlockingIOError:  # somebody made the terminal non-blocking
                select.select([], [self.fileno()], [])


def guarded(prog: str, work: Callable[[], int]) -> int:
    """Run a command; return its exit code, or that of an output that cannot be written.

    Args:
        prog: the command as a person types it, for the error message.
        work: the command; it may raise SystemExit, as argparse does.
    """
    prepare()
    try:
        try:
            code = work()
        finally:
            sys.stdout.flush()  # --help of argparse; an error at exit would be a traceback
    except BrokenPipeError:  # `jangteo ... | head` closed our stdout
        _discard(sys.stdout)
        return ExitCode.BROKEN_PIPE
    except OSError as e:
        if e.filename is None and e.errno in _STREAM_ERRORS:
            _discard(sys.stdout)
        what = f"{e.filename}: " if e.filename else ""
        say(f"{prog}: {what}{e.strerror or e}", to=sys.stderr)
        return ExitCode.FAILED
    except MemoryError:
        say(f"{prog}: out of memory", to=sys.stderr)
        return ExitCode.FAILED
    else:
        return code


def _same_file(stream: TextIO, other: TextIO) -> bool:
    try:
        return os.path.sameopenfile(stream.fileno(), other.fileno())
    except (OSError, ValueError):  # a stream of a test has no number
        return False


def _discard(stream: TextIO) -> None:
    """Discard a stream's buffer, which the interpreter would flush when it ends."""
    try:
        opened = os.open(os.devnull, os.O_WRONLY)
        os.dup2(opened, stream.fileno())
        os.close(opened)
    except (OSError, ValueError):  # a stream of a test has no number
        return
