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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType, ModuleType
from typing import TYPE_CHECKING, NoReturn, TextIO, TypeAlias, cast

from shop import client_errors, log, settings
from shop.errors import ExitCode, JangteoError
from shop.output import end_waits, escape, guarded, let_signals_end_waits, say
from shop.settings import Settings

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

Configure: TypeAlias = "Callable[[Parser], None]"
Run: TypeAlias = Callable[[argparse.Namespace, Settings], int]


class Parser(argparse.ArgumentParser):
    """The parser of a command or of one of its actions.

    Options may be given before, between and after the arguments, and before the action. An error is
    reported in one line and ends the process with exit code 2.
    """

    def __init__(
        self,
        *,
        prog: str | None = None,
        description: str | None = None,
        epilog: str | None = None,
    ) -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.actions: dict[str, Parser] = {}
        self._foreign = False
        self.add_argument(
            "--data-dir", type=Path, metavar="DIR",
            help="data directory of the stack (default: that of the running stack, or .jangteo)",
        )  # fmt: skip

    def add_action(self, name: str, summary: str, *, example: str | None = None) -> Parser:
        """Add an action: a word with options of its own, found in `args.action`.

        Args:
            name: the word as typed.
            summary: what it does, without a full stop, for the list of actions and its own help.
            example: a command line to show in its help.
        """
        if not self.actions:
            self._added = self.add_subparsers(
                prog=self.prog, title="actions", metavar="ACTION", dest="action", required=True
            )
        action = self._added.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            epilog=example and f"example:\n  {example}",
        )
        action.set_defaults(action=name)
        self.actions[name] = action
        return action

    def add_foreign(self, program: str) -> None:
        """Accept everything after our own options as arguments of another program."""
        self._foreign = True
        self.add_argument(
            "arguments",
            nargs="*",
            metavar="ARGUMENT",
            help=f"argument to pass to {program} unchanged",
        )

    def parse(self, words: Sequence[str]) -> argparse.Namespace:
        """Parse what follows the command's name; end the process if it is wrong."""
        if self.actions:
            # argparse wants an action before its options, and so cannot intermix them.
            options = {o: v for a in self.actions.values() for o, v in a.options().items()}
            at = next(
                (i for i, word in enumerate(words)
                 if not word.startswith("-") and (i == 0 or not options.get(words[i - 1]))),
                None,
            )  # fmt: skip
            if at is None:
                return self.parse_args(words)  # --help, or an error
            if words[at] not in self.actions:
                return self.parse_args(words[at : at + 1])
            return self.actions[words[at]].parse([*words[:at], *words[at + 1 :]])
        words = separated(words) if self._foreign else words
        # Intermixed: `describe --json orders` means the same as `describe orders --json`.
        return self.parse_args(words) if "--" in words else self.parse_intermixed_args(words)

    def options(self) -> dict[str, bool]:
        """Return the options, and whether a value follows each."""
        return {o: a.nargs is None for a in self._actions for o in a.option_strings}

    def error(self, message: str) -> NoReturn:
        """Print one line on stderr and end the process."""
        say(f"{self.prog}: {escape(message)} (see {self.prog} --help)", to=sys.stderr)
        sys.exit(ExitCode.USAGE)

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        # argparse's own swallows the error of a full disk.
        say(message, end="", to=cast("TextIO | None", file))


def separated(words: Sequence[str]) -> list[str]:
    """Put `--` between our options and another program's.

    >>> separated(["--data-dir", "d", "-c", "SELECT 1"])
    ['--data-dir', 'd', '--', '-c', 'SELECT 1']
    >>> separated(["--", "-l"]), separated(["--help"])
    (['--', '-l'], ['--help'])
    """
    ours = 0
    while ours < len(words) and words[ours].partition("=")[0] in ("-h", "--help", "--data-dir"):
        ours += 2 if words[ours] == "--data-dir" else 1
    rest = list(words[ours:])
    return [*words[:ours], *([] if not rest or rest[0] == "--" else ["--"]), *rest]


def positive(text: str) -> float:
    """Parse a number above 0, for argparse."""
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


@contextmanager
def importing() -> Iterator[None]:
    """Exempt what is imported meanwhile from garbage collection: it stays anyway.

    Collecting it took a tenth of the console's 0.6 s of CPU until its first picture, and of the
    ingest's 0.7 s.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def load(module: str) -> ModuleType:
    """Import a command."""
    with importing():
        return importlib.import_module(module)


def stop_on_signals() -> threading.Event:
    """Return an event that SIGTERM and SIGINT set; call it in the main thread, once."""
    stop = threading.Event()

    def handler(_signum: int, _frame: FrameType | None) -> None:
        stop.set()
        end_waits()

    let_signals_end_waits()
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
        prog: the command as a person types it, such as ``jangteo seed``.
        description: shown by --help.
        argv: the arguments after the command's name; `sys.argv[1:]` by default.
    """
    return guarded(prog, partial(_run, configure, run, prog, description, argv))


def _run(
    configure: Configure, run: Run, prog: str, description: str | None, argv: Sequence[str] | None
) -> int:
    parser = Parser(prog=prog, description=description)
    configure(parser)
    try:
        args = parser.parse(sys.argv[1:] if argv is None else argv)
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
