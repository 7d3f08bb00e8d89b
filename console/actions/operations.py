"""What an operator can do: each action is checked, run, and written to the journal.

The console's list and `jangteo do` offer the same actions.
"""

from __future__ import annotations

import contextlib
import getpass
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeVar

from console import translations as msg
from console.actions import commands, journal
from console.actions.journal import ActionOutcome, ActionResult
from console.text import printable
from console.translations import Message, Text, word
from shop import client_errors
from shop.clock import Clock, utc_now
from shop.errors import DeadlineError, ExitCode, JangteoError, UsageError
from shop.events import CONTRACTS
from shop.log import redact
from shop.process_status import read_snapshot
from shop.redis import cache, control
from shop.retry import first_line
from shop.settings import Settings

if TYPE_CHECKING:
    import redis

WAIT_S: Final = 30.0
"""How long to wait for the effect: the cache worker and the grader look twice a second; a process
that is restarted ends within 10 s, and on a busy machine takes some more to start."""
_LOOK_S: Final = 0.1
Found = TypeVar("Found")


@dataclass(frozen=True)
class Action:
    """One thing that can be done.

    Attributes:
        id: as typed after `jangteo do`.
        parameters: names of its arguments; one in brackets may be left out.
        help: one line, by language.
        destructive: takes something away for a while; needs a confirmation.
    """

    id: str
    parameters: tuple[str, ...]
    help: Mapping[Literal["en", "ko"], str]
    destructive: bool = False

    @property
    def usage(self) -> str:
        """The action as typed."""
        return " ".join((self.id, *self.parameters))


ACTIONS: Final[Mapping[str, Action]] = {
    a.id: a
    for a in (
        Action(
            "generator.pause",
            ("NAME",),
            {"en": "pause a generator", "ko": "이벤트 생성 일시정지"},
        ),
        Action(
            "generator.resume",
            ("NAME",),
            {"en": "resume a generator", "ko": "이벤트 생성 재개"},
        ),
        Action(
            "generator.rate",
            ("NAME", "FACTOR"),
            {"en": "multiply a generator's rate", "ko": "기본 속도에 배수를 곱함"},
        ),
        Action("cache.refresh", (), {"en": "refresh the cache now", "ko": "캐시 지금 갱신"}),
        Action("grading.run", (), {"en": "grade customers now", "ko": "등급 지금 산정"}),
        Action(
            "scenario.start",
            ("NAME", "[DURATION]"),
            {"en": "start a scenario", "ko": "시나리오 시작"},
        ),
        Action("scenario.stop", ("NAME",), {"en": "stop a scenario", "ko": "시나리오 중지"}),
        Action(
            "dlq.replay",
            ("[TOPIC]", "[REASON]"),
            {"en": "publish dead letters again", "ko": "데드 레터 다시 발행"},
            destructive=True,
        ),
        Action(
            "dlq.replay_one",
            ("PLACE", "[FIELD=JSON]"),
            {"en": "publish one dead letter again", "ko": "데드 레터 하나 다시 발행"},
            destructive=True,
        ),
        Action(
            "process.restart",
            ("NAME",),
            {"en": "restart a process", "ko": "프로세스 재시작"},
            destructive=True,
        ),
    )
}


@dataclass(frozen=True)
class ActionRequest:
    """An action with its arguments, checked."""

    action: Action
    arguments: tuple[str, ...]

    @property
    def words(self) -> str:
        """The request as typed."""
        return " ".join((self.action.id, *self.arguments))


def parse(words: Sequence[str]) -> ActionRequest:
    """Read a request.

    Raises:
        UsageError: if it is not valid; the message names what is.

    >>> parse(["generator.rate", "orders", "2.5"]).words
    'generator.rate orders 2.5'
    """
    if not words or words[0] not in ACTIONS:
        asked = repr(printable(words[0], 40)) if words else word("given")
        raise UsageError(msg.NO_ACTION(name=asked, known=", ".join(ACTIONS)))
    action, arguments = ACTIONS[words[0]], tuple(words[1:])
    needed = sum(not p.startswith("[") for p in action.parameters)
    if not needed <= len(arguments) <= len(action.parameters):
        raise UsageError(msg.EXPECTED(usage=action.usage))
    if action.id.startswith("generator."):
        paced = action.id == "generator.rate"
        known = control.GENERATORS if paced else control.PAUSABLE
        _member(arguments[0], known, "generator")
    if action.id == "generator.rate":
        _factor(arguments[1])
    if action.id == "dlq.replay" and arguments:
        _member(arguments[0], tuple(CONTRACTS), "topic")
    if action.id == "dlq.replay_one":
        _one_letter(action, arguments)
        return ActionRequest(action, arguments)
    for argument in arguments:
        if not re.fullmatch(r"[\w.+-]{1,64}", argument) or argument.startswith("-"):
            raise UsageError(msg.CANNOT_USE(action=action.id, text=repr(printable(argument, 40))))
    return ActionRequest(action, arguments)


