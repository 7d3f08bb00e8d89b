"""The state of the shop's processes: a snapshot that `jangteo up` writes and others read."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, Final

from shop.private_files import read_own

SNAPSHOT: Final = "processes.json"
"""The file in the data directory."""


class ProcessState(str, Enum):
    """State of a process."""

    RUNNING = "running"
    BACKOFF = "backoff"
    """The process ended by itself and will be started again."""
    STOPPING = "stopping"
    RESTARTING = "restarting"
    """The process is stopping, to be started again at once."""
    STOPPED = "stopped"


@dataclass(frozen=True)
class ProcessStatus:
    """One process of a snapshot; for `pid_started` see `boot_clock.process_started`."""

    name: str
    pid: int | None
    pid_started: str | None
    state: str
    restarts: int
    up_since: datetime | None
    last_exit: str | None


def as_record(status: ProcessStatus) -> dict[str, Any]:
    """Return a status as JSON values."""
    return {**asdict(status), "up_since": status.up_since and status.up_since.isoformat()}


def read_snapshot(data_dir: Path) -> list[ProcessStatus]:
    """Return the last snapshot written in a data directory; empty if there is none."""
    try:
        record = json.loads(read_own(data_dir / SNAPSHOT))
        return [
            ProcessStatus(
                **{**p, "up_since": p["up_since"] and datetime.fromisoformat(p["up_since"])}
            )
            for p in record["processes"]
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return []
