"""List, show, replay and purge dead letters: messages that the ingest rejected, as received."""

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

from flows.deadletters import fault_lines
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
from shop.events import CONTRACTS, RejectReason
from shop.messages import fault_location
from shop.output import escape, say
from shop.postgres import Connection, dead_letters
from shop.postgres.dead_letters import DeadLetter, Filter
from shop.retry import first_line
from shop.settings import Settings, announce

LISTED: Final = 50
FIRST_RESULTS: Final = 5
_REASONS: Final = tuple(reason.value for reason in RejectReason)


def configure(parser: command.Parser) -> None:
    """Add the options of `jangteo dlq`."""
    list_ = parser.add_action(
        "list", "list dead letters, the newest first",
        example="jangteo dlq list --reason bad_json --since 2h",
    )  # fmt: skip
    show = parser.add_action(
        "show", "show one dead letter with a caret under the fault",
        example="jangteo dlq show 'orders[3]@17'",
    )  # fmt: skip
    replay = parser.add_action(
        "replay", "publish dead letters again, repaired or as they are",
        example="jangteo dlq replay --reason null_key --key-from-field --dry-run",
    )  # fmt: skip
    purge = parser.add_action(
        "purge", "remove dead letters for good, after asking for their number",
        example="jangteo dlq purge --replayed",
    )  # fmt: skip
    counts = parser.add_action("counts", "count dead letters by topic and reason")
    parser.add_action("reasons", "print what each reason means, as a Markdown table")
    for action in (list_, replay, purge):
        _add_place(action, nargs="*")
    _add_place(show, nargs="+")
    for action in (list_, show, replay, purge, counts):
        _add_filters(action)
    for action in (list_, replay, purge):
        action.add_argument(
            "--limit", type=command.count, metavar="N",
            help=f"stop after N dead letters{f' (default {LISTED})' * (action is list_)}",
        )  # fmt: skip
    for action in (list_, show, replay, counts):
        action.add_argument("--json", action="store_true", help="print one JSON object per line")
    add = replay.add_argument_group("repairs").add_argument
    add("--set", action="append", default=[], metavar="FIELD=JSON",
        help="set a field of the payload, such as quantity=2; may be repeated")  # fmt: skip
    add("--drop", action="append", default=[], metavar="FIELD",
        help="remove a field of the payload; may be repeated")  # fmt: skip
    add("--key-from-field", action="store_true", help="make the key from the payload's id")
    add("--fix", metavar="MODULE:FUNCTION",
        help="call FUNCTION(payload, row), which returns the new payload, or None")  # fmt: skip
    replay.add_argument(
        "--dry-run", action="store_true", help="show the result without publishing it"
    )
    replay.add_argument("--again", action="store_true", help="include those replayed before")
    purge.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    purge.add_argument(
        "--yes-production", action="store_true", help="allow it with DB_TYPE=production"
    )


def _add_place(action: command.Parser, nargs: str) -> None:
    action.add_argument(
        "place", nargs=nargs, metavar="PLACE",
        help="place of a message: TOPIC PARTITION OFFSET, or 'orders[3]@17' as `list` prints it",
    )  # fmt: skip


