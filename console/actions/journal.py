"""What operators did: a capped Redis stream that every console shows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from console.translations import Message, Text, from_json
from shop.errors import ExitCode
from shop.redis.control import CONTROL

if TYPE_CHECKING:
    import redis

LOG: Final = CONTROL + "log"
KEPT: Final = 500
"""Entries; some 200 bytes each."""


class ActionOutcome(str, Enum):
    """What became of an action."""

    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


class ActionResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of an action; an entry of the journal.

    Attributes:
        id: of this action.
        at: when it ended.
        who: user@host.
        action: with its arguments, as typed after `jangteo do`.
        outcome: done, refused or failed.
        result: what happened.
        exit_code: of `jangteo do`.
    """

    id: str
    at: datetime
    who: str
    action: str
    outcome: str
    result: Text
    exit_code: int = ExitCode.OK

    @property
    def done(self) -> bool:
        """Whether the action succeeded."""
        return self.outcome == ActionOutcome.DONE.value

    def in_english(self) -> ActionResult:
        """Return the result as programs read it: its message is English text."""
        return msgspec.structs.replace(self, result=str(self.result))


def write(r: redis.Redis, entry: ActionResult) -> None:
    """Append an entry.

    The stream holds the result as English text, and a message once more as JSON in the field
    `message`, so that every console shows it in its own language.

    Raises:
        redis.RedisError: if Redis does not answer.
    """
    fields = {k: str(v) for k, v in msgspec.to_builtins(entry.in_english()).items()}
    if isinstance(entry.result, Message):
        fields["message"] = msgspec.json.encode(entry.result).decode()
    r.xadd(LOG, cast("Any", fields), maxlen=KEPT, approximate=True)


def read(r: redis.Redis, after: str = "-", count: int = 100) -> list[tuple[str, ActionResult]]:
    """Return (stream id, entry) of the entries after a stream id, oldest first.

    Raises:
        redis.RedisError: if Redis does not answer.
    """
    start = after if after == "-" else f"({after}"
    found = cast("list[tuple[str, Mapping[str, str]]]", r.xrange(LOG, min=start, count=count))
    entries = []
    for key, fields in found:
        try:
            entry = msgspec.convert(dict(fields), ActionResult, strict=False)
        except msgspec.ValidationError:  # written by something else
            continue
        message = from_json(fields.get("message", ""))
        entries.append((key, msgspec.structs.replace(entry, result=message or entry.result)))
    return entries
