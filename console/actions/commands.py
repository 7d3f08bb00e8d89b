"""Actions that are commands of other rooms: run as processes, never imported here."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from console import translations as msg
from console.translations import Text, word
from shop.errors import DeadlineError, JangteoError

WOULD_PUBLISH: Final = "would be published"
"""The word of `dlq replay --dry-run` for messages that would be published again."""
_LONGEST_S: Final = 120.0
"""A command needs a second of CPU to start: on a busy machine `jangteo explain` took 21 s."""
_LOOK_S: Final = 0.2
"""How often a command that runs looks whether anyone still waits for it."""
Stop = Callable[[], bool]
"""Returns whether nobody waits any more."""


def _never() -> bool:
    return False


class ScenarioRow(msgspec.Struct, frozen=True):
    """One line of `jangteo scenario list`; `lasts` and `rate` as people read them."""

    scenario: str
    lasts: str
    rate: str
    title: str


def command_of(kind: str, arguments: Sequence[str]) -> list[str]:
    """Return the `jangteo` command that does an action.

    >>> command_of("dlq.replay", ("orders", "bad_json"))
    ['dlq', 'replay', '--topic', 'orders', '--reason', 'bad_json']
    >>> command_of("dlq.replay_one", ("orders/3/17", "quantity=2"))
    ['dlq', 'replay', 'orders', '3', '17', '--set=quantity=2']
    >>> command_of("scenario.start", ("flash_sale",))
    ['scenario', 'start', 'flash_sale']
    >>> command_of("scenario.start", ("flash_sale", "30m"))[-1]
    '--duration=30m'
    """
    if kind == "dlq.replay":
        options = zip(("--topic", "--reason"), arguments, strict=False)
        return ["dlq", "replay", *(w for pair in options for w in pair)]
    if kind == "dlq.replay_one":
        place, *fields = arguments
        return ["dlq", "replay", *place.split("/"), *(f"--set={f}" for f in fields)]
    name, *duration = arguments
    return ["scenario", kind.rpartition(".")[2], name, *(f"--duration={d}" for d in duration)]


def run(data_dir: Path, *words: str) -> Text:
    """Run a command for the stack of a data directory; return its result.

    Raises:
        UsageError: if this program has no such command.
        JangteoError: if it fails; the message is that line.
    """
    done = _run(data_dir, words)
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    text = said[-1] if said else f"exit {done.returncode}"
    if done.returncode:
        raise JangteoError.of(done.returncode, text)
    return result_of(text)


def result_of(line: str) -> Text:
    """Return the message of the last line that a command printed; the line itself if it is another.

    >>> from console.translations import render
    >>> render(result_of("jangteo dlq: 1,337 published, 3 still bad"), "ko")
    '재발행됨 1,337건, 여전히 오류 3건'
    >>> render(result_of("flash_sale runs until 2026-11-29 10:00:00 (Seoul)"), "ko")
    'flash_sale: 2026-11-29 10:00:00까지 실행 (서울)'
    >>> render(result_of("flash_sale stopped"), "ko"), result_of("something else")
    ('flash_sale 중지됨', 'something else')
    """
    line = line.removeprefix("jangteo dlq: ")
    if found := re.fullmatch(r"([\w-]+) runs until ([\d: -]+) \(Seoul\)", line):
        return msg.SCENARIO_RUNS(name=found[1], until=found[2])
    if found := re.fullmatch(r"([\w-]+) stopped", line):
        return msg.SCENARIO_STOPPED(name=found[1])
    if line == "nothing to replay":
        return word(line)
    parts = [msg.COUNTED(count=f"{n:,}", what=word(what)) for what, n in counts_in(line).items()]
    if not parts:
        return line
    text = parts[0]
    for part in parts[1:]:
        text = msg.BOTH(first=text, second=part)
    return text


def would_replay(data_dir: Path, words: Sequence[str]) -> dict[str, int]:
    """Return the result that a replay of dead letters would have; changes nothing.

    Args:
        data_dir: of the stack.
        words: the command of a replay.

    Returns:
        Of `WOULD_PUBLISH` and the command's words for those that would not be; empty if there are
        no dead letters to replay.

    Raises:
        JangteoError: if it cannot be found out.
    """
    done = _run(data_dir, [*words, "--dry-run"])
    said = [line.removeprefix("jangteo dlq: ") for line in done.stderr.splitlines()]
    summary = said[-1] if said else f"exit {done.returncode}"
    if summary == "nothing to replay":
        return {}
    counted = counts_in(summary)
    if not counted:
        raise JangteoError(summary)
    return counted


def counts_in(summary: str) -> dict[str, int]:
    """Read the counts in the last line of `dlq replay`; empty if there is anything else in it.

    >>> counts_in("1,337 would be published, 3 still bad")
    {'would be published': 1337, 'still bad': 3}
    >>> counts_in("no PostgreSQL, 3 attempts")
    {}
    """
    found = [re.fullmatch(r"(\d[\d,]*) (\D+)", part) for part in summary.split(", ")]
    if not all(found):
        return {}
    return {m[2]: int(m[1].replace(",", "")) for m in found if m}


class Score(msgspec.Struct, frozen=True):
    """Why a customer buys: the answer of `jangteo explain`, whose terms add up to the score."""

    in_cache: bool
    due: bool
    due_in_orders: int | None
    score: float
    share_of_weight: float
    expected_rank: int | None
    of: int
    intercept: float
    taste: float
    grade: float
    fresh: float
    spend: float
    cart: float
    soured: float
    scenario: float
    scenarios: list[str]


def score(data_dir: Path, user_id: int, stop: Stop = _never) -> Score:
    """Return the score of a customer, term by term.

    Args:
        data_dir: of the stack.
        user_id: the customer.
        stop: whether nobody waits for it any more.

    Raises:
        JangteoError: if it cannot be computed; the message is the command's.
    """
    done = _run(data_dir, ("explain", str(user_id), "--json"), stop)
    try:
        return msgspec.json.decode(done.stdout, type=Score)
    except msgspec.DecodeError:
        said = done.stderr.strip().splitlines()
        raise JangteoError(said[-1] if said else "`jangteo explain` gave no answer") from None


class ScenarioRun(msgspec.Struct, frozen=True):
    """A scenario that runs now: its factor on the rate of orders, who started it, until when."""

    scenario: str
    rate: float
    by: str
    until: str


def running_scenarios(data_dir: Path, stop: Stop = _never) -> tuple[ScenarioRun, ...]:
    """Return the scenarios that run now, those of the calendar too.

    Raises:
        JangteoError: if they cannot be asked for.
    """
    done = _run(data_dir, ("scenario", "status", "--json"), stop)
    try:
        return tuple(msgspec.json.decode(done.stdout, type=list[ScenarioRun]))
    except msgspec.DecodeError:
        said = done.stderr.strip().splitlines()
        raise JangteoError(said[-1] if said else "`jangteo scenario status` gave no list") from None


def scenarios(data_dir: Path, stop: Stop = _never) -> tuple[ScenarioRow, ...]:
    """Return the scenarios that there are.

    Raises:
        JangteoError: if they cannot be asked for.
    """
    done = _run(data_dir, ("scenario", "list", "--json"), stop)
    try:
        return tuple(msgspec.json.decode(done.stdout, type=list[ScenarioRow]))
    except msgspec.DecodeError:
        said = done.stderr.strip().splitlines()
        raise JangteoError(said[-1] if said else "`jangteo scenario list` gave no list") from None


def _run(
    data_dir: Path, words: Sequence[str], stop: Stop = _never
) -> subprocess.CompletedProcess[str]:
    name, *rest = words
    argv = [sys.executable, "-m", "jangteo", name, "--data-dir", str(data_dir), *rest]
    deadline = time.monotonic() + _LONGEST_S
    with subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as process:
        while True:
            try:
                out, err = process.communicate(timeout=_LOOK_S)
            except subprocess.TimeoutExpired:
                if stop() or time.monotonic() > deadline:
                    process.kill()
                    text = f"`jangteo {' '.join(words)}` took longer than {_LONGEST_S:g} s"
                    raise DeadlineError(text) from None
            else:
                return subprocess.CompletedProcess(argv, process.returncode, out, err)
