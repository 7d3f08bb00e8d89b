"""The `jangteo` command: finds the module of a command, imports only that one, and calls it."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from shop.errors import ExitCode
from shop.output import guarded, say


@dataclass(frozen=True)
class Command:
    """A command: one line that says what it does, and its module, or the commands below it."""

    module: str
    help: str
    commands: Mapping[str, Command] = field(default_factory=dict)


GENERATE: Final[Mapping[str, Command]] = {
    "users": Command("generators.users", "sign-ups to the topic users"),
    "products": Command("generators.products", "new products to the topic products"),
    "orders": Command("generators.orders", "orders of cached customers to the topic orders"),
    "continue": Command("generators.continuation", "what comes after a finished backfill"),
    "cache": Command("generators.cache.worker", "PostgreSQL to the Redis cache"),
    "profiles": Command("generators.profiles", "customers and products that the topics lack"),
}
COMMANDS: Final[Mapping[str, Command]] = {
    "up": Command("jangteo.stack.up", "run the whole shop; Ctrl-C stops it"),
    "console": Command("console.cli", "watch and steer the shop from a terminal or a browser"),
    "do": Command(
        "console.actions.do", "steer the shop: pause, rate, refresh, grade, replay, restart"
    ),
    "monitor": Command("jangteo.cli.monitor", "the cache of the running shop, one line a second"),
    "doctor": Command("jangteo.cli.doctor", "what is there, what is wrong, what to do"),
    "servers": Command("jangteo.cli.servers", "prepare what the embedded servers need, once"),
    "topics": Command(
        "jangteo.cli.topics.command",
        "the Kafka topics: list, create, describe with lag, tail, produce",
    ),
    "psql": Command("jangteo.cli.psql", "psql on the shop's database; arguments are psql's"),
    "env": Command("jangteo.cli.env", "print `export` lines with which other tools reach the shop"),
    "init": Command("jangteo.cli.init", "bring schema and topics up to date"),
    "seed": Command("generators.seed", "put a start population into PostgreSQL and the topics"),
    "backfill": Command("generators.backfill", "write a history: a year of the shop in minutes"),
    "generate": Command(
        "", "publish events: users, products, orders; or refresh the cache", GENERATE
    ),
    "scenario": Command(
        "generators.scenarios.command", "scenarios: list, start, stop, what runs now"
    ),
    "faults": Command("generators.faults.command", "faults on purpose: compare ledger and shop"),
    "explain": Command("generators.explain", "why a customer buys: the score, term by term"),
    "ingest": Command("jangteo.cli.ingest", "Kafka to PostgreSQL; arguments are bytewax.run's"),
    "dlq": Command(
        "flows.deadletters.command", "dead letters: list, show, replay, purge, counts, reasons"
    ),
    "windows": Command(
        "jangteo.cli.windows", "the spend windows: show their length, or rebuild them"
    ),
    "grade": Command("grading.updater", "grade customers by six months of paid spend"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; return the exit code."""
    return guarded("jangteo", lambda: _main(argv))


def _main(argv: Sequence[str] | None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["--version"]:
        from importlib.metadata import version  # noqa: PLC0415  (15 ms that no command needs)

        say(f"jangteo {version('jangteo')}")
        return ExitCode.OK
    return _dispatch("jangteo", COMMANDS, words)


def _dispatch(prog: str, table: Mapping[str, Command], words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        say(_overview(prog, table))
        return ExitCode.OK
    name, *rest = words
    if name not in table:
        say(_unknown(prog, table, name), to=sys.stderr)
        return ExitCode.USAGE
    chosen = table[name]
    if chosen.commands:
        return _dispatch(f"{prog} {name}", chosen.commands, rest)
    from shop import command  # noqa: PLC0415  (what follows may be slow to import, --help is not)

    module = command.load(chosen.module)
    return command.main(
        module.configure,
        module.run,
        prog=f"{prog} {name}",
        description=module.__doc__,
        argv=rest,
    )


def _overview(prog: str, table: Mapping[str, Command]) -> str:
    width = max(map(len, table))
    lines = [f"  {name:<{width}}  {entry.help}" for name, entry in table.items()]
    return "\n".join(
        [
            f"usage: {prog} COMMAND [OPTION ...]",
            "",
            *(
                ["Jangteo: a living Korean online shop for data engineers.", ""]
                * (table is COMMANDS)
            ),
            *lines,
            "",
            f"{prog} COMMAND --help says more.",
        ]
    )


def _unknown(prog: str, table: Mapping[str, Command], name: str) -> str:
    kind = "option" if name.startswith("-") else "command"
    close = difflib.get_close_matches(name, table, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"see {prog} --help"
    return f"{prog}: no {kind} {name!r}; {hint}"


if __name__ == "__main__":
    sys.exit(main())
