"""Take and prepare the next items of an iterator while one is in use."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")
DEPTH: Final = 2


def ahead(
    items: Iterable[Item], make: Callable[[Item], Made], depth: int = DEPTH
) -> Generator[tuple[Item, Made], None, None]:
    """Return each item, in order, with what is made of it; one thread takes and makes.

    What the thread raises is raised here. Whoever stops early closes it, which waits for the item
    that is being made.

    Args:
        items: taken in the thread alone, until this generator has ended.
        make: makes of an item what is wanted.
        depth: how many may be under way or ready beside the one in use.

    >>> list(ahead([1, 2, 3], str))
    [(1, '1'), (2, '2'), (3, '3')]
    """
    left = iter(items)

    def step() -> tuple[Item, Made] | None:
        for item in left:
            return item, make(item)
        return None

    with ThreadPoolExecutor(1, "ahead") as worker:
        waiting = deque(worker.submit(step) for _ in range(depth))
        try:
            while (found := waiting.popleft().result()) is not None:
                waiting.append(worker.submit(step))
                yield found
        finally:
            for future in waiting:
                future.cancel()
