"""Messages of a topic: browsed in a real Kafka, and on the screen with real keys and clicks."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest
from confluent_kafka import Message, Producer
from textual.pilot import Pilot
from textual.widgets import Input

from console.lookups.browse import MessagePage, MessageQuery
from console.lookups.details import Detail, DetailRow, Ref
from console.lookups.lookup import Lookup, pages
from console.lookups.shop_rows import ShopRows
from console.translations import Text
from console.tui import appearance
from console.tui.app import ConsoleApp
from console.tui.appearance import DisplayOptions
from console.tui.objects import detail_screen
from console.tui.objects.detail_screen import DetailScreen
from console.tui.objects.message_browser import MessageBrowser
from console.tui.objects.object_list import ObjectList
from shop import kafka
from shop.clock import utc_now
from shop.events import CONTRACTS, ID_FIELD
from shop.postgres import Connection
from shop.settings import Settings, load
from tests.console import console_samples as samples
from tests.console.console_samples import StillFeed
from tests.console.driving import app_of, lines, settle
from tests.support.waiting import wait_until


def produce(settings: Settings, *numbers: int, partition: int = 0) -> None:
    producer = Producer(kafka.client_config(settings.kafka, "test"))
    for n in numbers:
        payload = f'{{"v": 1, "order_id": {n}, "rev": 1, "amount": {n * 1000}, "status": "PAID"}}'
        producer.produce("orders", payload.encode(), key=str(n % 2), partition=partition)
    producer.flush(20)


def page(settings: Settings, query: MessageQuery) -> MessagePage:
    (found,) = pages(settings, query, utc_now(), lambda: False)
    assert isinstance(found, MessagePage), found
    return found


def offsets(found: MessagePage) -> list[int | None]:
    return [m.offset() for m in found.messages]


def test_a_topic_is_browsed_by_position_key_and_condition(
    settings: Settings, pg: Connection, topics: None
) -> None:
    produce(settings, 1, 2, 3, 4, 5)
    newest = page(settings, MessageQuery("orders"))
    assert offsets(newest) == [4, 3, 2, 1, 0]
    assert newest.whole
    assert newest.bounds[0] == (0, 5)
    assert offsets(page(settings, MessageQuery("orders", 0, begin="-2"))) == [4, 3]
    assert offsets(page(settings, MessageQuery("orders", 0, begin="2"))) == [4, 3, 2]
    assert offsets(page(settings, MessageQuery("orders", 1))) == []
    assert offsets(page(settings, MessageQuery("orders", key="1"))) == [4, 2, 0]
    assert offsets(page(settings, MessageQuery("orders", where="amount > 3000"))) == [4, 3]
    assert offsets(page(settings, MessageQuery("orders", begin="10m", where="offset < 2"))) == [
        1,
        0,
    ]
    later = (utc_now() - timedelta(milliseconds=1)).isoformat()
    assert offsets(page(settings, MessageQuery("orders", begin=later))) == []


def test_new_messages_come_in_while_it_follows(settings: Settings, topics: None) -> None:
    produce(settings, 1)
    seen: list[MessagePage | Text] = []
    stop = threading.Event()
    query = MessageQuery("orders", where="amount >= 2000", follow=True)

    def tail() -> None:
        for found in pages(settings, query, utc_now(), stop.is_set):
            seen.append(found)

    thread = threading.Thread(target=tail)
    thread.start()
    wait_until(lambda: seen, "the first page")
    produce(settings, 1, 2, 3)
    wait_until(lambda: len(getattr(seen[-1], "messages", ())) == 2, "the new messages")
    stop.set()
    thread.join(20)
    assert offsets(seen[-1]) == [3, 2]  # type: ignore[arg-type]  # a page, as it has messages


@pytest.mark.parametrize(
    ("query", "why"),
    [
        (MessageQuery("orders", where="amount = 1"), "write `==`"),
        (MessageQuery("orders", begin="soon"), "expected beginning"),
        (MessageQuery("nothing"), "no such topic"),
        (MessageQuery("orders", 999), "no such topic or partition"),
    ],
)
def test_what_cannot_be_read_is_one_line(
    query: MessageQuery, why: str, settings: Settings, topics: None
) -> None:
    (found,) = pages(settings, query, utc_now(), lambda: False)
    assert isinstance(found, str)
    assert why in found
    assert "--" not in found.split(":")[0]


def test_kafka_that_is_away_is_one_line(env: dict[str, str]) -> None:
    away = load({**env, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}, use_stack=False)
    (found,) = pages(away, MessageQuery("orders"), utc_now(), lambda: False)
    assert isinstance(found, str)
    assert found


def test_a_message_leads_to_its_row_or_says_why_not(
    settings: Settings, pg: Connection, topics: None
) -> None:
    produce(settings, 7, 8, 9)
    pg.execute(
        "INSERT INTO orders (order_id, rev, user_id, product_id, quantity, unit_price, discount,"
        " amount, payment_method, status, ordered_at, updated_at)"
        " VALUES (7, 2, 5, 6, 1, 7000, 0, 7000, 'CARD', 'PAID', now(), now())"
    )
    pg.execute("INSERT INTO ingest_offsets VALUES ('orders', 0, 'x', 2)")
    lookup = Lookup(settings, samples.fine())

    def result(offset: int) -> DetailRow:
        return lookup.open(Ref("message", f"orders/0/{offset}")).rows[1]

    stored = result(0)
    assert stored.ref == Ref("order", "7")
    assert "newer than this one" in DisplayOptions().render(stored.text)
    assert "리비전 2" in DisplayOptions("ko").render(stored.text)
    assert "no such row" in DisplayOptions().render(result(1).text)
    assert result(2).label == "not yet stored"
    every = {r.label: r.ref for r in lookup.open(Ref("topics", "")).rows}
    assert every["orders"] == Ref("topic", "orders")
    other = lookup.open(Ref("topic", "users")).rows
    assert other[0].ref == Ref("messages", "users")


@pytest.mark.parametrize("topic", CONTRACTS)
def test_a_message_of_any_topic_leads_to_its_row(
    topic: str, settings: Settings, pg: Connection
) -> None:
    payload = f'{{"v": 1, "{ID_FIELD[topic]}": 7, "user_id": 5}}'.encode()
    message = cast("Message", _Sample(0, payload))
    lookup = Lookup(settings, samples.fine())
    with contextlib.closing(ShopRows(settings)) as shop:
        row = lookup._row_of(shop, topic, message)
    assert str(row.text).startswith(f"{topic} {5 if topic == 'users' else 7}: no such row")


# ---- on the screen ----


class _Sample:
    """A message, with the part of the client's type that the screen reads."""

    def __init__(self, offset: int, payload: bytes = b'{"v": 1}') -> None:
        self._offset, self._payload = offset, payload

    def topic(self) -> str:
        return "orders"

    def partition(self) -> int:
        return 3

    def offset(self) -> int:
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        return 1, 1_795_000_000_000 + self._offset

    def key(self) -> bytes:
        return b"5"

    def value(self) -> bytes:
        return self._payload


