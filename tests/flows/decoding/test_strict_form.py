"""What the strict form takes is what the definition takes, with the same values; never more."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.decoding.strict_form import FORMS, INDEX
from shop import events
from shop.clock import UTC
from shop.events import (
    MAX_FUTURE,
    ORDER_STATUSES,
    PAYMENT_METHODS,
    SCHEMAS,
    Order,
    Rejection,
    as_row,
)
from shop.ids import EPOCH, EPOCH_MS, MAX_ID, make_id
from shop.optional.fields import MAX_KRW
from tests.flows import nearly_valid_messages
from tests.support.event_samples import NOW, Message, message, order, raw_batch

_LATEST_US = int((NOW + MAX_FUTURE - EPOCH) / timedelta(microseconds=1))
_TEXTS = [None, "black_friday", "a", "flash.sale-2", "x" * 64, "0" * 7, "0" * 8, "seven_9"]


def hold(messages: Sequence[Message]) -> int:
    """Hold what is taken against the definition; return how many are."""
    frame, good = FORMS["orders"].read(raw_batch("orders", messages), NOW)
    assert frame.schema == {**SCHEMAS["orders"], INDEX: frame.schema[INDEX]}
    taken = frame.filter(pl.Series(good))
    for row in taken.to_dicts():
        one = messages[row.pop(INDEX)]
        assert row == as_row(events.decode("orders", *one, now=NOW)), one
    return taken.height


def an_order(rng: random.Random) -> Order:
    """An order somewhere in the space of valid ones; its numbers of any length."""
    at = EPOCH + timedelta(microseconds=rng.randrange(_LATEST_US + 1))
    at = at.replace(microsecond=rng.choice([0, 1, 999_999, at.microsecond, 123_000]))
    at = min(at, NOW + MAX_FUTURE)
    later = min(at + timedelta(days=rng.randrange(40), seconds=rng.random()), NOW + MAX_FUTURE)
    quantity = rng.choice([1, 2, 9, 10, 99, 100, 999])
    price = rng.randrange(10 ** rng.randrange(1, 10))
    discount = rng.choice([0, 0, rng.randrange(price * quantity + 1)])
    signed_up = int(at.timestamp() * 1_000) - EPOCH_MS + 86_400_000
    return order(
        rng.randrange(1, min(10 ** rng.randrange(1, 17), MAX_ID) + 1),
        rev=rng.choice([1, 1, 2, 10, 32_767]),
        user_id=rng.randrange(1, min(10 ** rng.randrange(1, 17), make_id(signed_up)) + 1),
        product_id=rng.choice([1, 70, MAX_ID]),
        quantity=quantity, unit_price=price, discount=discount,
        amount=min(quantity * price - discount, MAX_KRW),
        payment_method=rng.choice(PAYMENT_METHODS), status=rng.choice(ORDER_STATUSES),
        scenario=rng.choice(_TEXTS), ordered_at=at, updated_at=later,
    )  # fmt: skip


def mutated(rng: random.Random, data: bytes) -> bytes:
    """Change a byte or two, a run of digits, a piece of it."""
    at = rng.randrange(len(data))
    end = min(len(data), at + rng.choice([1, 1, 2, 8, 30]))
    piece = rng.choice([
        b"", data[at:end] * 2, bytes([rng.randrange(256)]), rng.choice(b'0123456789"\\,:{}Z.-nT ')
        .to_bytes(1, "big"), b"0" * rng.randrange(20), b"9" * rng.randrange(20), b"\n",
        bytes([data[at] ^ 1 << rng.randrange(8)]), data[rng.randrange(len(data)) :][: end - at],
    ])  # fmt: skip
    changed = data[:at] + piece + data[end if rng.random() < 0.7 else at :]
    return changed if rng.random() < 0.8 or not changed else mutated(rng, changed)


def nearly(rng: random.Random) -> Message:
    """A message near the form: a valid order with a few bytes changed, or of the other grammar."""
    pick = rng.random()
    if pick < 0.25:
        return nearly_valid_messages.one(rng, "orders")
    key, data = message("orders", an_order(rng))
    assert data is not None
    if pick < 0.35:
        return rng.choice([key, rng.choice(nearly_valid_messages.KEYS)]), data
    return key, mutated(rng, data)


def check_nearly(seed: int, messages: int) -> None:
    rng = random.Random(seed)
    taken = sum(hold([nearly(rng) for _ in range(5_000)]) for _ in range(messages // 5_000))
    assert messages * 0.05 < taken < messages * 0.5, "some of them are valid, and most are not"


def test_nearly_valid_messages_are_never_taken_for_others() -> None:
    check_nearly(1, 20_000)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 20))
def test_half_a_million_nearly_valid_messages_are_never_taken_for_others(seed: int) -> None:
    check_nearly(seed, 55_000)


def test_what_our_producers_write_is_taken() -> None:
    rng = random.Random(2)
    messages = [message("orders", an_order(rng)) for _ in range(20_000)]
    valid = [m for m in messages if _is_valid(m)]
    assert len(valid) > 10_000
    assert hold(valid) == len(valid)


def _is_valid(one: Message) -> bool:
    try:
        events.decode("orders", *one, now=NOW)
    except Rejection:
        return False
    return True


def _times(first: str, last: str) -> st.SearchStrategy[datetime]:
    least, most = map(datetime.fromisoformat, (first, last))
    return st.datetimes(least, most, timezones=st.just(UTC))


fields = {
    "order_id": st.integers(1, MAX_ID),
    "rev": st.integers(1, 32_767),
    "user_id": st.integers(1, MAX_ID),
    "product_id": st.integers(1, MAX_ID),
    "quantity": st.integers(1, 999),
    "unit_price": st.integers(0, 10**9),
    "payment_method": st.sampled_from(PAYMENT_METHODS),
    "status": st.sampled_from(ORDER_STATUSES),
    "scenario": st.none() | st.from_regex(r"\A[a-z0-9][a-z0-9_.-]{0,63}\Z"),
    "ordered_at": _times("1999-01-01", "2101-01-01"),
    "updated_at": _times("2020-01-01", "2026-03-05"),
}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.builds(order, **fields), min_size=1, max_size=15))
def test_any_orders_are_taken_exactly_if_they_are_valid(orders: list[Order]) -> None:
    messages = [message("orders", o) for o in orders]
    assert hold(messages) == sum(map(_is_valid, messages))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=4), st.integers(0, 290), st.integers(0, 3))
def test_bytes_put_into_a_message_make_no_other_event(piece: bytes, at: int, over: int) -> None:
    key, good = message("orders", order())
    assert good is not None
    hold([(key, good), (key, good[:at] + piece + good[at + over :]), (key, good)])


@pytest.mark.parametrize("whole", [True, False])
def test_each_day_and_second_is_read_as_it_is(whole: bool) -> None:
    first = datetime(2020, 1, 1, tzinfo=UTC)
    step = timedelta(hours=11, minutes=7, seconds=13, microseconds=0 if whole else 104_729)
    times = [t for n in range(6_000) if (t := first + n * step) < NOW]
    assert hold([message("orders", order(user_id=1, ordered_at=t)) for t in times]) == len(times)


def test_more_texts_than_are_remembered_are_left_to_the_definition() -> None:
    messages = [message("orders", order(i + 1, scenario=f"s{i:02}")) for i in range(40)]
    assert hold(messages * 2) == 2 * 20


def test_a_text_that_is_no_slug_hides_no_others() -> None:
    bad = [b'"Not A Slug"', b'""', b'"a\\n"', b'"' + b"a" * 65 + b'"', b'"a\xc3\xa9"', b"7", b'"']
    key, good = message("orders", order(scenario="flash_sale"))
    assert good is not None
    messages = [(key, good.replace(b'"flash_sale"', b)) for b in bad]
    assert hold([*messages, (key, good)]) == 1


def test_the_forms_field_names_are_those_of_the_model() -> None:
    assert list(FORMS) == ["orders", "baskets"]  # the others have text, or an id that may be null
    one = msgspec.json.decode(events.encode(order()))
    assert ["v", *SCHEMAS["orders"]] == list(one)
