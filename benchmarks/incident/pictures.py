"""Pictures of the recorded incident for docs/console.md.

python -m benchmarks.incident.pictures [docs/recordings/incident.rec] [--into docs/images]
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from datetime import datetime
from pathlib import Path

from benchmarks.console_pictures import app_of
from console.mark_kinds import kind_of
from console.recording.player import Player, series_of
from console.recording.recording import Recording
from console.series import SnapshotSeries
from console.tui.output import widened
from shop.clock import UTC

Picture = tuple[str, str, tuple[int, int], str, str, str]
"""Name, keys, size, language, theme, and the moment; empty: the end.

A moment is the letter of the first mark whose text contains a word, and seconds after it.
"""
PICTURES: tuple[Picture, ...] = (
    ("console-incident", "8w0", (120, 40), "en", "dark", ""),
    ("console-incident-broker", "1", (120, 40), "en", "dark", "X kafka 4"),
    ("console-incident-burst", "8w", (120, 40), "en", "light", "K ingest 3"),
    ("console-incident-database-ko", "8w", (120, 40), "ko", "dark", "X postgres 3"),
    ("console-incident-events", "E", (120, 40), "en", "dark", "X postgres 0"),
)


def moment(what: str, history: SnapshotSeries, since: datetime) -> datetime:
    """Return the moment of a picture; its mark is not older than the recording."""
    letter, word, later = what.split()
    at = next(
        m.at
        for m in history.marks
        if m.at >= since.timestamp() and kind_of(m).letter == letter and word in str(m.message)
    )
    return datetime.fromtimestamp(at + float(later), UTC)


async def picture(wanted: Picture, path: Path, folder: Path) -> str:
    """Return the console as SVG, at a moment of the recording."""
    _, pressed, size, lang, colours, what = wanted
    player = Player(Recording(path), monotonic=lambda: 0.0)
    app = app_of(player, lang, colours, folder)
    history = series_of(path)
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        app.replace_history(history)
        if what:
            app.go_to(moment(what, history, player.recording.times[0]))
        await pilot.press(*pressed)
        for _ in range(5):
            await pilot.pause()
        app.redraw()
        await pilot.pause()
        return widened(app.export_screenshot(title="jangteo console"))


def main() -> None:
    """Make the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = Path("docs/recordings/incident.rec")
    parser.add_argument("recording", type=Path, nargs="?", default=default)
    parser.add_argument("--into", type=Path, default=Path("docs/images"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for wanted in PICTURES:
            svg = asyncio.run(picture(wanted, args.recording, Path(folder)))
            (args.into / f"{wanted[0]}.svg").write_text(svg, encoding="utf-8")
            print(args.into / f"{wanted[0]}.svg")


if __name__ == "__main__":
    main()