class FakePages:
    """Has three messages, and one more while it is followed; records what was asked for."""

    def __init__(self) -> None:
        self.asked: list[MessageQuery] = []
        self.more = threading.Event()

    def __call__(
        self, query: MessageQuery, stop: Callable[[], bool]
    ) -> Iterator[MessagePage | Text]:
        self.asked.append(query)
        if query.where == "nonsense =":
            yield "not a condition"
            return
        found = [_Sample(n, "장터\x1b[31m".encode()) for n in (12, 11, 10)]
        yield self.page(found)
        while query.follow and not stop():
            if self.more.wait(0.02):
                yield self.page([_Sample(13), *found])
                return

    @staticmethod
    def page(found: list[_Sample]) -> MessagePage:
        return MessagePage(tuple(found), 100, {3: (0, 13)}, False)  # type: ignore[arg-type]  # as above


def browsing(tmp_path: Path, options: DisplayOptions | None = None) -> tuple[ConsoleApp, FakePages]:
    app = app_of(StillFeed(samples.fine()), tmp_path, options=options)
    found = FakePages()
    app._browse = found  # type: ignore[method-assign]  # no servers here
    app._look_up = lambda ref: Detail(ref, (DetailRow("all of it", str(ref)),))  # type: ignore[method-assign]  # the same
    return app, found


async def shown(pilot: Pilot[int], text: str) -> str:
    for _ in range(100):
        await settle(pilot)
        screen = "\n".join(lines(pilot.app))
        if text in screen:
            return screen
    raise AssertionError(screen)


