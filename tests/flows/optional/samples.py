"""Events of any optional topic, made from its contract alone."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import Any, cast

from msgspec import inspect

from shop.clock import UTC
from shop.events import CONTRACTS
from shop.ids import MAX_ID, make_id
from shop.optional.registry import OPTIONAL
from shop.optional.topic import OptionalEvent

BEGAN = datetime(2026, 3, 1, tzinfo=UTC)


def sample(topic: str, ident: int, rev: int, rng: random.Random) -> OptionalEvent:
    """Return a valid event with this id, and this revision if the topic has any."""
    info = cast("inspect.StructType", inspect.type_info(CONTRACTS[topic]))
    fields: dict[str, Any] = {f.name: _value(f.type, rng) for f in info.fields}
    fields |= {"v": 1, OPTIONAL[topic].id_field: ident}
    if OPTIONAL[topic].revised:
        fields["rev"] = rev
    if fields.get("kind") == "CLOSED":  # all else would be erased
        fields |= {"name": None, "city": None, "marketing_consent": None}
    return OPTIONAL[topic].event(**fields)


def _value(kind: inspect.Type, rng: random.Random) -> Any:
    if isinstance(kind, inspect.UnionType):
        kind = rng.choice(kind.types)
    if isinstance(kind, inspect.NoneType):
        return None
    if isinstance(kind, inspect.LiteralType):
        return rng.choice(kind.values)
    if isinstance(kind, inspect.DateTimeType):
        return BEGAN + timedelta(milliseconds=rng.randrange(10**9))
    if isinstance(kind, inspect.IntType):
        least, most = int(kind.ge or 0), int(kind.le or 1_000)
        if most == MAX_ID:
            return make_id(rng.randrange(10**9), 1)
        return rng.randrange(least, most + 1)
    assert isinstance(kind, inspect.StrType), kind
    return rng.choice(["a", "naver", "7.b_c-d"]) if kind.pattern else rng.choice(["가나", 'a "b"'])
