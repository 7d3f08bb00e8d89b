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
    """Return each item, in order, with the result of `make`; one thread takes and prepares them.

    An exception in the thread is raised here. A caller that stops early closes the generator, which
    waits for the item in progress.

    Args:
        items: taken in the thread alone, until this generator has ended.
        make: prepares an item.
        depth: the number of items that may be in progress or ready in addition to the one in use.

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
