"""The `jangteo` command: finds the module of a command, imports only that one, and calls it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from shop.errors import ExitCode
from shop.output import guarded, say


class Command(NamedTuple):  # a dataclass would import `inspect`: half of the time of --help
    """A command: its module, one line on what it does, or the commands below it."""

    module: str
    help: str
    commands: Mapping[str, Command] = MappingProxyType({})


GENERATE: Final[Mapping[str, Command]] = {
    "users": Command("generators.users", "publish sign-ups to the topic users"),
    "products": Command("generators.products", "publish new products to the topic products"),
    "orders": Command(
        "generators.orders", "publish orders of cached customers to the topic orders"
    ),
    "continue": Command("generators.continuation", "resume a finished backfill in real time"),
    "cache": Command("generators.cache.worker", "refresh the Redis cache from PostgreSQL"),
    "optional": Command("generators.optional", "publish optional topics, such as shipments"),
    "profiles": Command(
        "generators.profiles", "publish the customers and products that the topics lack"
    ),
}
COMMANDS: Final[Mapping[str, Command]] = {
    "up": Command("jangteo.stack.up", "run the whole shop; Ctrl-C stops it"),
    "console": Command("console.cli", "watch and steer the shop from a terminal or a browser"),
    "do": Command(
        "console.actions.do", "steer the shop: pause, rate, refresh, grade, replay, restart"
    ),
    "monitor": Command("jangteo.cli.monitor", "print the state of the cache, one line per second"),
    "doctor": Command(
        "jangteo.cli.doctor", "check the installation and the running shop, and name what to fix"
    ),
    "servers": Command("jangteo.cli.servers", "fetch and prepare the embedded servers, once"),
    "topics": Command(
        "jangteo.cli.topics.command",
        "list, create, describe and tail the Kafka topics, or produce to them",
    ),
    "psql": Command("jangteo.cli.psql", "open psql on the shop's database"),
    "env": Command("jangteo.cli.env", "print the settings with which other tools reach the shop"),
    "tour": Command("jangteo.cli.tour", "show the running shop in five minutes"),
    "reset": Command("jangteo.cli.reset", "empty the shop: the next start begins with a new one"),
    "uninstall": Command(
        "jangteo.cli.uninstall", "show what is stored where on this machine, or remove it"
    ),
    "init": Command("jangteo.cli.init", "bring the database schema and the topics up to date"),
    "seed": Command("generators.seed", "create a start population of customers and products"),
    "backfill": Command("generators.backfill", "write a history of the shop: a year in minutes"),
    "generate": Command("", "publish users, products or orders, or refresh the cache", GENERATE),
    "scenario": Command("generators.scenarios.command", "list, start and stop scenarios"),
    "faults": Command(
        "generators.faults.command", "compare the published faults with the rejected messages"
    ),
    "explain": Command(
        "generators.explain", "explain why a customer buys: the score, term by term"
    ),
    "ingest": Command("jangteo.cli.ingest", "run the ingest from Kafka to PostgreSQL"),
    "dlq": Command("flows.deadletters.command", "list, show, replay and purge dead letters"),
    "windows": Command(
        "jangteo.cli.windows", "show the length of the spend windows, or rebuild them"
    ),
    "partitions": Command(
        "jangteo.cli.partitions", "list, detach, attach and drop months of a partitioned database"
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
            f"Run {prog} COMMAND --help for the options of a command.",
        ]
    )


def _unknown(prog: str, table: Mapping[str, Command], name: str) -> str:
    kind = "option" if name.startswith("-") else "command"
    import difflib  # noqa: PLC0415  (only a typing error needs it)

    close = difflib.get_close_matches(name, table, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"see {prog} --help"
    return f"{prog}: no {kind} {name!r}; {hint}"


if __name__ == "__main__":
    sys.exit(main())