async def test_from_a_topic_to_a_message_with_keys(tmp_path: Path) -> None:
    app, found = browsing(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        app.open(Ref("messages", "orders"))
        screen = await shown(pilot, "3:12")
        assert "장터\N{REPLACEMENT CHARACTER}[31m" in screen
        assert "3 shown, 100 looked at" in screen
        assert "not all of it" in screen
        await pilot.press("j", "enter")
        await shown(pilot, "message orders/3/11")
        await pilot.press("escape", "slash", *"amount > 1", "enter")
        await settle(pilot)
        wait_until(lambda: len(found.asked) == 2, "the second query")
        assert found.asked[1] == MessageQuery("orders", where="amount > 1")
        await pilot.press("slash", *[*(["backspace"] * 10), *"nonsense ="], "enter")
        await shown(pilot, "not a condition")
        await pilot.press("escape")
        await settle(pilot)
        assert len(app.screen_stack) == 1


async def test_a_partition_is_browsed_with_the_mouse_and_followed(tmp_path: Path) -> None:
    app, found = browsing(tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("2")
        await settle(pilot)
        table = app.query_one("#offsets", ObjectList)
        await pilot.click(table, offset=(3, 4))
        await settle(pilot)
        await pilot.click(table, offset=(3, 4))
        await shown(pilot, "3:12")
        assert found.asked == [MessageQuery("orders", 3)]
        assert isinstance(app.screen, MessageBrowser)
        messages = app.screen.query_one(ObjectList)
        await pilot.click(messages, offset=(2, 0))
        await settle(pilot)
        assert "where ▲" in "\n".join(lines(app))
        assert str(messages.get_row_at(0)[0]).startswith("3:10")
        await pilot.click("#from", offset=(2, 0))
        await settle(pilot)
        assert isinstance(app.focused, Input)
        await pilot.press(*"-5", "enter", "t")
        await shown(pilot, "live tail")
        assert found.asked[-1] == MessageQuery("orders", 3, begin="-5", follow=True)
        found.more.set()
        await shown(pilot, "3:13")


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_the_screens_are_ascii_where_asked_for(size: tuple[int, int], tmp_path: Path) -> None:
    app, _ = browsing(tmp_path, DisplayOptions("en", ascii=True))
    async with app.run_test(size=size) as pilot:
        app.open(Ref("messages", "orders"))
        screen = await shown(pilot, "3:12")
        assert screen.isascii(), screen
        await pilot.press("enter")
        assert (await shown(pilot, "orders/3/12")).isascii()


async def test_a_broker_that_hangs_holds_nothing_up(tmp_path: Path) -> None:
    app, _ = browsing(tmp_path)
    release = threading.Event()

    def hangs(query: MessageQuery, stop: Callable[[], bool]) -> Iterator[MessagePage | Text]:
        release.wait(30)
        yield "too late"

    app._browse = hangs  # type: ignore[method-assign]  # a slow server
    async with app.run_test(size=(80, 24)) as pilot:
        app.open(Ref("partition", "orders/0"))
        await shown(pilot, "asking")
        await pilot.press("escape")
        await settle(pilot)
        assert len(app.screen_stack) == 1
        release.set()


async def test_a_tail_of_a_broker_that_is_away_is_not_called_live(tmp_path: Path) -> None:
    """The client waits in silence: the list looked as if nobody ordered any more."""
    app, _ = browsing(tmp_path)
    feed = StillFeed(samples.fine(), samples.kafka_down(), samples.fine())
    app._feed = feed
    async with app.run_test(size=(120, 40)) as pilot:
        app.open(Ref("messages", "orders"))
        await pilot.press("t")
        await shown(pilot, "live tail")
        app._apply(samples.kafka_down())
        feed.advance()
        screen = await shown(pilot, "Kafka: no answer")
        assert "live tail" not in screen
        app._apply(samples.fine())
        feed.advance()
        await shown(pilot, "live tail")


async def test_what_is_not_read_again_by_itself_has_an_age(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detail_screen, "_NEW_S", 0.01)
    app, _ = browsing(tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        app.open(Ref("messages", "orders"))
        await shown(pilot, "ago")
        await pilot.press("enter")
        assert isinstance(app.screen, DetailScreen)
        await shown(pilot, "message orders/3/12")
        app.screen._count()
        assert "read " in (await shown(pilot, "ago"))


async def test_the_page_of_another_query_is_dim(tmp_path: Path) -> None:
    app, _ = browsing(tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        app.open(Ref("messages", "orders"))
        await shown(pilot, "3:12")
        table = app.screen.query_one(ObjectList)
        assert not table._shown[0].cells[3][1]
        await pilot.press("slash", *"nonsense =", "enter")
        await shown(pilot, "not a condition")
        assert {style for _, style in table._shown[0].cells} == {appearance.DIM}


@pytest.mark.parametrize("key", ["orders/x", "orders/1/2", "a/b/c", "orders/-1"])
async def test_a_partition_that_is_none_is_not_valid(key: str, tmp_path: Path) -> None:
    """Typed into `f`, it ended the console."""
    app, found = browsing(tmp_path)
    app._look_up = lambda ref: Lookup(load({}, use_stack=False), samples.fine()).open(ref)  # type: ignore[method-assign]  # no servers here
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("f", *f"partition {key}", "enter")
        await shown(pilot, "not valid here")
    assert not found.asked
