"""Publishes dead letters again, repaired or as they are, each once however often it runs.

A row is marked only after Kafka has acknowledged its message, in the transaction that holds the
row's lock. A replay that dies in between publishes some of its last chunk again the next time:
the ingest knows an order by id and revision, a customer and a product by id, and ignores those.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from threading import Event
from typing import Any, Final, TypeAlias

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from shop import kafka
from shop.clock import Clock
from shop.errors import UsageError
from shop.events import KEY_FIELD, Rejection, decode
from shop.postgres import Connection, dead_letters
from shop.postgres.dead_letters import DeadLetter, Filter, Place
from shop.server_clock import clock_of
from shop.settings import KafkaSettings

CHUNK: Final = 200
"""Rows of one transaction: at most 13 MB of payloads (`dead_letters.KEPT_PAYLOAD_BYTES`)."""
ACKNOWLEDGED_WITHIN_S: Final = 30.0
_PRODUCER: Final = {
    # An unreachable broker is reported, not waited for: a person is watching.
    "message.timeout.ms": int(ACKNOWLEDGED_WITHIN_S * 1000),
    # Kafka's own limit. The client's is 1,000,000 with key and framing: too small for a payload
    # of MAX_MESSAGE_BYTES.
    "message.max.bytes": 1_048_588,
}

Fixer: TypeAlias = Callable[["dict[str, Any] | None", DeadLetter], "dict[str, Any] | None"]
"""Given the payload (None if it is not a JSON object) and the row: the payload to publish, or None
to leave this row alone."""


class CannotFixError(Exception):
    """The edit does not apply to this message; says why."""


@dataclass(frozen=True)
class FixedMessage:
    """A message that would be taken."""

    key: bytes | None
    payload: bytes | None


@dataclass(frozen=True)
class Edit:
    """What is done to a message before it is published again.

    Attributes:
        fix: a function of the user's, first.
        values: members to set, then.
        drop: members to remove, then.
        key_from_field: take the key from the field that the contract names, last.
    """

    fix: Fixer | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    drop: tuple[str, ...] = ()
    key_from_field: bool = False

    def __call__(self, letter: DeadLetter) -> FixedMessage | None:
        """Return the message to publish, None if the function left it alone.

        Raises:
            CannotFixError: if the edit does not apply.
        """
        _refuse_cut(letter, new_key=self.key_from_field)
        if not (self.fix or self.values or self.drop or self.key_from_field):
            return FixedMessage(letter.key, letter.payload)
        payload = _object(letter.payload)
        if self.fix is not None:
            payload = self._fixed(payload, letter)
            if payload is None:
                return None
        if payload is None:
            raise CannotFixError("the payload is not a JSON object: --fix can make one")
        payload = {k: v for k, v in {**payload, **self.values}.items() if k not in self.drop}
        key = letter.key
        if self.key_from_field:
            name = KEY_FIELD[letter.topic]
            if name not in payload:
                raise CannotFixError(f"there is no {name} to take the key from")
        try:
            if self.key_from_field:
                key = str(payload[name]).encode()
            return FixedMessage(key, msgspec.json.encode(payload))
        except Exception as e:  # what the user's function returned: cyclic, too deep, no JSON
            raise CannotFixError(f"the result is not valid JSON: {_words(e)}") from None

    def _fixed(self, payload: dict[str, Any] | None, letter: DeadLetter) -> dict[str, Any] | None:
        assert self.fix is not None  # noqa: S101  (tells the type checker)
        try:
            fixed = self.fix(payload, letter)
        except (Exception, SystemExit) as e:  # the user's code: its errors are the row's result
            raise CannotFixError(f"--fix: {_words(e)}") from None
        if fixed is not None and not isinstance(fixed, dict):
            raise CannotFixError(f"--fix returned {type(fixed).__name__}, not a dict or None")
        return fixed


def _refuse_cut(letter: DeadLetter, *, new_key: bool) -> None:
    """Refuse what is only the beginning of a message: the rest is in Kafka, if anywhere."""
    for name, kept, whole in (
        ("payload", letter.payload, letter.payload_bytes),
        ("key", letter.key, None if new_key else letter.key_bytes),
    ):
        if whole is not None:
            raise CannotFixError(
                f"only the first {len(kept or b''):,} of {whole:,} bytes of its {name} were kept: "
                "publish it again from its source"
            )


def _words(error: BaseException) -> str:
    """Return an exception of the user's code on one line of bounded length."""
    name = type(error).__name__
    try:
        text = " ".join(str(error).split())
    except Exception:  # its own __str__ is at fault
        text = ""
    text = text.encode(errors="backslashreplace").decode()
    return f"{name}: {text[:200]}" if text else name


