"""Recordings: what was seen comes back, in its own time, from damaged files too."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from console.recording.player import Player
from console.recording.recorder import Recorder
from console.recording.recording import Recording, moment
from console.recording.toggle import RecordingToggle
from console.snapshot.model import Snapshot
from shop.errors import UsageError
from tests.console import console_samples as samples
from tests.support import python_process


def recorded(path: Path, count: int) -> list[Snapshot]:
    recorder = Recorder(path)
    made = []
    for n in range(count):
        s = samples.fine(n + 1, seconds=n)
        s = msgspec.structs.replace(s, events=samples.events(n))
        made.append(s)
        recorder.write(s)
    recorder.close()
    return made


def test_a_recording_gives_back_what_was_seen(tmp_path: Path) -> None:
    path = tmp_path / "a.rec"
    made = recorded(path, 130)
    assert path.stat().st_mode & 0o777 in (0o640, 0o600, 0o660)
    found = list(Recording(path))
    assert len(found) == 130
    for before, after in zip(made, found, strict=True):
        bare = {"events": (), "sequence": 0}
        assert msgspec.structs.replace(before, **bare) == msgspec.structs.replace(after, **bare)
    assert [e.text for e in found[20].events] == [e.text for e in made[20].events]
    with sqlite3.connect(path) as db:
        (size,) = db.execute("SELECT avg(length(data)) FROM snapshots WHERE key_id > 0").fetchone()
    assert size < 1_000, "a difference, not a snapshot"


def test_a_damaged_row_is_stepped_over(tmp_path: Path) -> None:
    path = tmp_path / "a.rec"
    recorded(path, 5)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE snapshots SET data = x'00' WHERE id = 3")
    player = Player(Recording(path))
    player.step(2)
    assert player.latest().at == samples.NOW + timedelta(seconds=3)
    player.step(100)
    assert player.position == 4
    player.step(-100)
    assert player.position == 0


def test_a_recording_plays_in_its_own_time(tmp_path: Path) -> None:
    path = tmp_path / "a.rec"
    recorded(path, 5)
    now = [0.0]
    player = Player(Recording(path), monotonic=lambda: now[0])
    player.start()
    assert player.latest().sequence == 1
    now[0] = 2.1
    assert player.latest().sequence == 3
    player.toggle()
    now[0] = 9.0
    assert player.latest().sequence == 3
    player.toggle()
    now[0] = 10.1
    assert player.latest().sequence == 4


def test_recordings_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database at all, only text " * 100)
    for path, said in (
        (tmp_path / "text", "is not a recording"),
        (tmp_path / "none", "no recording"),
    ):
        with pytest.raises(UsageError, match=said):
            Recording(path)
    toggle = RecordingToggle(tmp_path)
    toggle.start(tmp_path / "empty.rec")
    toggle.stop()
    with pytest.raises(UsageError, match="holds no snapshot"):
        Recording(tmp_path / "empty.rec")
    with pytest.raises(UsageError, match="cannot record to"):
        Recorder(tmp_path / "text" / "below.rec")
    recorded(tmp_path / "a.rec", 1)
    with pytest.raises(UsageError, match="expected HH:MM:SS"):
        moment("noon", Recording(tmp_path / "a.rec"))


def test_compare_and_replay_from_the_shell(tmp_path: Path) -> None:
    path = tmp_path / "a.rec"
    recorded(path, 5)

    def console(*args: str) -> str:
        words = [sys.executable, "-m", "console", "--replay", str(path), *args]
        return python_process.run(
            words, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL
        ).stdout

    assert len(console("--json").splitlines()) == 5
    compared = console("--compare", "12:03:41", "12:03:43")
    assert "* at" in compared
    assert "12:03:43" in compared
