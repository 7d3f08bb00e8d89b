"""A history as Parquet files, partitioned by business day: DIR/orders/date=2026-01-31/0.parquet.

Each file is written under a temporary name and renamed, so a file that exists is complete.
DIR/_backfill.json keeps how far the history is; readers of a dataset ignore such names.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

import polars as pl

from generators.history.history import Ending
from generators.history.plan import Day
from generators.history.request import Begun, HistoryRequest
from generators.history.state import writing
from generators.history.targets.begin import RunState, StateFile
from generators.history.targets.postgres import fold
from shop.clock import KST
from shop.errors import UsageError
from shop.optional.registry import TABLES as OPTIONAL_TABLES
from shop.private_files import make_folder

TABLES: Final = ("orders", "user_spend_windows", "grade_history", "users", "products")
STATE: Final = "_backfill.json"


class ParquetTarget:
    """Writes a history into a folder.

    Args:
        folder: created if it does not exist.
        window_s: length of the spend windows, seconds.
        truncate: remove an earlier history from it first.
    """

    everything = live = keeps_state = profiles = False

    def __init__(self, folder: Path, *, window_s: int, truncate: bool) -> None:
        self._folder = folder
        self._window_s = window_s
        self._truncate = truncate
        self._file = StateFile(folder / STATE)

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def begin(self, request: HistoryRequest, end: datetime) -> Begun:
        """Make ready; see `PostgresTarget.begin`."""
        state = self._file.state
        if state:
            give_up = f"remove {self._folder}"
            if begun := state.resume(request, end, truncate=self._truncate, give_up=give_up):
                return begun
            if not self._truncate:
                raise UsageError(f"{self._folder} holds another history; --truncate removes it")
        if not state and self._folder.exists() and any(self._folder.iterdir()):
            raise UsageError(f"{self._folder} is not empty but holds no history")
        for table in (*TABLES, *OPTIONAL_TABLES):
            shutil.rmtree(self._folder / table, ignore_errors=True)
        make_folder(self._folder)
        return self._file.start(RunState(request=request, ends_at=end, fingerprint=0))

    def _write(self, frame: pl.DataFrame, *parts: str, number: int = 0) -> None:
        place = self._folder.joinpath(*parts, f"{number}.parquet")
        with writing(place) as file:
            frame.write_parquet(file)

    def prepare(self, day: Day) -> Callable[[], None]:
        """Return what writes a day."""
        return partial(self._add, day)

    def _add(self, day: Day) -> None:
        date = f"date={day.start.astimezone(KST).date()}"
        self._write(day.orders, "orders", date)
        self._write(fold(day.orders, self._window_s), "user_spend_windows", date)
        if day.grades is not None:
            self._write(day.grades, "grade_history", date)
        for topic in day.topics.values():
            for table, rows in topic.tables().items():
                self._write(rows, table, date)
        self._file.add(day)

    def finish(self, ending: Ending) -> None:
        """Write customers and products."""
        for number, part in enumerate(ending.users):
            self._write(part, "users", number=number)
        self._write(ending.products, "products")
        self._file.finish()
