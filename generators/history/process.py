"""Simulate a history in a process of its own, while this one writes the days before."""

from __future__ import annotations

import contextlib
import multiprocessing
import queue
import resource
import signal
import threading
from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from multiprocessing.connection import Connection
from typing import Any, Final

import polars as pl

from generators.history.history import Ending, HistorySimulation
from generators.history.plan import Day, Plan
from generators.history.sign_ups import CustomerRows
from shop.errors import JangteoError
from shop.grading_policy import GradePolicy

AHEAD: Final = 3
"""Days that may be ready before they are taken; one is about 2 MB at the seed's rate."""
AT_ONCE: Final = 500_000
"""Customers that are handed over at a time: to send them takes four times their size."""
_MOST_WAIT_S: Final = 5.0
_END: Final = object()
_PEAK: Final = ("peak", None)
"""Looked up when it is sent, as handing over the ending takes memory, too."""


class SimulatedDays:
    """The days of a history, and afterwards its ending.

    Args:
        plan: what to simulate.
        policy: the grades.
        end: UTC.
        keep_state: see `HistorySimulation`.
        profiles: likewise.

    Attributes:
        ending: the sums of the days; None until all are taken.
        peak_bytes: most memory that the simulating process held, once all are taken.
    """

    def __init__(
        self,
        plan: Plan,
        policy: GradePolicy,
        end: datetime,
        *,
        keep_state: bool = False,
        profiles: bool = True,
    ) -> None:
        self._arguments = (plan, policy, end, keep_state, profiles)
        self.ending: Ending | None = None
        self.peak_bytes = 0

    def days(self) -> Generator[Day, None, None]:
        """Return the days.

        Raises:
            JangteoError: if the simulation failed.
        """
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        child = context.Process(target=_simulate, args=(theirs, *self._arguments), daemon=True)
        child.start()
        theirs.close()  # ours alone: the pipe ends with whichever of the two ends first
        try:
            yield from self._taken(ours)
        finally:
            ours.close()
            child.join(_MOST_WAIT_S)
            if child.is_alive():
                child.kill()
                child.join()

    def _taken(self, pipe: Connection[Any, Any]) -> Iterator[Day]:
        parts: dict[str, list[pl.DataFrame]] = {"rows": [], "shop": []}
        while True:
            try:
                kind, value = pipe.recv()
            except EOFError:
                raise JangteoError("the simulation ended before it was done") from None
            if kind == "day":
                yield value
            elif kind == "failed":
                raise JangteoError(f"the simulation failed: {value}")
            elif kind in parts:
                parts[kind].append(value)
            elif kind == "done":
                self.ending = _whole(value, parts)
            else:
                self.peak_bytes = value
                return


def _large(ending: Ending) -> dict[str, pl.DataFrame]:
    """Return the parts of an ending that have a row for each customer."""
    large = {"rows": ending.users.columns}
    return large if ending.shop is None else {**large, "shop": ending.shop.customers}


def _whole(ending: Ending, parts: Mapping[str, list[pl.DataFrame]]) -> Ending:
    """Return an ending with its large parts put together, or without them."""
    whole = {
        name: pl.concat([frame.clear(), *parts.get(name, [])])
        for name, frame in _large(ending).items()
    }
    rows = CustomerRows(ending.users.plan, ending.users.counts, whole["rows"])
    shop = ending.shop and replace(ending.shop, customers=whole["shop"])
    return replace(ending, users=rows, shop=shop)


def _simulate(  # noqa: PLR0917  (what `SimulatedDays` has)
    pipe: Connection[Any, Any],
    plan: Plan,
    policy: GradePolicy,
    end: datetime,
    keep_state: bool,
    profiles: bool,
) -> None:
    """Simulate; a thread sends, so that a writer who is slow for a moment holds nothing up."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the parent decides when it is over
        signal.signal(number, signal.SIG_IGN)
    ready: queue.Queue[Any] = queue.Queue(AHEAD)
    gone = threading.Event()
    sender = threading.Thread(target=_send, args=(pipe, ready, gone), daemon=True)
    sender.start()
    try:
        history = HistorySimulation(plan, policy, end, keep_state=keep_state, profiles=profiles)
        for day in history.days():
            ready.put(("day", day))
            if gone.is_set():
                return
        ending = history.ending()
        for name, frame in _large(ending).items():
            for part in frame.iter_slices(AT_ONCE):
                ready.put((name, part))
        ready.put(("done", _whole(ending, {})))
        ready.put(_PEAK)
    except Exception as e:
        ready.put(("failed", f"{type(e).__name__}: {e}"))
    ready.put(_END)
    sender.join()


def _send(pipe: Connection[Any, Any], ready: queue.Queue[Any], gone: threading.Event) -> None:
    while (item := ready.get()) is not _END:
        if not gone.is_set():
            if item is _PEAK:
                item = ("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
            try:
                pipe.send(item)
            except OSError:  # the parent has ended; keep taking, so that `put` does not wait
                gone.set()
    with contextlib.suppress(OSError):
        pipe.close()
