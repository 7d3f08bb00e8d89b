"""Commands with actions: each action has options of its own, wherever they are typed."""

from __future__ import annotations

import importlib

import pytest

from jangteo.cli.main import COMMANDS
from shop import command
from shop.errors import ExitCode

WITH_ACTIONS = ("topics", "scenario", "faults", "dlq", "windows", "partitions")


def parser(name: str) -> command.Parser:
    made = command.Parser(prog=f"jangteo {name}")
    importlib.import_module(COMMANDS[name].module).configure(made)
    return made


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("dlq list --json", {"json": True}),
        ("dlq --json list", {"json": True}),
        ("dlq --data-dir d --reason empty list --limit 3", {"reason": ["empty"], "limit": 3}),
        ("dlq --json show orders 3 17", {"json": True, "place": ["orders", "3", "17"]}),
        ("dlq show orders --json 3 17", {"json": True, "place": ["orders", "3", "17"]}),
        ("topics describe --json orders users", {"topics": ["orders", "users"]}),
        ("topics --key 7 tail --from -5 orders", {"key": "7", "begin": "-5", "topic": "orders"}),
        ("topics tail --key=list orders --no-follow", {"key": "list", "follow": False}),
        ("topics produce orders", {"source": "-"}),
        ("topics produce --anyway orders - --key 7", {"source": "-", "key": "7"}),
        ("scenario --duration 30m start flash_sale", {"duration": 1800.0, "intensity": 1.0}),
        ("faults --wait 3 reconcile", {"wait": 3.0}),
        ("windows rebuild", {"action": "rebuild"}),
    ],
)
def test_options_may_be_given_anywhere(line: str, values: dict[str, object]) -> None:
    name, *words = line.split()
    found = vars(parser(name).parse(words))
    assert found["action"] in words
    assert {key: found[key] for key in values} == values


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("dlq", "dlq: the following arguments are required: ACTION (see jangteo dlq --help)"),
        ("dlq lst", "dlq: argument ACTION: invalid choice: 'lst'"),
        ("dlq --reason empty lst", "dlq: argument ACTION: invalid choice: 'lst'"),
        ("dlq show", "dlq show: the following arguments are required: PLACE"),
        ("dlq list --yes", "dlq list: unrecognized arguments: --yes (see jangteo dlq list --help)"),
        ("dlq --yes list", "dlq list: unrecognized arguments: --yes"),
        ("dlq purge --fix a:b", "dlq purge: unrecognized arguments: --fix"),
        ("dlq counts orders", "dlq counts: unrecognized arguments: orders"),
        ("topics tail", "topics tail: the following arguments are required: TOPIC"),
        ("topics tail orders --anyway", "topics tail: unrecognized arguments: --anyway"),
        ("topics list --key 1", "topics list: unrecognized arguments: --key"),
        ("scenario start", "scenario start: the following arguments are required: NAME"),
        ("scenario start nothing", "scenario start: argument NAME: invalid choice: 'nothing'"),
        ("scenario stop flash_sale --intensity 2", "stop: unrecognized arguments: --intensity"),
        ("scenario status flash_sale", "scenario status: unrecognized arguments: flash_sale"),
    ],
)
def test_what_does_not_belong_to_the_action_is_one_line(
    line: str, error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *words = line.split()
    with pytest.raises(SystemExit) as caught:
        parser(name).parse(words)
    assert caught.value.code == ExitCode.USAGE
    printed = capsys.readouterr().err
    assert error in printed
    assert printed.count("\n") == 1


@pytest.mark.parametrize("name", WITH_ACTIONS)
def test_help_of_an_action_shows_its_options_only(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = parser(name)
    for word, action in made.actions.items():
        others = {o for a in made.actions.values() for o in a.options()} - action.options().keys()
        with pytest.raises(SystemExit):
            made.parse([word, "--help"])
        shown = capsys.readouterr().out
        assert shown.startswith(f"usage: jangteo {name} {word} ")
        assert all(option in shown for option in action.options())
        assert not {w.strip("[],") for w in shown.split()} & others
