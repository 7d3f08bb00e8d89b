"""Pictures of the console for the documentation, made from a recording or from a running shop.

    python -m benchmarks.console_pictures [--recording FILE] [--into docs/images]

Without a recording, the running shop is watched for half a minute first.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from console import poller
from console.actions.operations import Operator
from console.recording.player import Player
from console.recording.recorder import Recorder
from console.recording.recording import Recording
from console.recording.toggle import RecordingToggle
from console.sources import CurrentSettings
from console.tui.app import ConsoleApp
from console.tui.appearance import DisplayOptions
from console.tui.output import widened
from shop import settings

WATCH_S = 30.0
Picture = tuple[str, str, tuple[int, int], str, str]
"""Name, key of the tab, size, language, theme."""
PICTURES: tuple[Picture, ...] = (
    ("console-overview", "1", (120, 40), "en", "dark"),
    ("console-overview-ko", "1", (120, 40), "ko", "dark"),
    ("console-overview-80x24", "1", (80, 24), "en", "dark"),
    ("console-overview-200x60", "1", (200, 60), "en", "light"),
    ("console-kafka", "2", (120, 40), "en", "dark"),
    ("console-customers-ko", "4", (120, 40), "ko", "light"),
    ("console-processes", "6", (120, 40), "en", "colour-blind"),
)


def record(path: Path) -> None:
    """Watch the running shop, and record it."""
    source = poller.make(CurrentSettings(settings.load()))
    recorder = Recorder(path)
    source.listen(recorder.write)
    source.start()
    time.sleep(WATCH_S)
    source.stop()
    recorder.close()


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


async def picture(wanted: Picture, player: Player, into: Path) -> str:
    """Return the console as SVG, at the end of the recording."""
    _, key, size, lang, colours = wanted
    player.position = 0
    app = app_of(player, lang, colours, into)
    async with app.run_test(size=size) as pilot:
        for position in range(len(player.recording)):
            player.step(position - player.position)
            app.take(player.latest())
        await pilot.press(key)
        await pilot.pause()
        app.redraw()
        await pilot.pause()
        return widened(app.export_screenshot(title="jangteo console"))


def main() -> None:
    """Make the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recording", type=Path)
    parser.add_argument("--into", type=Path, default=Path("docs/images"))
    args = parser.parse_args()
    args.into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        path = args.recording or Path(folder) / "shop.rec"
        if not args.recording:
            record(path)
        for wanted in PICTURES:
            name = wanted[0]
            svg = asyncio.run(picture(wanted, Player(Recording(path)), Path(folder)))
            (args.into / f"{name}.svg").write_text(svg, encoding="utf-8")
            print(args.into / f"{name}.svg")


if __name__ == "__main__":
    main()
