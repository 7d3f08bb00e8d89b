"""The sources of the snapshots: one blocking `read` each, in a thread of its own."""

from __future__ import annotations

import importlib
import threading
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from console import translations as msg
from console.translations import Message
from shop import settings as shop_settings
from shop.errors import JangteoError
from shop.log import redact
from shop.retry import first_line
from shop.settings import Settings

READ_DEADLINE_S: Final = 1.5
"""Seconds that a request may take at least, however fast its server answered before."""
LONGEST_DEADLINE_S: Final = 15.0
"""Seconds that a request may take at most, and while nothing is known of its server."""

T_co = TypeVar("T_co", covariant=True)


class SnapshotSource(Protocol[T_co]):
    """Reads one thing.

    Attributes:
        name: the field of `Snapshot` that it fills.
        interval: seconds between two reads.
        deadline: seconds that each request may take; the poller sets it from the latency that it
            sees. Connections made before keep the deadline that they were made with.
    """

    name: str
    interval: float
    deadline: float

    def read(self) -> T_co:
        """Return the value now; errors of the client are raised as they are."""
        ...

    def reset(self) -> None:
        """Let go of connections: the next read makes new ones. Called by the reading thread."""
        ...


AnySource = SnapshotSource[Any]

SOURCES: Final[Mapping[str, tuple[str, str]]] = {
    "kafka": ("console.sources.kafka", "TopicsSource"),
    "redis": ("console.sources.redis", "RedisSource"),
    "postgres": ("console.sources.postgres", "ShopSource"),
    "grades": ("console.sources.postgres", "GradeSource"),
    "letters": ("console.sources.postgres", "DeadLetterSource"),
    "processes": ("console.sources.processes", "ProcessSource"),
    "events": ("console.sources.events", "EventSource"),
}
"""Name of a source -> module and class."""


@dataclass(frozen=True)
class LazySource:
    """A source whose module is imported by the thread that reads it.

    The clients of three servers take half a second of CPU to import: the first picture, and the
    servers that are there, do not wait for it.
    """

    name: str
    current: CurrentSettings
    how: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of the source."""

    def make(self) -> AnySource:
        """Return the source."""
        module, kind = SOURCES[self.name]
        made: AnySource = getattr(importlib.import_module(module), kind)(self.current, **self.how)
        return made


def explain(error: Exception) -> str:
    """Return one line on what is wrong.

    >>> explain(OSError(111, "Connection refused")), explain(ValueError())
    ('[Errno 111] Connection refused', 'ValueError')
    """
    # An exception of the Kafka client holds an error that says it in a method, not as its text.
    said = getattr(error.args[0] if error.args else None, "str", None)
    return str(said()) if callable(said) else first_line(error)


def defect(error: Exception) -> Message:
    """Return the message on an error that no server is to blame for, with its place in the code."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    return msg.DEFECT(error=redact(f"{Path(where.filename).name}:{where.lineno}: {explain(error)}"))


class CurrentSettings:
    """The settings of the running shop; after a restart its servers may have other ports.

    Args:
        settings: what the console was started with.
        data_dir: as the user named it.
        follow: whether `reload` loads them again; tests give fixed ones.
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
        """The newest settings."""
        return self._settings

    def reload(self) -> None:
        """Load the settings again; keep the known ones where no shop is running."""
        if not self._follow:
            return
        with self._lock:
            try:
                found = shop_settings.load(data_dir=self._data_dir)
            except JangteoError:
                return
            if any(found.env.get(n) for n in ("REDIS_URL", "POSTGRES_HOST")):
                self._settings = found
