"""Steer the running shop: `jangteo do ACTION [ARGUMENT ...]`; without one, the actions."""

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
    parser.add_argument("words", nargs="*", metavar="ACTION", help="and its arguments")
    parser.add_argument("--wait", action="store_true", help="until the effect is seen")
    parser.add_argument(
        "--timeout", type=command.positive, default=operations.WAIT_S, help="of --wait"
    )
    parser.add_argument("--json", action="store_true", help="the result as one JSON line")
    parser.add_argument("--yes", action="store_true", help="do not ask before something is ended")
    parser.add_argument("--read-only", action="store_true", help="check, but refuse to act")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Do it; the exit code is 0 if it is done, else that of what went wrong."""
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
    """Return the actions, a line each."""
    width = max(len(a.usage) for a in operations.ACTIONS.values())
    return "\n".join(
        f"{a.usage:<{width}}  {a.help['ko' if lang == 'ko' else 'en']}"
        for a in operations.ACTIONS.values()
    )


def _confirm(request: operations.ActionRequest) -> None:
    """Ask a person at the terminal.

    Raises:
        UsageError: if nobody is there, or the answer is not what was asked for.
    """
    wanted = request.arguments[0] if request.arguments else "yes"
    if not os.isatty(0):
        raise UsageError(f"{request.words}: nobody to ask; add --yes if you mean it")
    say(f"{request.words}: type {wanted!r} to do it: ", end="", to=sys.stderr)
    if sys.stdin.readline().strip() != wanted:
        raise UsageError(f"{request.words}: not confirmed, nothing was done")


if __name__ == "__main__":
    sys.exit(command.main(configure, run, prog="python -m console.actions.do", description=__doc__))
