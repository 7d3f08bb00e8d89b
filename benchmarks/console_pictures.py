"""Pictures of the console for the documentation: every screen, over a running shop.

    python -m benchmarks.console_pictures [--data-dir DIR] [--into docs/images]

The shop is watched for half a minute first; charts show all that its record holds. What is opened
is looked up in the running servers, as in a console.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from textual.pilot import Pilot

from console import poller
from console.actions.operations import Operator
from console.lookups.details import Ref, place
from console.recording.keeper import HistoryKeeper
from console.recording.player import Player
from console.recording.toggle import RecordingToggle
from console.series import SnapshotSeries
from console.snapshot.model import Snapshot
from console.sources import CurrentSettings
from console.translations import Lang
from console.tui.app import ConsoleApp
from console.tui.appearance import DisplayOptions
from console.tui.output import widened
from shop import settings
from shop.settings import Settings

WATCH_S = 30.0
LONGEST_S = 60.0
"""A detail is awaited for this long."""


def _customer(s: Snapshot) -> Ref:
    spenders = s.postgres.value.spenders if s.postgres.value else ()
    return Ref("customer", str(spenders[0].user_id))


def _letter(s: Snapshot) -> Ref:
    letters = s.letters.value.newest if s.letters.value else ()
    return Ref("letter", place(letters[0].topic, letters[0].partition, letters[0].offset))


def _message(s: Snapshot) -> Ref:
    topics = s.kafka.value.topics if s.kafka.value else ()
    orders = next(t for t in topics if t.name == "orders")
    newest = max(orders.partitions, key=lambda p: p.end or 0)
    return Ref("message", place("orders", newest.partition, (newest.end or 1) - 1))


@dataclass(frozen=True)
class Picture:
    """A picture.

    Attributes:
        name: of the file.
        keys: that are pressed.
        size: cells.
        lang: language.
        theme: colours.
        opens: what is opened then.
        more: keys that are pressed when it is there.
    """

    name: str
    keys: str
    size: tuple[int, int] = (120, 40)
    lang: Lang = "en"
    theme: str = "dark"
    opens: Callable[[Snapshot], Ref] | None = None
    more: tuple[str, ...] = ()


PICTURES: tuple[Picture, ...] = (
    Picture("console-overview", "1"),
    Picture("console-overview-ko", "1", lang="ko"),
    Picture("console-overview-80x24", "1", size=(80, 24)),
    Picture("console-overview-200x60", "1", size=(200, 60), theme="light"),
    Picture("console-kafka", "2"),
    Picture("console-cache", "3"),
    Picture("console-customers-ko", "4", lang="ko", theme="light"),
    Picture("console-log", "5"),
    Picture("console-processes", "6", theme="colour-blind"),
    Picture("console-letters", "7"),
    Picture("console-charts", "8www"),
    Picture("console-customer", "4", opens=_customer),
    Picture("console-letter", "7", opens=_letter, more=("down",) * 6),
    Picture("console-messages", "2", opens=lambda _s: Ref("messages", "orders")),
    Picture("console-kafka-200x60", "2", size=(200, 60)),
    Picture("console-message", "2", opens=_message),
    Picture("console-process", "6", opens=lambda _s: Ref("process", "ingest")),
    Picture("console-actions", "1A"),
    Picture("console-help", "2?"),
)


class ShownFeed:
    """Shows one snapshot.

    Args:
        snapshot: what is shown.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self.interval = 1.0

    def start(self) -> None:
        """Nothing begins."""

    def stop(self) -> None:
        """Nothing ends."""

    def refresh(self) -> None:
        """There is nothing newer."""

    def latest(self) -> Snapshot:
        """Return the snapshot."""
        return self._snapshot


def watch(found: Settings, data_dir: Path) -> tuple[Snapshot, SnapshotSeries]:
    """Watch the running shop; return the newest snapshot, and all that its record holds."""
    source = poller.make(CurrentSettings(found, data_dir))
    series = SnapshotSeries()
    source.listen(series.push)
    source.start()
    time.sleep(WATCH_S)
    source.stop()
    series.put_before(HistoryKeeper(data_dir).load())
    return source.latest(), series


def app_of(player: Player, lang: str, colours: str, folder: Path) -> ConsoleApp:
    """Return the console over a recording, stopped; what it writes goes into the folder."""
    player.playing = False
    return ConsoleApp(
        player,
        Operator(settings.load, refuse="this is a recording"),
        RecordingToggle(folder),
        options=DisplayOptions("ko" if lang == "ko" else "en"),
        colours=colours,
        folder=folder,
    )


async def settle(pilot: Pilot[int]) -> None:
    """Wait until everything is drawn."""
    for _ in range(5):
        await pilot.pause()


async def answered(pilot: Pilot[int]) -> None:
    """Wait until nothing is awaited any more."""
    deadline = time.monotonic() + LONGEST_S
    while "asking" in pilot.app.export_screenshot() and time.monotonic() < deadline:
        await asyncio.sleep(0.2)


async def picture(
    wanted: Picture, snapshot: Snapshot, series: SnapshotSeries, found: Settings, folder: Path
) -> str:
    """Return the console as SVG."""
    app = ConsoleApp(
        ShownFeed(snapshot),
        Operator(lambda: found),
        RecordingToggle(folder),
        options=DisplayOptions(wanted.lang),
        colours=wanted.theme,
        folder=folder,
        clock=lambda: snapshot.at,
    )
    async with app.run_test(size=wanted.size, notifications=False) as pilot:
        await pilot.pause()
        app.replace_history(series)
        await pilot.press(*("question_mark" if k == "?" else k for k in wanted.keys))
        await settle(pilot)
        if wanted.opens is not None:
            app.open(wanted.opens(snapshot))
            await settle(pilot)
            await answered(pilot)
            await pilot.press(*wanted.more)
        else:
            app.redraw()
        await settle(pilot)
        return widened(app.export_screenshot(title="jangteo console"))


def main() -> None:
    """Make the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--into", type=Path, default=Path("docs/images"))
    parser.add_argument("--only", default="", help="of those whose name contains this")
    args = parser.parse_args()
    args.into.mkdir(parents=True, exist_ok=True)
    found = settings.load(data_dir=args.data_dir)
    snapshot, series = watch(found, found.data_dir)
    with tempfile.TemporaryDirectory() as folder:
        for wanted in PICTURES:
            if args.only in wanted.name:
                svg = asyncio.run(picture(wanted, snapshot, series, found, Path(folder)))
                path = args.into / f"{wanted.name}.svg"
                path.write_text(svg, encoding="utf-8")
                print(path)


if __name__ == "__main__":
    main()