def _member(name: str, known: Sequence[str], kind: str) -> None:
    if name not in known:
        shown = repr(printable(name, 40))
        raise UsageError(msg.NO_SUCH(kind=word(kind), name=shown, known=", ".join(known)))


def _one_letter(action: Action, arguments: Sequence[str]) -> None:
    """Check a place, such as orders/3/17, and a field with its new value."""
    for argument, form in zip(arguments, (r"\w{1,64}/\d{1,9}/\d{1,19}", r"[\w.]{1,64}=.{1,2000}")):  # noqa: B905  (the second one may be missing)
        if not re.fullmatch(form, argument) or printable(argument, 4_000) != argument:
            raise UsageError(msg.CANNOT_USE(action=action.id, text=repr(printable(argument, 40))))


def _factor(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= control.MAX_RATE:
        shown = repr(printable(text, 20))
        raise UsageError(msg.BAD_RATE(text=shown, most=f"{control.MAX_RATE:g}"))
    return value


class Operator:
    """Runs actions.

    Args:
        settings: called for where the servers are now.
        refuse: why actions are refused here; empty where they are not.
        who: for the journal; user@host by default.
        clock: UTC.
    """

    def __init__(
        self,
        settings: Callable[[], Settings],
        *,
        refuse: Text = "",
        who: str | None = None,
        clock: Clock = utc_now,
    ) -> None:
        self.settings = settings
        self.refuse = refuse
        self._who = who or whoami()
        self._clock = clock

    def perform(
        self,
        request: ActionRequest,
        *,
        wait: float = 0.0,
        stop: threading.Event | None = None,
    ) -> ActionResult:
        """Do it, write it into the journal, return the result; raise for no server's failure.

        Args:
            request: checked.
            wait: seconds to wait for the effect to be seen; 0: only ask for it.
            stop: ends the waiting.
        """
        stop = stop or threading.Event()
        if self.refuse:
            return self._result(request, ActionOutcome.REFUSED, self.refuse, ExitCode.FAILED)
        # 0.1 s that the first picture need not wait
        from redis import RedisError  # noqa: PLC0415  (late: the first picture needs no client)

        try:
            with cache.client(self.settings().redis_url) as client:
                try:
                    text = self._do(client, request, wait, stop)
                    result = self._result(request, ActionOutcome.DONE, text)
                except JangteoError as e:
                    result = self._result(request, ActionOutcome.FAILED, text_of(e), e.exit_code)
                with contextlib.suppress(RedisError):  # what was done is done, logged or not
                    journal.write(client, result)
        except JangteoError as e:
            reason = msg.NO_REDIS(error=first_line(e))
            return self._result(request, ActionOutcome.FAILED, reason, e.exit_code)
        except RedisError as e:
            reason = msg.NO_REDIS(error=first_line(e))
            return self._result(
                request, ActionOutcome.FAILED, reason, client_errors.kind(e).exit_code
            )
        return result

    def _result(
        self,
        request: ActionRequest,
        outcome: ActionOutcome,
        text: Text,
        code: ExitCode = ExitCode.OK,
    ) -> ActionResult:
        return ActionResult(
            id=uuid.uuid4().hex[:12],
            at=self._clock(),
            who=self._who,
            action=request.words,
            outcome=outcome.value,
            result=_redacted(text),
            exit_code=code,
        )

    def _do(
        self, r: redis.Redis, request: ActionRequest, wait: float, stop: threading.Event
    ) -> Text:
        kind, arguments = request.action.id, request.arguments
        if kind.startswith("generator."):
            return _generate(r, kind, arguments)
        if kind == "cache.refresh":
            return _refresh(r, wait, stop)
        if kind == "grading.run":
            return _grade(r, wait, stop)
        if kind == "process.restart":
            return self._restart(r, arguments[0], wait, stop)
        return commands.run(self.settings().data_dir, *commands.command_of(kind, arguments))

    def would_replay(self, request: ActionRequest) -> dict[str, int]:
        """Return the result that a replay of dead letters would have: messages by outcome.

        Raises:
            JangteoError: if it cannot be found out.
        """
        words = commands.command_of(request.action.id, request.arguments)
        return commands.would_replay(self.settings().data_dir, words)

    def scenarios(self) -> tuple[commands.ScenarioRow, ...]:
        """Return the scenarios that can be started.

        Raises:
            JangteoError: if they cannot be asked for.
        """
        return commands.scenarios(self.settings().data_dir)

    def _restart(self, r: redis.Redis, name: str, wait: float, stop: threading.Event) -> Message:
        data_dir = self.settings().data_dir
        before = {s.name: s for s in read_snapshot(data_dir)}
        beats = {b.name for b in cache.heartbeats(r)}
        if name in ("postgres", "redis", "kafka"):
            raise UsageError(msg.A_SERVER(name=name))
        if name not in before:
            missing = msg.RUNS_ELSEWHERE if name in beats else msg.NOT_SUPERVISED
            known: str | Message = ", ".join(before) or msg.NONE_SUPERVISED()
            raise UsageError(missing(name=name, known=known))
        control.request_restart(r, name)
        if not wait:
            return msg.ASKED()

        def other_pid() -> int | None:
            found = {s.name: s for s in read_snapshot(data_dir)}.get(name)
            return found.pid if found and found.pid not in (None, before[name].pid) else None

        return msg.NEW_PID(pid=_until(other_pid, wait, stop, msg.NOT_BACK()))


def _generate(r: redis.Redis, kind: str, arguments: Sequence[str]) -> Message:
    name = arguments[0]
    if kind == "generator.rate":
        control.set_rate(r, name, _factor(arguments[1]))
        return msg.RATE(factor=f"{float(arguments[1]):g}")
    control.set_paused(r, name, paused=kind == "generator.pause")
    return msg.PAUSED() if kind == "generator.pause" else msg.RESUMED()


def _refresh(r: redis.Redis, wait: float, stop: threading.Event) -> Message:
    before = cache.read_meta(r)
    control.request_run(r, "cache")
    if not wait:
        return msg.ASKED()

    def done() -> cache.CacheMeta | None:
        meta = cache.read_meta(r)
        if meta.phase == "failed":
            raise JangteoError(msg.THE_REFRESH_FAILED(error=meta.error))
        return meta if meta.version > before.version else None

    meta = _until(done, wait, stop, msg.NO_REFRESH())
    return msg.VERSION(version=meta.version, replaced=meta.replaced, seconds=f"{meta.duration:.3f}")


def _grade(r: redis.Redis, wait: float, stop: threading.Event) -> Message:
    def last_run() -> str:
        beat = next((b for b in cache.heartbeats(r) if b.name == "grader"), None)
        return beat.fields.get("last_run", "") if beat else ""

    before = last_run()
    control.request_run(r, "grader")
    if not wait:
        return msg.ASKED()

    def new_run() -> str | None:
        now = last_run()
        return now if now != before else None

    return msg.RUN_ENDED(at=_until(new_run, wait, stop, msg.NO_RUN()))


def _until(
    look: Callable[[], Found | None], wait: float, stop: threading.Event, otherwise: Message
) -> Found:
    """Return what `look` finds.

    Raises:
        DeadlineError: if it finds nothing in time, or the waiting was ended.
    """
    deadline = time.monotonic() + wait
    while True:
        if found := look():
            return found
        if time.monotonic() >= deadline or stop.wait(_LOOK_S):
            raise DeadlineError(msg.NOT_SEEN(seconds=f"{wait:g}", what=otherwise))


def text_of(error: JangteoError) -> Text:
    """Return the message that an error was raised with, else its text."""
    said = error.args[0] if error.args else ""
    return said if isinstance(said, Message) else str(error)


def _redacted(text: Text) -> Text:
    """Return a text without passwords, and fit for a terminal."""
    if isinstance(text, str):
        return printable(redact(text))
    values = {
        name: value if isinstance(value, int | float) else _redacted(value)
        for name, value in text.values.items()
    }
    return Message(text.id, values)


def whoami() -> str:
    """Return user@host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container whose uid has no name
        user = "uid"
    return printable(f"{user}@{socket.gethostname()}", 60)
