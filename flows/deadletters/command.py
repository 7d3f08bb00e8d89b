"""Dead letters: messages that the ingest could not store, kept as they came.

list, show, replay (publish again, mended or not), purge (remove), counts, and reasons (what each
means). TOPIC PARTITION OFFSET, or the filters, say which.
"""

from __future__ import annotations

import argparse
import base64
import json
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec
import psycopg
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.deadletters import fault_location
from flows.deadletters.coordinates import place_in
from flows.deadletters.replay import (
    LEFT_ALONE,
    PUBLISHED,
    WOULD_PUBLISH,
    Edit,
    Replay,
    ReplayResult,
    load_fixer,
)
from shop import client_errors, command, kafka, postgres
from shop.clock import utc_now
from shop.errors import ExitCode, JangteoError, UsageError
from shop.events import TOPICS, RejectReason
from shop.output import escape, say
from shop.postgres import Connection, dead_letters
from shop.postgres.dead_letters import DeadLetter, Filter
from shop.retry import first_line
from shop.settings import Settings, announce

ACTIONS: Final = ("list", "show", "replay", "purge", "counts", "reasons")
LISTED: Final = 50
FIRST_RESULTS: Final = 5
_REASONS: Final = tuple(reason.value for reason in RejectReason)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `jangteo dlq`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("action", choices=ACTIONS)
    add("place", nargs="*", metavar="TOPIC PARTITION OFFSET",
        help="one message; also as `list` prints it: 'orders[3]@17'")  # fmt: skip
    add("--json", action="store_true", help="one JSON object a line on stdout")
    which = parser.add_argument_group("which").add_argument
    which("--reason", action="append", default=[], choices=_REASONS, metavar="REASON",
          help="may be given several times; `reasons` lists them")  # fmt: skip
    which("--topic", action="append", default=[], choices=tuple(TOPICS), metavar="TOPIC")
    which("--since", metavar="TIME", help="rejected since: 2026-03-04T05:06:07Z, or 2h ago")
    which("--until", metavar="TIME", help="rejected before")
    which("--replayed", action="store_true", default=None, help="only those published again")
    which("--not-replayed", dest="replayed", action="store_false", help="only the others")
    which("--log-id", metavar="ID", help="of one incarnation of a topic that was made anew")
    which("--limit", type=command.count, metavar="N", help=f"at most N (list: {LISTED})")
    mend = parser.add_argument_group("replay").add_argument
    mend("--set", action="append", default=[], metavar="FIELD=JSON", help="set a member")
    mend("--drop", action="append", default=[], metavar="FIELD", help="remove a member")
    mend("--key-from-field", action="store_true", help="make the key from the payload's id")
    mend("--fix", metavar="MODULE:FUNCTION", help="function(payload, row) -> payload or None")
    mend("--dry-run", action="store_true", help="say what would be done")
    mend("--again", action="store_true", help="those already published again too")
    remove = parser.add_argument_group("purge").add_argument
    remove("--yes", action="store_true", help="do not ask")
    remove("--yes-production", action="store_true", help="allow it where DB_TYPE=production")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Do what was asked."""
    _refuse_misplaced(args)
    if args.action == "reasons":
        say(reasons())
        return ExitCode.OK
    chosen = chosen_by(args)
    if args.action == "purge":
        settings.refuse_in_production(
            "purge dead letters", "--yes-production", allowed=args.yes_production
        )
    if args.action == "purge":
        announce.servers_in_production(settings, "postgres")
    actions = {"list": _list, "show": _show, "replay": _replay, "purge": _purge, "counts": _counts}
    try:
        with postgres.connection(settings.postgres, "dlq") as conn:
            return actions[args.action](conn, chosen, args, settings)
    except psycopg.Error as e:
        raise client_errors.kind(e)(f"{settings.postgres.where}: {first_line(e)}") from None


# -- what is meant ---------------------------------------------------------------------------

_OPTIONS_OF: Final = {
    "replay": ("set", "drop", "key_from_field", "fix", "dry_run", "again"),
    "purge": ("yes", "yes_production"),
}


def _refuse_misplaced(args: argparse.Namespace) -> None:
    for action, names in _OPTIONS_OF.items():
        for name in names:
            if args.action != action and getattr(args, name):
                raise UsageError(f"--{name.replace('_', '-')} belongs to {action}")
    if args.action == "show" and not args.place:
        raise UsageError("show needs TOPIC PARTITION OFFSET, or a place as `list` prints it")
    if args.action in ("counts", "reasons") and args.place:
        raise UsageError(f"{args.action} takes no place")


def chosen_by(args: argparse.Namespace) -> Filter:
    """Return the filter that the options stand for.

    Raises:
        UsageError: if a place or a time cannot be read.
    """
    now = utc_now()
    chosen = Filter(
        reasons=tuple(args.reason),
        topics=tuple(args.topic),
        since=dead_letters.moment(args.since, now) if args.since else None,
        until=dead_letters.moment(args.until, now) if args.until else None,
        replayed=args.replayed,
        log_id=args.log_id,
    )
    if args.action == "replay" and not args.again:
        if args.replayed:
            raise UsageError("--replayed: those were published again already; --again does it anew")
        chosen = replace(chosen, replayed=False)
    return replace(chosen, **place_in(args.place)) if args.place else chosen


# -- list, show, counts, reasons -------------------------------------------------------------


def _list(conn: Connection, chosen: Filter, args: argparse.Namespace, _: Settings) -> int:
    limit = args.limit if args.limit is not None or args.json else LISTED
    found = dead_letters.find(conn, chosen, limit=limit)
    if args.json:
        for letter in found:
            say(as_json(letter))
        return ExitCode.OK
    rows = [
        [letter.where, f"{letter.rejected_at:%Y-%m-%d %H:%M:%S}", letter.reason,
         letter.field or "-", "yes" if letter.replayed_at else "-",
         fault_location.plain(letter.key, 20), escape(letter.detail)]
        for letter in found
    ]  # fmt: skip
    _print_table(["place", "rejected (UTC)", "reason", "field", "replayed", "key", "detail"], rows)
    if len(rows) == limit and (all_ := dead_letters.matching(conn, chosen)) > limit:
        _say(f"{all_ - limit:,} more; --limit N shows them")
    if not rows:
        _say("no dead letters")
    return ExitCode.OK


def as_json(letter: DeadLetter) -> str:
    """Return a dead letter on one line; bytes that are no UTF-8 as base64."""
    record: dict[str, Any] = msgspec.to_builtins(letter)
    for name in ("key", "payload"):
        data = getattr(letter, name)
        record[name], record[f"{name}_base64"] = _text_or_base64(data)
    return json.dumps(record, ensure_ascii=False)


def _text_or_base64(data: bytes | None) -> tuple[str | None, str | None]:
    if data is None:
        return None, None
    try:
        return data.decode(), None
    except UnicodeDecodeError:
        return None, base64.b64encode(data).decode()


def _show(conn: Connection, chosen: Filter, args: argparse.Namespace, _: Settings) -> int:
    letters = list(dead_letters.find(conn, chosen))
    if not letters:
        raise JangteoError(f"no dead letter at {' '.join(args.place)}; `jangteo dlq list`")
    for letter in letters:  # several if the topic was made anew: each has its log id
        if args.json:
            say(as_json(letter))
        else:
            say("\n".join(in_words(letter, _width())))
    return ExitCode.OK


def in_words(letter: DeadLetter, width: int) -> list[str]:
    """Return a dead letter with its bytes and a caret under the fault."""
    replayed = f"{letter.replayed_at:%Y-%m-%d %H:%M:%S} UTC" if letter.replayed_at else "no"
    head = [
        f"{letter.where}  log {letter.log_id}",
        f"rejected  {letter.rejected_at:%Y-%m-%d %H:%M:%S} UTC, replayed: {replayed}",
        f"reason    {letter.reason}" + (f", field {letter.field}" if letter.field else ""),
        f"detail    {escape(letter.detail)}",
        f"key       {fault_location.plain(letter.key)}" + _of(letter.key, letter.key_bytes),
    ]
    if letter.reason in (RejectReason.NULL_KEY.value, RejectReason.KEY_MISMATCH.value):
        head.append(f"          {'^' * max(1, len(fault_location.plain(letter.key)))}")
    if not letter.payload:
        return [*head, f"payload   {'none' if letter.payload is None else 'empty'}"]
    fault = fault_location.locate(letter.reason, letter.field, letter.detail, letter.payload)
    body = fault_location.lines(letter.payload, fault, width)
    size = f"{len(letter.payload):,} bytes{_of(letter.payload, letter.payload_bytes)}"
    return [*head, f"payload   {size}", *body]


def _of(kept: bytes | None, whole: int | None) -> str:
    """Say what was cut, if anything was."""
    return f" (the first {len(kept or b''):,} of {whole:,} bytes were kept)" if whole else ""


def _counts(conn: Connection, chosen: Filter, args: argparse.Namespace, _: Settings) -> int:
    found = dead_letters.counts(conn, chosen)
    if args.json:
        for count in found:
            say(msgspec.json.encode(count).decode())
        return ExitCode.OK
    rows = [[c.topic, c.reason, f"{c.messages:,}", f"{c.waiting:,}",
             f"{c.newest:%Y-%m-%d %H:%M:%S}"] for c in found]  # fmt: skip
    _print_table(["topic", "reason", "messages", "not replayed", "newest (UTC)"], rows)
    if not rows:
        _say("no dead letters")
    return ExitCode.OK


def reasons() -> str:
    """Return the reasons and their meanings as a Markdown table."""
    rows = [f"| `{r.value}` | {words} |" for r, words in dead_letters.meanings().items()]
    return "\n".join(["| reason | meaning |", "|---|---|", *rows])


# -- replay ----------------------------------------------------------------------------------


def _replay(conn: Connection, chosen: Filter, args: argparse.Namespace, settings: Settings) -> int:
    edit = Edit(
        fix=load_fixer(args.fix) if args.fix else None,
        values=dict(map(_assignment, args.set)),
        drop=tuple(args.drop),
        key_from_field=args.key_from_field,
    )
    replay = Replay(conn, chosen, edit, limit=args.limit)
    if args.dry_run:
        results: Iterable[ReplayResult] = replay.dry_run()
    else:
        announce.servers_in_production(settings, "postgres", "kafka")
        stop = command.stop_on_signals()
        kafka.wait_until_up(settings.kafka)
        results = replay.run(settings.kafka, stop)
    done: Counter[str] = Counter()
    shown: Counter[str] = Counter()
    for result in results:
        done[result.done] += 1
        if args.json:
            say(_result_json(result))
        elif _worth_showing(result, dry=args.dry_run) and shown[result.done] < FIRST_RESULTS:
            shown[result.done] += 1
            say(_result_line(result))
    return _sum_up(done)


def _assignment(text: str) -> tuple[str, Any]:
    """Read FIELD=JSON.

    >>> _assignment('scenario="black_friday"'), _assignment("quantity=2")
    (('scenario', 'black_friday'), ('quantity', 2))
    """
    name, _, value = text.partition("=")
    try:
        decoded = msgspec.json.decode(value)
    except msgspec.DecodeError:
        name = ""
    if not name:
        raise UsageError(
            f"--set {text!r}: expected FIELD=JSON, such as quantity=2 or 'status=\"PAID\"'"
        )
    return name, decoded


def _worth_showing(result: ReplayResult, *, dry: bool) -> bool:
    return dry or result.done not in (PUBLISHED, LEFT_ALONE)


def _result_line(result: ReplayResult) -> str:
    why = f": {escape(result.why)}" if result.why else ""
    payload = result.mended.payload if result.done == WOULD_PUBLISH and result.mended else None
    shown = f"  key {fault_location.plain(result.mended.key)} {fault_location.plain(payload, 160)}" \
        if payload and result.mended else ""  # fmt: skip
    return f"{result.letter.where}  {result.done}{why}{shown}"


def _result_json(result: ReplayResult) -> str:
    topic, partition, offset, log_id = result.letter.place
    record = {"topic": topic, "partition": partition, "offset": offset, "log_id": log_id,
              "done": result.done, "why": result.why}  # fmt: skip
    if result.mended is not None:
        record["key"], _ = _text_or_base64(result.mended.key)
        record["payload"], _ = _text_or_base64(result.mended.payload)
    return json.dumps(record, ensure_ascii=False)


def _sum_up(done: Counter[str]) -> int:
    if not done:
        _say("nothing to replay")
        return ExitCode.OK
    _say(", ".join(f"{n:,} {what}" for what, n in done.items()))
    good = {PUBLISHED, WOULD_PUBLISH, LEFT_ALONE}
    return ExitCode.OK if done.keys() <= good else ExitCode.FAILED


# -- purge -----------------------------------------------------------------------------------


def _purge(conn: Connection, chosen: Filter, args: argparse.Namespace, _: Settings) -> int:
    if args.yes:
        removed = dead_letters.purge(conn, chosen, limit=args.limit)
    else:
        expected = dead_letters.matching(conn, chosen)
        conn.commit()  # nobody waits for us while a person thinks
        expected = expected if args.limit is None else min(expected, args.limit)
        if expected == 0:
            _say("nothing to purge")
            return ExitCode.OK
        _say(f"{expected} dead letters would be removed for good; type {expected} to do it:")
        if sys.stdin.readline().strip() != str(expected):
            _say("nothing was removed")
            return ExitCode.FAILED
        removed = dead_letters.purge(conn, chosen, limit=args.limit, expected=expected)
    _say(f"{removed:,} dead letters removed")
    return ExitCode.OK


# -- output ----------------------------------------------------------------------------------


def _say(line: str) -> None:
    say(f"jangteo dlq: {line}", to=sys.stderr)


def _width() -> int:
    return max(40, shutil.get_terminal_size((100, 24)).columns - 1)


def _print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: fitted to a terminal, or whole and in plain columns."""
    if not rows:
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in header:
        # Only the last one gives way; `show` has the whole of it.
        table.add_column(name, no_wrap=name != header[-1])
    for row in rows:
        table.add_row(*(Text(cell, no_wrap=True, overflow="ellipsis") for cell in row))
    if sys.stdout.isatty():
        Console(highlight=False).print(table)
        return
    console = Console(width=100_000, color_system=None)
    with console.capture() as captured:
        console.print(table)
    say("\n".join(line.rstrip() for line in captured.get().splitlines()))


if __name__ == "__main__":
    sys.exit(
        command.main(
            configure, run, prog="python -m flows.deadletters.command", description=__doc__
        )
    )
