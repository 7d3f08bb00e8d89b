"""List, create and describe the Kafka topics; show and publish messages."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

import msgspec
from confluent_kafka import KafkaException

from jangteo.cli.topics import loss, produce, tail
from shop import command, kafka
from shop.errors import ExitCode, JangteoError, UnreachableError, UsageError
from shop.events import CONTRACTS, GROUPS, TOPICS
from shop.kafka.progress import PartitionProgress, ProgressReport, TopicProgress
from shop.log import get_logger
from shop.output import say
from shop.settings import KafkaSettings, Settings

_UNKNOWN: Final = "unknown"


def configure(parser: command.Parser) -> None:
    """Add the options of `jangteo topics`."""
    list_ = parser.add_action("list", "list the topics: partitions, replicas, incarnation")
    create = parser.add_action("create", "create the topics that are missing")
    describe = parser.add_action(
        "describe", "show each partition's offsets and lag, and the members of the consumer group",
        example="jangteo topics describe orders",
    )  # fmt: skip
    tail.configure(parser)
    produce.configure(parser)
    accept = parser.add_action(
        "accept-loss",
        "show messages that Kafka removed before they were read; --yes lets the ingest skip them",
    )
    for action in (list_, create, describe, accept):
        there = f" of {', '.join(TOPICS)}" if action is create else " that there are"
        action.add_argument(
            "topics", nargs="*", metavar="TOPIC",
            help=f"take only these topics: {', '.join(CONTRACTS)} (default: all{there})",
        )  # fmt: skip
    for action in (list_, describe):
        action.add_argument("--json", action="store_true", help="print one JSON array")
    accept.add_argument("--yes", action="store_true", help="let the ingest skip the lost messages")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Run the action."""
    if args.action == "tail":
        return tail.run(args, settings)
    if args.action == "produce":
        _checked([args.topic])
        return produce.run(args, settings)
    names = _checked(args.topics)
    brokers = settings.kafka
    if args.action == "create":
        from jangteo.cli.init import init_topics  # noqa: PLC0415  (psycopg: 0.1 s of CPU)

        say(init_topics(brokers, names or tuple(TOPICS)))
        return ExitCode.OK
    kafka.wait_until_up(brokers)
    try:
        if args.action == "accept-loss":
            return _accept_loss(settings, names, yes=args.yes)
        if args.action == "list":
            return _list(brokers, names, as_json=args.json)
        return _describe(settings, names, as_json=args.json)
    except KafkaException as e:
        raise JangteoError(f"{brokers.where}: {e.args[0].str()}") from None


def _checked(names: Sequence[str]) -> tuple[str, ...]:
    for name in names:
        if name not in CONTRACTS:
            close = difflib.get_close_matches(name, CONTRACTS, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(CONTRACTS)}"
            raise UsageError(f"no topic {name!r}; {hint}")
    return tuple(dict.fromkeys(names))


def _list(settings: KafkaSettings, names: Sequence[str], *, as_json: bool) -> int:
    found = kafka.describe_topics(kafka.admin(settings), names or tuple(CONTRACTS))
    if as_json:
        say(msgspec.json.encode(list(found.values())).decode())
    else:
        rows = [[n, str(t.partitions), str(t.replication), t.log_id] for n, t in found.items()]
        say(table(["topic", "partitions", "replication", "log id"], rows))
    return _missing([n for n in names or TOPICS if n not in found])


def _describe(settings: Settings, names: Sequence[str], *, as_json: bool) -> int:
    look = describe(settings, names)
    if look.away:
        get_logger().warning("what PostgreSQL applied is unknown", reason=look.away)
    if as_json:
        described = [as_builtins(t, look) for t in look.topics.values()]
        say(msgspec.json.encode(described).decode())
    else:
        say("\n\n".join(format_topic(t, look) for t in look.topics.values()))
    return _missing([n for n in names or TOPICS if n not in look.topics])


