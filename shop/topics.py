"""The Kafka topics: list, create or describe them with lag; show messages; publish some."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

import msgspec
import psycopg
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec  # `admin` does not declare it

from shop import command, groups, kafka, ledger, postgres, topics_produce, topics_tail
from shop.errors import ExitCode, JangteoError, UsageError
from shop.groups import GroupLag, Member
from shop.init import init_topics
from shop.kafka import REQUEST_TIMEOUT_S
from shop.log import get_logger
from shop.model import GROUPS, TOPICS
from shop.outage import first_line
from shop.say import say
from shop.settings import KafkaSettings, Settings

_UNKNOWN: Final = "unknown"


@dataclass(frozen=True)
class Partition:
    """One partition; offsets, and messages. None where nothing is known.

    Attributes:
        partition: its number.
        begin: offset of the oldest message kept.
        end: offset after the newest message.
        committed: the group's commit in Kafka, written after the PostgreSQL commit.
        lag: end - committed.
        applied: what PostgreSQL's `ingest_offsets` says was applied, which is the truth.
        pending: end - applied.
    """

    partition: int
    begin: int | None
    end: int
    committed: int | None
    lag: int | None
    applied: int | None
    pending: int | None


@dataclass(frozen=True)
class Description:
    """One topic and its consumer group; `members` is None where the cluster does not say."""

    topic: str
    partitions: tuple[Partition, ...]
    replication: int
    log_id: str
    group: str
    members: tuple[Member, ...] | None


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `jangteo topics`."""
    parser.add_argument("action", choices=("list", "create", "describe", "tail", "produce"))
    parser.add_argument("topics", nargs="*", metavar="TOPIC", help=f"of {', '.join(TOPICS)}")
    parser.add_argument("--json", action="store_true", help="as JSON on stdout")
    parser.add_argument("--key", metavar="K", help="tail: only this key; produce: instead of ours")
    topics_tail.configure(parser)
    topics_produce.configure(parser)


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Do one of them."""
    _refuse_others(args)
    if args.action == "tail":
        return topics_tail.run(args, settings, _one(args.topics))
    if args.action == "produce":
        topic, source = args.topics if len(args.topics) == 2 else (_one(args.topics), "-")
        (topic,) = _checked([topic])
        return topics_produce.run(args, settings, topic, source)
    names = _checked(args.topics)
    brokers = settings.kafka
    if args.action == "create":
        say(init_topics(brokers, names))
        return ExitCode.OK
    kafka.wait_until_up(brokers)
    try:
        if args.action == "list":
            return _list(brokers, names, as_json=args.json)
        return _describe(settings, names, as_json=args.json)
    except KafkaException as e:
        raise JangteoError(f"{brokers.where}: {e.args[0].str()}") from None


_TAIL: Final = ("begin", "partition", "where", "limit", "follow", "key")
_PRODUCE: Final = ("anyway", "yes_production", "key")
_OPTIONS: Final = {"begin": "--from"}


def _refuse_others(args: argparse.Namespace) -> None:
    """Refuse an option that does not go with the action."""
    own = {"tail": _TAIL, "produce": _PRODUCE}.get(args.action, ())
    for name in {*_TAIL, *_PRODUCE}.difference(own):
        if getattr(args, name) not in (None, False) or (name == "follow" and args.follow is False):
            option = _OPTIONS.get(name, f"--{name.replace('_', '-')}")
            raise UsageError(f"{option} does not go with `topics {args.action}` (see --help)")


def _one(names: Sequence[str]) -> str:
    if len(names) != 1:
        raise UsageError("name one topic, for example orders")
    return names[0]


def _checked(names: Sequence[str]) -> tuple[str, ...]:
    for name in names:
        if name not in TOPICS:
            close = difflib.get_close_matches(name, TOPICS, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(TOPICS)}"
            raise UsageError(f"no topic {name!r}; {hint}")
    return tuple(dict.fromkeys(names)) or tuple(TOPICS)


def _list(settings: KafkaSettings, names: Sequence[str], *, as_json: bool) -> int:
    found = kafka.describe_topics(kafka.admin(settings), names)
    if as_json:
        say(msgspec.json.encode(list(found.values())).decode())
    else:
        rows = [[n, str(t.partitions), str(t.replication), t.log_id] for n, t in found.items()]
        say(table(["topic", "partitions", "replication", "log id"], rows))
    return _missing([n for n in names if n not in found])


def _describe(settings: Settings, names: Sequence[str], *, as_json: bool) -> int:
    described = describe(settings, names)
    if as_json:
        say(msgspec.json.encode([asdict(d) for d in described]).decode())
    else:
        say("\n\n".join(map(in_words, described)))
    known = {d.topic for d in described}
    return _missing([n for n in names if n not in known])


def _missing(names: Sequence[str]) -> int:
    for name in names:
        say(f"no topic {name}: `jangteo topics create` makes it", to=sys.stderr)
    return ExitCode.FAILED if names else ExitCode.OK


def describe(settings: Settings, names: Sequence[str] = tuple(TOPICS)) -> list[Description]:
    """Describe those of the topics that exist.

    PostgreSQL being away is logged, and leaves its columns unknown.

    Raises:
        KafkaException: if the cluster does not answer.
    """
    applied = _applied(settings)
    client = kafka.admin(settings.kafka)
    found = []
    for name, info in kafka.describe_topics(client, names).items():
        begins = _begins(client, info)
        book = applied.get((name, info.log_id), {})
        # Read last: nothing then seems applied that is not there yet.
        lags = groups.lag(settings.kafka, name, GROUPS[name])
        partitions = tuple(
            _partition(lag, begins.get(lag.partition), book.get(lag.partition)) for lag in lags
        )
        found.append(
            Description(
                topic=name,
                partitions=partitions,
                replication=info.replication,
                log_id=info.log_id,
                group=GROUPS[name],
                members=groups.members(client, GROUPS[name], name),
            )
        )
    return found


def _partition(lag: GroupLag, begin: int | None, entry: ledger.Entry | None) -> Partition:
    return Partition(
        partition=lag.partition,
        begin=begin,
        end=lag.end,
        committed=lag.committed,
        lag=lag.lag,
        applied=entry.next_offset if entry else None,
        pending=max(0, lag.end - entry.next_offset) if entry else None,
    )


def _applied(settings: Settings) -> ledger.Ledger:
    try:
        with postgres.connection(settings.postgres, "topics", autocommit=True) as conn:
            return ledger.read_ledger(conn)
    except (JangteoError, psycopg.Error) as e:
        get_logger().warning("what PostgreSQL applied is unknown", reason=first_line(e))
        return {}


def _begins(client: AdminClient, info: kafka.TopicInfo) -> Mapping[int, int]:
    earliest = OffsetSpec.earliest()  # type: ignore[no-untyped-call]  # confluent_kafka has no types there
    asked = {TopicPartition(info.name, p): earliest for p in range(info.partitions)}
    listed = client.list_offsets(asked, request_timeout=REQUEST_TIMEOUT_S)
    return {where.partition: future.result().offset for where, future in listed.items()}


def in_words(described: Description) -> str:
    """Return a topic as a heading, its partitions with a sum, and its group's members."""
    rows = [
        [
            str(p.partition),
            *map(_known, (p.begin, p.end, p.committed, p.lag, p.applied, p.pending)),
        ]
        for p in described.partitions
    ]
    sums = [_sum([getattr(p, name) for p in described.partitions]) for name in ("lag", "pending")]
    rows.append(["sum", "", "", "", _known(sums[0]), "", _known(sums[1])])
    header = ["partition", "begin", "end", "committed", "lag", "applied", "pending"]
    heading = (
        f"{described.topic}: {len(described.partitions)} partitions, "
        f"replication {described.replication}, group {described.group}, log {described.log_id}"
    )
    return "\n".join([heading, table(header, rows), *_members_in_words(described.members)])


def _members_in_words(members: Sequence[Member] | None) -> list[str]:
    if members is None:
        return [f"members: {_UNKNOWN} (the cluster does not say)"]
    if not members:
        return ["members: none; nothing consumes this topic"]
    return [
        f"member {m.client_id} at {m.host}: partitions {', '.join(map(str, m.partitions)) or '-'}"
        for m in members
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
    sys.exit(command.main(configure, run, prog="python -m shop.topics", description=__doc__))
