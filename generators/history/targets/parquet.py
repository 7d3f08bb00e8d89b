"""A history as Parquet files, partitioned by business day: DIR/orders/date=2026-01-31/0.parquet.

Each file is written beside its place and moved there, so one that is there is whole. How far it
is stands in DIR/_backfill.json, which readers of a dataset pass over as they do all such names.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import polars as pl

from generators.history.fingerprint import fingerprint
from generators.history.history import Ending
from generators.history.plan import Day
from generators.history.request import Begun, HistoryRequest
from generators.history.state import writing
from generators.history.targets.postgres import fold
from shop.clock import KST
from shop.errors import UsageError
from shop.private_files import make_folder

TABLES: Final = ("orders", "user_spend_windows", "grade_history", "users", "products")
STATE: Final = "_backfill.json"


class _ParquetState(msgspec.Struct, kw_only=True):
    request: HistoryRequest
    ends_at: datetime
    next_day: int = 0
    fingerprint: int | None = None
    finished: bool = False


class ParquetTarget:
    """Writes a history into a folder.

    Args:
        folder: made if it is not there.
        window_s: length of the spend windows, seconds.
        truncate: remove an earlier history from it first.
    """

    everything = live = keeps_state = False

    def __init__(self, folder: Path, *, window_s: int, truncate: bool) -> None:
        self._folder = folder
        self._window_s = window_s
        self._truncate = truncate
        self._state = self._read()

    def _read(self) -> _ParquetState | None:
        try:
            return msgspec.json.decode((self._folder / STATE).read_bytes(), type=_ParquetState)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as e:
            raise UsageError(f"{self._folder / STATE} cannot be read: {e}") from None

    def close(self) -> None:
        """Nothing is open."""

    def begin(self, request: HistoryRequest, end: datetime) -> Begun:
        """Make ready; see `PostgresTarget.begin`."""
        state = self._state
        if state and not state.finished:
            if differences := state.request.differences(request):
                raise UsageError(
                    f"{self._folder} holds {state.next_day} of {state.request.days} days of a "
                    f"history with {differences}: the same command goes on; remove the folder "
                    "to give it up"
                )
            return Begun(state.ends_at, state.next_day, fingerprint=state.fingerprint)
        if state and not self._truncate:
            if (state.request, state.ends_at) == (request, end):
                return Begun(end, request.days, whole=True)
            raise UsageError(f"{self._folder} holds another history; --truncate removes it")
        if not state and self._folder.exists() and any(self._folder.iterdir()):
            raise UsageError(f"{self._folder} is not empty, and no history of ours is in it")
        for table in TABLES:
            shutil.rmtree(self._folder / table, ignore_errors=True)
        make_folder(self._folder)
        self._save(_ParquetState(request=request, ends_at=end, fingerprint=0))
        return Begun(end)

    def _save(self, state: _ParquetState) -> None:
        self._state = state
        with writing(self._folder / STATE) as file:
            file.write_bytes(msgspec.json.encode(state))

    def _write(self, frame: pl.DataFrame, *parts: str) -> None:
        place = self._folder.joinpath(*parts, "0.parquet")
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
        if self._state:
            self._state.next_day = day.number + 1
            if self._state.fingerprint is not None:
                self._state.fingerprint ^= fingerprint(day)
            self._save(self._state)

    def finish(self, ending: Ending) -> None:
        """Write customers and products."""
        self._write(ending.users, "users")
        self._write(ending.products, "products")
        if self._state:
            self._state.finished = True
            self._save(self._state)
