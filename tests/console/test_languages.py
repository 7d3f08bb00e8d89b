"""The screens in Korean: no text of the console stays English in any state."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from console import translations as msg
from console.changes import changes
from console.snapshot.model import Event, EventKind, Lag, Snapshot
from console.snapshot.reading import ReadingState
from console.translations import of_trouble, word
from console.tui import keys
from console.tui.appearance import DisplayOptions
from console.tui.cells import width
from shop.errors import Trouble
from tests.console import console_samples as samples
from tests.console.console_samples import StillFeed
from tests.console.driving import app_of, lines, settle
from tests.console.test_screens import SIZES, STATES

ENGLISH = re.compile(r"[A-Za-z][a-z]{2,}")
CUT = re.compile(r"\w+…")
# Names, and the processes' own log lines, are the same in every language.
NAMES = re.compile(
    r"(orders|users|products|cache|ingest|grader|postgres|redis|kafka|flash_sale|batches)\S*"
    r"|[a-z-]+@\S+|event \d+ of.*|bad_json|JSON is malformed.*|\{.*\}|jangteo dlq show"
    r"|Redis|REDIS|Kafka|KAFKA|JANGTEO|DLQ|VIP|SIGKILL|Lee Ji-woo|Tab\b|Enter\b"
    r"|Local: Broker( \S+)?( failure)?|connection( refused)?|pid\b|relation \S+ does not exist"
)


def troubled() -> Snapshot:
    """A snapshot in which everything is wrong that can be without a server being away."""
    s = samples.fine()
    found = samples.processes().processes
    wrong = {
        "orders": {"beat_at": None},
        "users": {"state": "backoff", "last_exit": "SIGKILL"},
        "ingest": {"state": "stopping"},
        "grader": {"state": "starting"},
    }
    processes = tuple(msgspec.structs.replace(p, **wrong.get(p.name, {})) for p in found)
    view = msgspec.structs.replace(samples.processes(), processes=processes)
    stuck = tuple(
        map(
            of_trouble,
            (Trouble("unheld", ids="0, 1"), Trouble("waits", ingest="ingest", error="pid")),
        )
    )
    topics = tuple(
        msgspec.structs.replace(t, verdict=lag, troubles=why)
        for t, lag, why in zip(
            samples.kafka().topics, (Lag.STOP, Lag.REWIND, Lag.LOST), (stuck, (), ()), strict=True
        )
    )
    said = [text for _, _, text in changes(samples.well(), samples.kafka_down())]
    said += [text for _, _, text in changes(samples.well(), samples.broker_away())]
    said += [text for _, _, text in changes(samples.broker_away(), samples.well())]
    said += [
        msg.RESTARTED_AFTER(how="SIGKILL", pid=7),
        msg.ACTED(
            action="cache.refresh",
            outcome=word("failed"),
            who="me@here",
            result=(msg.NOT_SEEN(seconds="30", what=msg.NO_REFRESH())),
        ),
    ]
    cluster = samples.broker_away().kafka.value
    return msgspec.structs.replace(
        s,
        kafka=samples.ok(msgspec.structs.replace(cluster, topics=topics)),
        redis=samples.ok(samples.redis("failed", -8.0)),
        processes=samples.ok(view),
        grades=samples.failing(s.grades, ReadingState.STALE, msg.NO_ANSWER_FOR(seconds=2), since=2),
        events=tuple(
            Event(
                n=n, at=samples.NOW, kind=EventKind.CONSOLE, level="info", source="kafka", text=text
            )
            for n, text in enumerate(said, start=1)
        ),
    )


@pytest.mark.parametrize("state", [*STATES, "troubled"])
async def test_nothing_is_left_english_in_korean(state: str, tmp_path: Path) -> None:
    made = {**STATES, "troubled": troubled}[state]()
    app = app_of(StillFeed(made), tmp_path, options=DisplayOptions("ko"))
    async with app.run_test(size=(120, 40)) as pilot:
        for n, (tab, _) in enumerate(keys.TABS, start=1):
            await pilot.press(str(n))
            await settle(pilot)
            seen = [NAMES.sub("", CUT.sub("", line)) for line in lines(app)]
            left = {w for line in seen for w in ENGLISH.findall(line)}
            assert not left - {"BRONZE", "SILVER", "GOLD"}, tab
            assert all(width(line) == 120 for line in lines(app)), tab
        await pilot.press("question_mark")
        await settle(pilot)
        box = app.screen.query_one(".dialog").region
        assert "캐시 보기" in "\n".join(lines(app)[box.y : box.bottom])


@pytest.mark.parametrize("size", SIZES, ids="{0[0]}x{0[1]}".format)
@pytest.mark.parametrize("lang", ["en", "ko"])
async def test_troubles_fit_every_size(lang: Any, size: tuple[int, int], tmp_path: Path) -> None:
    """Lines about all partitions of many topics fit, with any name of a foreign session."""
    blocked = Trouble(
        "blocked",
        ingest="ingest-orders",
        seconds=61,
        pid=123,
        who="\ud55c" * 60,
        lasts=90,
        query="LOCK " * 40,
    )
    why = of_trouble(blocked)
    s = samples.fine()
    topics = tuple(msgspec.structs.replace(t, troubles=(why,) * 9) for t in samples.kafka().topics)
    view = msgspec.structs.replace(s.kafka.value, topics=topics)
    app = app_of(
        StillFeed(msgspec.structs.replace(s, kafka=samples.ok(view))),
        tmp_path,
        options=DisplayOptions(lang),
    )
    async with app.run_test(size=size) as pilot:
        for tab in ("1", "2"):
            await pilot.press(tab)
            await settle(pilot)
            assert len(lines(app)) == size[1]
            assert all(width(line) == size[0] for line in lines(app)), tab
            words = {"en": "has waited 61 s", "ko": "61초째 잠금 대기"}[lang]
            assert words in lines(app)[0] or size[0] < 100