def _add_filters(action: command.Parser) -> None:
    add = action.add_argument_group("filters").add_argument
    add("--reason", action="append", default=[], choices=_REASONS, metavar="REASON",
        help="take only those with this reason (see `reasons`); may be repeated")  # fmt: skip
    add("--topic", action="append", default=[], choices=tuple(CONTRACTS), metavar="TOPIC",
        help=f"take only those of this topic ({', '.join(CONTRACTS)}); repeatable")  # fmt: skip
    add("--since", metavar="TIME",
        help="take only those rejected since TIME: 2026-03-04T05:06:07Z, or 2h (ago)")  # fmt: skip
    add("--until", metavar="TIME", help="take only those rejected before TIME")
    add("--replayed", action="store_true", default=None, help="take only those replayed")
    add("--not-replayed", dest="replayed", action="store_false",
        help="take only those not replayed")  # fmt: skip
    add("--log-id", metavar="ID", help="take only those of this incarnation of a recreated topic")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Run the action."""
    if args.action == "reasons":
        say(reasons())
        return ExitCode.OK
    chosen = chosen_by(args)
    if args.action == "purge":
        settings.refuse_in_production(
            "purge dead letters", "--yes-production", allowed=args.yes_production
        )
        announce.servers_in_production(settings, "postgres")
    actions = {"list": _list, "show": _show, "replay": _replay, "purge": _purge, "counts": _counts}
    try:
        with postgres.connection(settings.postgres, "dlq") as conn:
            return actions[args.action](conn, chosen, args, settings)
    except psycopg.Error as e:
        raise client_errors.kind(e)(f"{settings.postgres.where}: {first_line(e)}") from None


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
            raise UsageError(
                "--replayed: those have been published again already; add --again to repeat it"
            )
        chosen = replace(chosen, replayed=False)
    place = getattr(args, "place", None)
    return replace(chosen, **place_in(place)) if place else chosen


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
         fault_lines.plain(letter.key, 20), escape(letter.detail)]
        for letter in found
    ]  # fmt: skip
    _print_table(["place", "rejected (UTC)", "reason", "field", "replayed", "key", "detail"], rows)
    if len(rows) == limit and (all_ := dead_letters.matching(conn, chosen)) > limit:
        _say(f"{all_ - limit:,} more; --limit N shows them")
    if not rows:
        _say("no dead letters")
    return ExitCode.OK


def as_json(letter: DeadLetter) -> str:
    """Return a dead letter on one line; bytes that are not UTF-8 as base64."""
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
    for letter in letters:  # several if the topic was recreated: each has its log id
        if args.json:
            say(as_json(letter))
        else:
            say("\n".join(format_letter(letter, _width())))
    return ExitCode.OK


def format_letter(letter: DeadLetter, width: int) -> list[str]:
    """Return a dead letter with its bytes and a caret under the fault."""
    replayed = f"{letter.replayed_at:%Y-%m-%d %H:%M:%S} UTC" if letter.replayed_at else "no"
    head = [
        f"{letter.where}  log {letter.log_id}",
        f"rejected  {letter.rejected_at:%Y-%m-%d %H:%M:%S} UTC, replayed: {replayed}",
        f"reason    {letter.reason}" + (f", field {letter.field}" if letter.field else ""),
        f"detail    {escape(letter.detail)}",
        f"key       {fault_lines.plain(letter.key)}" + _of(letter.key, letter.key_bytes),
    ]
    if letter.reason in (RejectReason.NULL_KEY.value, RejectReason.KEY_MISMATCH.value):
        head.append(f"          {'^' * max(1, len(fault_lines.plain(letter.key)))}")
    if not letter.payload:
        return [*head, f"payload   {'none' if letter.payload is None else 'empty'}"]
    fault = fault_location.locate(letter.reason, letter.field, letter.detail, letter.payload)
    body = fault_lines.lines(letter.payload, fault, width)
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
    rows = [f"| `{reason.value}` | {reason.meaning} |" for reason in RejectReason]
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
    shown = ""
    if result.done == WOULD_PUBLISH and result.repaired and result.repaired.payload:
        plain = fault_lines.plain
        shown = f"  key {plain(result.repaired.key)} {plain(result.repaired.payload, 160)}"
    return f"{result.letter.where}  {result.done}{why}{shown}"


def _result_json(result: ReplayResult) -> str:
    topic, partition, offset, log_id = result.letter.place
    record = {"topic": topic, "partition": partition, "offset": offset, "log_id": log_id,
              "done": result.done, "why": result.why}  # fmt: skip
    if result.repaired is not None:
        record["key"], _ = _text_or_base64(result.repaired.key)
        record["payload"], _ = _text_or_base64(result.repaired.payload)
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
