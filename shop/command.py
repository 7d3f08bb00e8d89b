"""What every command has in common: parsing, one-line errors, exit codes, stopping.

A command module offers `configure(parser)`, which adds its options, and `run(args, settings)`,
which does the work and returns an exit code. `jangteo NAME` and `python -m MODULE` both end here.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import FrameType, ModuleType
from typing import TYPE_CHECKING, NoReturn, TextIO, TypeAlias, cast

from shop import client_errors, log, settings
from shop.errors import ExitCode, JangteoError
from shop.output import escape, guarded, say
from shop.settings import Settings

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

Configure: TypeAlias = Callable[[argparse.ArgumentParser], None]
Run: TypeAlias = Callable[[argparse.Namespace, Settings], int]


class Parser(argparse.ArgumentParser):
    """An argument parser that says what is wrong in one line and ends with exit code 2."""

    def error(self, message: str) -> NoReturn:
        """End with one line on stderr."""
        say(f"{self.prog}: {escape(message)} (see {self.prog} --help)", to=sys.stderr)
        sys.exit(ExitCode.USAGE)

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        # argparse's own swallows the error of a full disk.
        say(message, end="", to=cast("TextIO | None", file))


def positive(text: str) -> float:
    """Read a number above 0, for argparse."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number above 0")
    return value


def count(text: str) -> int:
    """Read a whole number of at least 0, for argparse; 1_000_000 and 1000000 both do."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number of at least 0")
    return value


def port(text: str) -> int:
    """Read the number of a port, for argparse; 0 stands for any free one."""
    value = int(text)
    if not 0 <= value <= 65_535:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a port from 0 to 65535")
    return value


positive.__name__ = "number"  # argparse shows these names: "invalid number value: 'x'"
count.__name__ = "whole number"


def load(module: str) -> ModuleType:
    """Import a command; what is imported stays, and is not looked through for garbage.

    That was a tenth of the console's 0.6 s of CPU until its first picture.
    """
    gc.disable()
    try:
        return importlib.import_module(module)
    finally:
        gc.freeze()
        gc.enable()


def stop_on_signals() -> threading.Event:
    """Return an event that SIGTERM and SIGINT set; call it in the main thread, once."""
    stop = threading.Event()

    def handler(_signum: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, handler)
    signal.signal(signal.SIGINT, handler)
    return stop


def main(
    configure: Configure,
    run: Run,
    *,
    prog: str,
    description: str | None,
    argv: Sequence[str] | None = None,
) -> int:
    """Parse, load the settings, run; return the exit code.

    Args:
        configure: adds the command's options.
        run: does the work.
        prog: how a person calls it, e.g. ``jangteo seed``.
        description: shown by --help.
        argv: the arguments after the command's name; `sys.argv[1:]` by default.
    """
    return guarded(prog, partial(_run, configure, run, prog, description, argv))


def _run(
    configure: Configure, run: Run, prog: str, description: str | None, argv: Sequence[str] | None
) -> int:
    parser = Parser(prog=prog, description=description, allow_abbrev=False)
    parser.add_argument(
        "--data-dir", type=Path, help="data directory of the stack (default: .jangteo, or found)"
    )
    configure(parser)
    try:
        words = list(sys.argv[1:] if argv is None else argv)
        # Intermixed: `topics describe --json orders` reads like `topics describe orders --json`.
        args = parser.parse_args(words) if "--" in words else parser.parse_intermixed_args(words)
        loaded = settings.load(data_dir=args.data_dir)
        log.configure(
            prog.replace(".", " ").split()[-1], level=loaded.log_level, fmt=loaded.log_format
        )
        return run(args, loaded)
    except JangteoError as e:
        say(f"{prog}: {log.redact(str(e))}", to=sys.stderr)
        return e.exit_code
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except OSError:
        raise  # of the output, or of a file: see `guarded`
    except Exception as e:
        if (known := client_errors.explained(e)) is None:
            raise
        say(f"{prog}: {log.redact(str(known))}", to=sys.stderr)
        return known.exit_code