def _object(payload: bytes | None) -> dict[str, Any] | None:
    try:
        found = msgspec.json.decode(payload or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def load_fixer(name: str) -> Fixer:
    """Import `module:function`; the working directory counts.

    Raises:
        UsageError: if there is none.
    """
    module_name, _, function_name = name.partition(":")
    if not module_name or not function_name:
        raise UsageError(f"--fix {name!r}: expected MODULE:FUNCTION")
    if os.getcwd() not in sys.path:  # noqa: PTH109  (sys.path holds text)
        sys.path.insert(0, os.getcwd())  # noqa: PTH109  (sys.path holds strings)
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except (Exception, SystemExit) as e:  # importing runs the user's code
        raise UsageError(f"--fix {name!r}: {_words(e)}") from None
    if not callable(function):
        raise UsageError(f"--fix {name!r} is not a function")
    fixer: Fixer = function
    return fixer


@dataclass(frozen=True)
class ReplayResult:
    """The result of one row: `done` is published, would be, left alone, still bad, not taken."""

    letter: DeadLetter
    done: str
    why: str = ""
    repaired: FixedMessage | None = None


PUBLISHED: Final = "published"
WOULD_PUBLISH: Final = "would be published"
LEFT_ALONE: Final = "left alone"
STILL_BAD: Final = "still bad"
NOT_TAKEN: Final = "not acknowledged"


def judge(letter: DeadLetter, edit: Edit, clock: Clock) -> ReplayResult:
    """Repair a row and check it against the contract, as the ingest will."""
    try:
        repaired = edit(letter)
        if repaired is None:
            return ReplayResult(letter, LEFT_ALONE)
        decode(letter.topic, repaired.key, repaired.payload, now=clock())
    except CannotFixError as e:
        return ReplayResult(letter, STILL_BAD, str(e))
    except Rejection as e:
        return ReplayResult(letter, STILL_BAD, str(e))
    return ReplayResult(letter, WOULD_PUBLISH, repaired=repaired)


class Replay:
    """One replay.

    Args:
        conn: outside a transaction.
        chosen: which rows.
        edit: what is done to them.
        limit: how many rows are looked at, at most.
        clock: for events dated in the future; PostgreSQL's by default.
        chunk: rows of one transaction.
    """

    def __init__(
        self,
        conn: Connection,
        chosen: Filter,
        edit: Edit,
        *,
        limit: int | None = None,
        clock: Clock | None = None,
        chunk: int = CHUNK,
    ) -> None:
        self._conn = conn
        self._chosen = chosen
        self._edit = edit
        self._limit = limit
        self._clock = clock or clock_of(conn)
        self._chunk = chunk

    def dry_run(self) -> Iterator[ReplayResult]:
        """Yield what would be done, changing nothing."""
        for letters in self._chunks(lock=False, stop=Event()):
            yield from (judge(letter, self._edit, self._clock) for letter in letters)

    def run(self, settings: KafkaSettings, stop: Event) -> Iterator[ReplayResult]:
        """Replay; yield each result after it is committed.

        Args:
            settings: where Kafka is.
            stop: set to end after the chunk in hand.
        """
        producer = kafka.producer(settings, "replay", **_PRODUCER)
        for letters in self._chunks(lock=True, stop=stop):
            judged = [judge(letter, self._edit, self._clock) for letter in letters]
            done = _publish(producer, judged)
            if taken := [r.letter.place for r in done if r.done == PUBLISHED]:
                dead_letters.mark_replayed(self._conn, taken)
            self._conn.commit()
            yield from done
            if any(r.done == NOT_TAKEN for r in done):
                return  # the others would not be taken either

    def _chunks(self, *, lock: bool, stop: Event) -> Iterator[list[DeadLetter]]:
        """Yield chunks, each inside a transaction that the caller commits."""
        after: Place | None = None
        left = self._limit
        while not stop.is_set() and left != 0:
            size = self._chunk if left is None else min(left, self._chunk)
            letters = dead_letters.take(
                self._conn, self._chosen, after=after, limit=size, lock=lock
            )
            if not letters:
                self._conn.rollback()
                return
            after = letters[-1].place
            left = None if left is None else left - len(letters)
            yield letters


def _publish(producer: Producer, judged: Sequence[ReplayResult]) -> list[ReplayResult]:
    """Publish those that can be, in order; wait until the broker has answered for each."""
    words: dict[int, str] = {}

    def acknowledged(place: int, error: KafkaError | None, _: Message) -> None:
        words[place] = error.str() if error else ""

    for i, result in enumerate(judged):
        if result.repaired is not None:
            try:
                producer.produce(
                    result.letter.topic,
                    result.repaired.payload,
                    key=result.repaired.key,
                    on_delivery=partial(acknowledged, i),
                )
            except KafkaException as e:  # too large for the client
                words[i] = e.args[0].str()
    producer.flush(ACKNOWLEDGED_WITHIN_S + 5)
    return [_outcome(result, words.get(i, "no answer")) for i, result in enumerate(judged)]


def _outcome(result: ReplayResult, word: str) -> ReplayResult:
    if result.repaired is None:
        return result
    done = NOT_TAKEN if word else PUBLISHED
    return ReplayResult(result.letter, done, word, result.repaired)