def _accept_loss(settings: Settings, names: Sequence[str], *, yes: bool) -> int:
    look = describe(settings, names)
    if look.away:
        raise UnreachableError(look.away)
    found = loss.find(look)
    if not found:
        say("nothing is lost: the log holds every offset that is still to be read")
        return ExitCode.OK
    if not yes:
        say("\n".join(x.describe() for x in found))
        say("nothing was changed; add --yes to continue without the lost messages", to=sys.stderr)
        return ExitCode.FAILED
    from shop import postgres  # noqa: PLC0415  (psycopg: 0.1 s of CPU)

    with postgres.connection(settings.postgres, "topics") as conn:
        done = loss.accept(conn, found)
    for one in done:
        get_logger().warning(
            "loss accepted", topic=one.topic, partition=one.partition, log_id=one.log_id,
            was=one.applied, now=one.resume, offsets=one.offsets,
        )  # fmt: skip
    lost = sum(x.offsets for x in done)
    say(f"{len(done)} partitions continue, {lost} offsets skipped; start the ingest again")
    return ExitCode.OK


def _missing(names: Sequence[str]) -> int:
    for name in names:
        say(f"no topic {name}: `jangteo topics create` creates it", to=sys.stderr)
    return ExitCode.FAILED if names else ExitCode.OK


def describe(settings: Settings, names: Sequence[str] = ()) -> ProgressReport:
    """Look at those of the topics that exist, of all if none are named.

    Raises:
        KafkaException: if the cluster does not answer.
    """
    # 0.2 s of CPU for psycopg and redis, which only this action needs.
    from shop.ingest_progress import ProgressReader  # noqa: PLC0415  (see above)

    progress = ProgressReader(settings, "topics")
    try:
        return progress.look(names or tuple(CONTRACTS))
    finally:
        progress.close()


def as_builtins(topic: TopicProgress, look: ProgressReport) -> dict[str, Any]:
    """Return a topic for --json; `lag` is to Kafka's commit, `pending` to PostgreSQL's offset."""
    return {
        "topic": topic.name,
        "partitions": [
            {**asdict(p), "lag": _lag(p), "pending": p.pending} for p in topic.partitions
        ],
        "replication": topic.info.replication,
        "log_id": topic.info.log_id,
        "group": GROUPS[topic.name],
        "members": None if topic.members is None else [asdict(m) for m in topic.members],
        "troubles": [str(line) for line in look.troubles().get(topic.name, ())],
    }


def _lag(p: PartitionProgress) -> int | None:
    return None if p.committed is None else max(0, p.end - p.committed)


def format_topic(topic: TopicProgress, look: ProgressReport) -> str:
    """Return a topic as text: heading, table of partitions, members of the group, problems."""
    rows = [
        [
            str(p.partition),
            *map(_known, (p.begin, p.end, p.committed, _lag(p), p.applied, p.pending)),
            f"{p.waits_s:.0f} s",
            {"none": "nobody"}.get(p.holder, p.holder),
        ]
        for p in topic.partitions
    ]
    lags = [_sum([f(p) for p in topic.partitions]) for f in (_lag, lambda p: p.pending)]
    rows.append(["sum", "", "", "", _known(lags[0]), "", _known(lags[1]), "", ""])
    header = [
        "partition",
        "begin",
        "end",
        "committed",
        "lag",
        "applied",
        "pending",
        "waits",
        "held",
    ]
    heading = (
        f"{topic.name}: {len(topic.partitions)} partitions, "
        f"replication {topic.info.replication}, group {GROUPS[topic.name]}, "
        f"log {topic.info.log_id}"
    )
    wrong = [f"!! {line}" for line in look.troubles().get(topic.name, ())]
    return "\n".join([heading, table(header, rows), *_format_members(topic), *wrong])


def _format_members(topic: TopicProgress) -> list[str]:
    if topic.members is None:
        return [f"members: {_UNKNOWN} ({topic.error or 'the cluster does not say'})"]
    if not topic.members:
        return ["members: none; nothing consumes this topic"]
    return [
        f"member {m.client_id} at {m.host}: partitions {', '.join(map(str, m.partitions)) or '-'}"
        for m in topic.members
    ]


def _known(number: int | None) -> str:
    return _UNKNOWN if number is None else f"{number:,}"


def _sum(numbers: Sequence[int | None]) -> int | None:
    """Add up what is known; None if nothing is.

    >>> _sum([1, None]), _sum([None])
    (1, None)
    """
    known = [n for n in numbers if n is not None]
    return sum(known) if known else None


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay text out in columns, the first to the left and the others to the right.

    >>> print(table(["a", "bb"], [["x", "1"]]))
    a  bb
    x   1
    """
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (header, *rows)
    )


if __name__ == "__main__":
    sys.exit(
        command.main(
            configure, run, prog="python -m jangteo.cli.topics.command", description=__doc__
        )
    )
