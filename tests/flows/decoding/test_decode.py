"""The columnar path decides nothing that the exact path would decide otherwise."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.batch import Batch
from flows.decoding import decode as decode_module
from flows.decoding.decode import INDEX, decode_batch
from shop import events
from shop.events import SCHEMAS, Rejection, RejectReason, as_row
from tests.flows import nearly_valid_messages
from tests.support.event_samples import (
    NOW,
    SAMPLE,
    Message,
    changed,
    message,
    order,
    poison,
    product,
    raw_batch,
    user,
)


def oracle(topic: str, messages: Sequence[Message]) -> tuple[list[dict], list[tuple]]:
    """One message at a time, by the definition."""
    rows, rejects = [], []
    for i, (key, payload) in enumerate(messages):
        try:
            rows.append({**as_row(events.decode(topic, key, payload, now=NOW)), INDEX: i})
        except Rejection as r:
            rejects.append((i, r.reason, r.field, r.detail))
    return rows, rejects


def decoded(topic: str, messages: Sequence[Message]) -> Batch:
    return decode_batch(raw_batch(topic, messages), clock=lambda: NOW)


def check(topic: str, messages: Sequence[Message]) -> None:
    batch = decoded(topic, messages)
    rows, rejects = oracle(topic, messages)
    assert batch.rows.to_dicts() == rows
    assert [(r.index, r.reason, r.field, r.detail) for r in batch.rejects] == rejects
    assert batch.rows.schema == {**SCHEMAS[topic], INDEX: batch.rows.schema[INDEX]}


@pytest.mark.parametrize("topic", SAMPLE)
def test_good_events_come_back_as_they_were(topic: str) -> None:
    batch = decoded(topic, [message(topic, SAMPLE[topic])] * 3)
    assert batch.rejects == ()
    assert batch.rows.drop(INDEX).to_dicts() == [as_row(SAMPLE[topic])] * 3


@pytest.mark.parametrize("kind", poison(order()))
def test_each_fault_is_rejected_for_its_reason_and_spares_its_neighbours(kind: str) -> None:
    good = message("orders", order())
    batch = decoded("orders", [good, poison(order())[kind], good])
    assert [(r.index, r.reason) for r in batch.rejects] == [
        (1, RejectReason(kind.split(".", maxsplit=1)[0]))
    ]
    assert batch.rows[INDEX].to_list() == [0, 2]


def test_every_reason_but_the_databases_is_reached_by_a_fault() -> None:
    reached = {RejectReason(kind.split(".")[0]) for kind in poison(order())}
    nul = decoded("users", [(b"7", changed(user(), name="a\0b"))]).rejects
    reached.update(r.reason for r in nul)
    assert reached == set(RejectReason) - {
        RejectReason.OTHER_CONTENT,
        RejectReason.REFUSED_BY_DATABASE,
    }


def test_two_broken_lines_that_join_to_one_good_one_are_both_rejected() -> None:
    key, good = message("orders", order())
    assert good is not None
    half = good.index(b',"rev"')
    batch = decoded("orders", [(key, good[:half]), (key, good[half + 1 :]), (key, good + b" ")])
    assert [r.index for r in batch.rejects] == [0, 1]


def test_a_whole_clean_batch_takes_the_columnar_path(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the exact path was taken")

    monkeypatch.setattr(decode_module, "decode", refuse)
    assert decoded("orders", [message("orders", order(i + 1)) for i in range(100)]).rows.height


texts = st.text(min_size=1, max_size=12)
values = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), texts, st.just(...), st.lists(st.just(1)),
    st.sampled_from(["2026-03-04T05:06:07Z", "2026-03-04T05:06:07.123456789Z",
                     "2026-03-04T14:06:07+09:00", "2026-03-04 05:06:07Z", "9999-12-31T23:59:59Z",
                     "2026-02-30T00:00:00Z", "2026-03-04T05:06:60Z", "+2026-03-04T05:06:07Z"]),
)  # fmt: skip


@st.composite
def messages(draw: st.DrawFn) -> tuple[str, list[Message]]:
    """A topic and messages of it: good ones, changed ones, cut ones, arbitrary bytes."""
    topic = draw(st.sampled_from(sorted(SAMPLE)))
    good = (
        [message("orders", order(i, rev=i)) for i in (1, 2)]
        if topic == "orders"
        else (
            [
                message("users", user(i, name=n))
                for i, n in ((1, "이준"), (2, '\\u0000 \\ "quoted"'))
            ]
            if topic == "users"
            else [message("products", product(i, price=i)) for i in (1, 2)]
        )
    )
    field = st.sampled_from(["v", *SCHEMAS[topic], "unknown"])
    key = st.sampled_from([k for k, _ in good])
    bad = st.one_of(
        st.tuples(key, st.builds(lambda f, v: changed(SAMPLE[topic], **{f: v}), field, values)),
        st.tuples(key, st.builds(lambda n: (good[0][1] or b"")[:n], st.integers(0, 400))),
        st.tuples(st.one_of(st.none(), st.binary(max_size=4)), st.just(good[0][1])),
        st.tuples(key, st.binary(max_size=30)),
        st.sampled_from([v for v in poison(order()).values() if len(v[1] or b"") < 10_000]),
    )
    return topic, draw(st.lists(st.one_of(st.sampled_from(good), bad), min_size=1, max_size=12))


@settings(max_examples=300, deadline=None)
@given(messages())
def test_a_batch_decodes_as_its_messages_do_one_by_one(case: tuple[str, list[Message]]) -> None:
    check(*case)


def test_times_of_other_zones_are_brought_to_utc() -> None:
    payload = changed(order(), ordered_at="2026-03-04T14:06:07+09:00")
    batch = decoded("orders", [(b"7", payload)])
    assert batch.rows["ordered_at"].to_list() == [NOW.replace(microsecond=0)]


def test_an_event_is_taken_up_to_a_day_ahead_of_the_clock() -> None:
    edge = order(ordered_at=NOW + timedelta(hours=24))
    beyond = order(ordered_at=NOW + timedelta(hours=24, microseconds=1))
    check("orders", [message("orders", edge), message("orders", beyond)])
    assert decoded("orders", [message("orders", edge)]).rejects == ()
    assert decoded("orders", [message("orders", beyond)]).rejects != ()


# -- nearly valid messages -------------------------------------------------------------------


def check_batches(seed: int, messages: int) -> None:
    """Compare random batches with the definition, until that number of messages was compared."""
    rng = random.Random(seed)
    done = 0
    while done < messages:
        topic, batch = nearly_valid_messages.batch(rng, 120)
        check(topic, batch)
        done += len(batch)


@pytest.mark.parametrize("seed", range(3))
def test_nearly_valid_messages_have_one_fate_in_any_batch(seed: int) -> None:
    check_batches(seed, 5_000)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 110))
def test_a_million_nearly_valid_messages_have_one_fate_in_any_batch(seed: int) -> None:
    check_batches(seed, 100_000)


@st.composite
def one_field_changed(draw: st.DrawFn) -> tuple[str, list[Message]]:
    """A batch in which one message has one field replaced by any JSON text, nearly right or not."""
    topic = draw(st.sampled_from(nearly_valid_messages.TOPICS))
    members = nearly_valid_messages.PAIRS[topic]
    at = draw(st.integers(0, len(members) - 1))
    quoted = st.sampled_from([*nearly_valid_messages.TEXTS, *nearly_valid_messages.TIMES]).map(
        '"{}"'.format
    )
    value = draw(
        st.one_of(
            st.sampled_from(nearly_valid_messages.NUMBERS),
            quoted,
            st.from_regex(r"[-+0-9.eE]{1,9}"),
        )
    )
    text = ",".join(f'"{n}":{value if i == at else v}' for i, (n, v) in enumerate(members))
    others = st.lists(
        st.sampled_from([nearly_valid_messages.GOOD[topic], (b"7", b"{"), (b"7", None)]), max_size=2
    )
    key, _ = nearly_valid_messages.GOOD[topic]
    return topic, [*draw(others), (key, f"{{{text}}}".encode()), *draw(others)]


@settings(max_examples=200, deadline=None)
@given(one_field_changed())
def test_a_field_has_one_fate_beside_any_neighbours(case: tuple[str, list[Message]]) -> None:
    check(*case)


NEIGHBOURS: dict[str, list[Message]] = {
    "none": [],
    "good": [message("users", user())] * 3,
    "broken": [(b"7", b"{broken")],
    "tombstone": [(b"7", None)],
    "two_lines": [(b"7", b"{\n}")],
}


@pytest.mark.parametrize("neighbours", NEIGHBOURS)
@pytest.mark.parametrize("first", [True, False])
def test_a_time_has_one_fate_beside_any_neighbours(neighbours: str, first: bool) -> None:
    for text in nearly_valid_messages.TIMES:
        one = (b"7", changed(user(), created_at="TIME").replace(b"TIME", text.encode()))
        others = NEIGHBOURS[neighbours]
        check("users", [one, *others] if first else [*others, one])


def test_the_depth_of_the_callers_stack_decides_nothing() -> None:
    key, good = message("orders", order())
    assert good is not None
    cases = [
        (key, good[:-1] + b',"x":' + b"[" * depth + b"]" * depth + b"}")
        for depth in (98, events.MAX_DEPTH - 1, events.MAX_DEPTH, 10_000)
    ]

    def deeper(levels: int) -> list[int]:
        return deeper(levels - 1) if levels else [r.index for r in decoded("orders", cases).rejects]

    assert deeper(0) == deeper(500) == [2, 3]
