"""Where the console's knowledge comes from: one blocking `read` per source, each in its thread."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from shop import settings as shop_settings
from shop.errors import JangteoError
from shop.settings import Settings

READ_DEADLINE_S: Final = 1.5
"""What a server gets to answer before its reading is called stale."""

T_co = TypeVar("T_co", covariant=True)


class Source(Protocol[T_co]):
    """Reads one thing.

    Attributes:
        name: the field of `Snapshot` that it fills.
        interval: seconds between two reads.
    """

    name: str
    interval: float

    def read(self) -> T_co:
        """Return the value now; raise whatever the client raises."""
        ...

    def reset(self) -> None:
        """Let go of connections: the next read makes new ones. Called by the reading thread."""
        ...


AnySource = Source[Any]


class Where:
    """Where the servers are now: a shop that was started again may have other ports.

    Args:
        settings: what the console was started with.
        data_dir: as the user named it.
        follow: look again when asked to; off where the settings are given by a test.
    """

    def __init__(
        self, settings: Settings, data_dir: Path | None = None, *, follow: bool = True
    ) -> None:
        self._settings = settings
        self._data_dir = data_dir
        self._follow = follow
        self._lock = threading.Lock()

    @property
    def settings(self) -> Settings:
        """The newest."""
        return self._settings

    def look(self) -> None:
        """Read them again, if a shop is there; otherwise what was known stays."""
        if not self._follow:
            return
        with self._lock:
            try:
                found = shop_settings.load(data_dir=self._data_dir)
            except JangteoError:
                return
            if any(found.env.get(n) for n in ("REDIS_URL", "POSTGRES_HOST")):
                self._settings = found
