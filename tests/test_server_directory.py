"""The servers of the tests keep their data in memory, and leave nothing there."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from tests.support import server_directory as directories
from tests.support.server_directory import server_directory


def test_it_is_removed_at_the_end_and_so_are_those_that_a_killed_worker_left(
    tmp_path: Path,
) -> None:
    left, theirs = tmp_path / "jangteo-tests-left", tmp_path / "other"
    for path in (left, theirs):
        path.mkdir()
        os.utime(path, (0, 0))
    with server_directory(tmp_path.mkdir, tmp_path) as used:
        (used / "postgres").mkdir()
        os.utime(used, (0, 0))
        with server_directory(tmp_path.mkdir, tmp_path) as other:
            assert sorted(tmp_path.iterdir()) == sorted([used, other, theirs])
    assert list(tmp_path.iterdir()) == [theirs]


def test_workers_that_begin_together_remove_the_same_ones_without_an_error(tmp_path: Path) -> None:
    left = [tmp_path / f"jangteo-tests-{number}" for number in range(200)]
    for path in left:
        (path / "postgres").mkdir(parents=True)
        os.utime(path, (0, 0))
    workers = 8
    together = Barrier(workers)

    def worker(_: int) -> bool:
        together.wait()
        with server_directory(tmp_path.mkdir, tmp_path) as used:
            return used.is_dir()

    with ThreadPoolExecutor(workers) as pool:
        assert all(pool.map(worker, range(workers)))
    assert not any(tmp_path.iterdir())


def test_a_machine_with_little_memory_uses_its_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = tmp_path / "disk"
    with server_directory(lambda: disk, tmp_path / "none") as used:
        assert used == disk
    monkeypatch.setattr(directories, "ENOUGH_BYTES", 1 << 60)
    with server_directory(lambda: disk, tmp_path) as used:
        assert used == disk
