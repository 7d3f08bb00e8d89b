"""Steer the running shop: run one action, or list the actions when none is given."""

from __future__ import annotations

import argparse
import os
import sys

import msgspec

from console.actions import operations
from console.actions.operations import Operator
from shop import command
from shop.errors import ExitCode, UsageError
from shop.output import say
from shop.settings import Settings


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `jangteo do`."""
    parser.add_argument(
        "words", nargs="*", metavar="ACTION", help="action to run, followed by its arguments"
    )
    parser.add_argument("--wait", action="store_true", help="wait until the effect is visible")
    parser.add_argument(
        "--timeout",
        type=command.positive,
        default=operations.WAIT_S,
        metavar="SECONDS",
        help="give up after SECONDS (with --wait; default: %(default)g)",
    )
    parser.add_argument("--json", action="store_true", help="print the result as one line of JSON")
    parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    parser.add_argument(
        "--read-only", action="store_true", help="check the action without running it"
    )


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Run the action; return 0 if it succeeded, else the exit code of the failure."""
    if not args.words:
        say(overview(settings.lang))
        return ExitCode.OK
    request = operations.parse(args.words)
    if request.action.destructive and not (args.yes or args.read_only):
        _confirm(request)
    stop = command.stop_on_signals()
    operator = Operator(lambda: settings, refuse="read-only" if args.read_only else "")
    result = operator.perform(request, wait=args.timeout if args.wait else 0.0, stop=stop)
    if args.json:
        say(msgspec.json.encode(result.in_english()).decode())
    else:
        say(f"{result.action}: {result.outcome}, {result.result}")
    return result.exit_code


def overview(lang: str) -> str:
    """Return the list of actions, one per line."""
    width = max(len(a.usage) for a in operations.ACTIONS.values())
    return "\n".join(
        f"{a.usage:<{width}}  {a.help['ko' if lang == 'ko' else 'en']}"
        for a in operations.ACTIONS.values()
    )


def _confirm(request: operations.ActionRequest) -> None:
    """Ask for a confirmation at the terminal.

    Raises:
        UsageError: if there is no terminal, or the answer is another one.
    """
    wanted = request.arguments[0] if request.arguments else "yes"
    if not os.isatty(0):
        raise UsageError(
            f"{request.words}: needs a confirmation and there is no terminal; add --yes to confirm"
        )
    say(f"{request.words}: type {wanted!r} to do it: ", end="", to=sys.stderr)
    if sys.stdin.readline().strip() != wanted:
        raise UsageError(f"{request.words}: not confirmed, nothing was done")


if __name__ == "__main__":
    sys.exit(command.main(configure, run, prog="python -m console.actions.do", description=__doc__))
