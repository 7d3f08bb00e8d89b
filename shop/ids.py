"""53-bit time-ordered ids: they index like a sequence and survive JSON in JavaScript.

Layout, most significant bit first (after the snowflake scheme of Twitter, 2010, narrowed so that
every id stays below 2**53, the largest exact integer of an IEEE 754 double):

    41 bits  milliseconds since 2020-01-01T00:00:00Z (enough until 2089)
     4 bits  node: which generator made it
     8 bits  sequence within the millisecond
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from time import time_ns
from typing import TYPE_CHECKING, Any, Final

from shop.clock import UTC

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

EPOCH: Final = datetime(2020, 1, 1, tzinfo=UTC)
EPOCH_MS: Final = int(EPOCH.timestamp()) * 1000
NODE_BITS: Final = 4
SEQUENCE_BITS: Final = 8
TIME_BITS: Final = 41
MAX_ID: Final = (1 << (TIME_BITS + NODE_BITS + SEQUENCE_BITS)) - 1
NODES: Final = 1 << NODE_BITS
PER_MS: Final = 1 << SEQUENCE_BITS
_SHIFT: Final = NODE_BITS + SEQUENCE_BITS
IDS_PER_MS: Final = 1 << _SHIFT
"""Ids per millisecond of all nodes together: an id divided by it gives its milliseconds."""


def make_id(ms: int, node: int = 0, sequence: int = 0) -> int:
    """Return the id of `ms` milliseconds since 2020-01-01 UTC.

    Raises:
        ValueError: if a part does not fit its bits.

    >>> make_id(1, node=2, sequence=3)
    4611
    """
    if not (0 <= ms < 1 << TIME_BITS and 0 <= node < NODES and 0 <= sequence < PER_MS):
        raise ValueError(f"id parts out of range: ms={ms} node={node} sequence={sequence}")
    return ms << _SHIFT | node << SEQUENCE_BITS | sequence


def time_of(id_: int) -> datetime:
    """Return the UTC time that an id carries, to the millisecond.

    >>> time_of(make_id(1500))
    datetime.datetime(2020, 1, 1, 0, 0, 1, 500000, tzinfo=datetime.timezone.utc)
    """
    return EPOCH + timedelta(milliseconds=id_ >> _SHIFT)


def ids_at(ms: npt.NDArray[np.int64] | npt.NDArray[Any], node: int = 0) -> npt.NDArray[np.int64]:
    """Return one unique id for each of the *sorted* milliseconds since 2020-01-01 UTC.

    A millisecond with more than 256 ids spills into the following ones, so the result is strictly
    increasing at any density.

    Args:
        ms: shape (n,), ascending.
        node: which generator, 0 to 15.

    >>> import numpy as np
    >>> ids_at(np.array([1, 1, 2])).tolist()
    [4096, 4097, 8192]
    """
    import numpy as np  # noqa: PLC0415  (0.1 s that a command without columns does not need)

    if not 0 <= node < NODES:
        raise ValueError(f"node {node} is not in 0..{NODES - 1}")
    return _ids_of(_slots(np.asarray(ms, dtype=np.int64) * PER_MS), node)


def _slots(wanted: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the first free slot at or after each wanted one; wanted ones ascend.

    A slot is a (millisecond, sequence) pair: slot[i] = max(wanted[i], slot[i-1] + 1), solved by a
    running maximum.
    """
    import numpy as np  # noqa: PLC0415  (0.1 s that commands without ids in bulk do without)

    index = np.arange(len(wanted), dtype=np.int64)
    slots: npt.NDArray[np.int64] = np.maximum.accumulate(wanted - index) + index
    return slots


def _ids_of(slot: npt.NDArray[np.int64], node: int) -> npt.NDArray[np.int64]:
    return (slot >> SEQUENCE_BITS) << _SHIFT | node << SEQUENCE_BITS | (slot & (PER_MS - 1))


class IdGenerator:
    """Strictly increasing ids of one node; safe to share between threads.

    When the clock steps back, or a millisecond is full, the generator continues from the last
    millisecond it used: ids never repeat and never go backwards within a process. Across
    processes, `shop.node_lease` guarantees it.

    Args:
        node: which generator, 0 to 15; two processes that make ids of the same kind at the same
            time need different nodes.
        clock_ns: nanoseconds since the Unix epoch.
        guard: called with the last millisecond about to be used, before its ids are returned; if
            it raises, the ids are not made.
    """

    def __init__(
        self,
        node: int = 0,
        clock_ns: Callable[[], int] = time_ns,
        *,
        guard: Callable[[int], None] = lambda _: None,
    ) -> None:
        make_id(0, node)
        self._node = node
        self._clock_ns = clock_ns
        self._guard = guard
        self._last_slot = -1
        self._lock = threading.Lock()

    @property
    def last_ms(self) -> int:
        """The last millisecond since 2020-01-01 UTC that was used; -1 before the first."""
        return self._last_slot >> SEQUENCE_BITS

    def move(self, node: int, floor_ms: int) -> None:
        """Continue on another node, with no id that carries an earlier time than `floor_ms`."""
        make_id(0, node)
        with self._lock:
            self._node = node
            self._last_slot = max(self._last_slot, (floor_ms << SEQUENCE_BITS) - 1)

    def __call__(self) -> int:
        """Return the next id."""
        now = (self._clock_ns() // 1_000_000 - EPOCH_MS) << SEQUENCE_BITS
        with self._lock:
            slot = max(now, self._last_slot + 1)
            self._guard(slot >> SEQUENCE_BITS)
            self._last_slot = slot
            return make_id(slot >> SEQUENCE_BITS, self._node, slot & (PER_MS - 1))

    def at(self, ms: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the next ids, one for each of these times, 100 times as fast as single calls.

        The clock is not read. More than 256 in a millisecond take ids of the following ones.

        Args:
            ms: shape (n,), milliseconds since 2020-01-01 UTC, ascending.

        >>> import numpy as np
        >>> ids = IdGenerator()
        >>> ids.at(np.array([1, 1])).tolist(), ids.at(np.array([1, 2])).tolist()
        ([4096, 4097], [4098, 8192])
        """
        import numpy as np  # noqa: PLC0415  (see ids_at)

        if not len(ms):
            return np.empty(0, np.int64)
        wanted = np.asarray(ms, dtype=np.int64) * PER_MS
        with self._lock:
            slots = _slots(np.maximum(wanted, self._last_slot + 1))
            last = int(slots[-1])
            self._guard(last >> SEQUENCE_BITS)
            self._last_slot = last
            return _ids_of(slots, self._node)
