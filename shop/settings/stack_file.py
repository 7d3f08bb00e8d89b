"""How a running `jangteo up` is found: a file in its data directory, and a pointer per user.

`jangteo up` writes `stack.json` (mode 0600: it holds the passwords made for this stack) into its
data directory and a pointer to that directory into the user's state directory. Any other command
looks in `.jangteo` of the working directory and of those above it, then at the pointers. A file
left by a crash is recognised by its process: the pid must be alive and be the same process
(see `shop.boot_clock`), not a later one of the same number.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from shop.boot_clock import same_process
from shop.private_files import UntrustedFileError, read_own, write_private

STACK_FILE: Final = "stack.json"
DEFAULT_NAME: Final = ".jangteo"
PUBLISHED: Final = (
    *("KAFKA_", "POSTGRES_", "REDIS_"),
    *("CACHE_", "GRADE_", "INGEST_", "SPEND_", "SHOP_", "DB_TYPE"),
)
"""What another terminal must see as the stack does: where the servers are, and what gives results
their meaning. Variables of other names are not taken from a stack file."""
_HOSTS: Final = re.compile(r"[\w.:,%/@\[\]-]*")
"""Of the variables that name a host: a name, an address, a path of sockets, several of them."""


@dataclass(frozen=True)
class RunningStack:
    """A running stack.

    Attributes:
        data_dir: where it keeps its data.
        pid: of the `jangteo up` that holds it.
        pid_started: of that process, see `shop.boot_clock.process_started`.
        started_at: when it came up, RFC 3339.
        env: the variables under which its servers are reached; holds secrets.
    """

    data_dir: Path
    pid: int
    pid_started: str
    started_at: str
    env: Mapping[str, str] = field(repr=False)

    @property
    def alive(self) -> bool:
        """Whether the process that wrote the file still runs."""
        return same_process(self.pid, self.pid_started)


def publish(stack: RunningStack) -> None:
    """Make a stack findable."""
    record = {**asdict(stack), "data_dir": str(stack.data_dir)}
    write_private(stack.data_dir / STACK_FILE, json.dumps(record, indent=1))
    with contextlib.suppress(OSError):  # a read-only home only costs the discovery from afar
        write_private(_pointer(stack.data_dir), str(stack.data_dir))


def withdraw(data_dir: Path) -> None:
    """Remove what `publish` wrote."""
    for path in (data_dir / STACK_FILE, _pointer(data_dir)):
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def read_stack(data_dir: Path) -> RunningStack | None:
    """Return the stack that a data directory describes, running or not; None if there is none."""
    return _read(data_dir, [])


def _read(data_dir: Path, doubts: list[str]) -> RunningStack | None:
    path = data_dir / STACK_FILE
    try:
        record = json.loads(read_own(path, secret=True))
        return RunningStack(
            data_dir=data_dir.absolute(),
            pid=int(record["pid"]),
            pid_started=str(record["pid_started"]),
            started_at=str(record["started_at"]),
            env=_checked(path, record["env"]),
        )
    except UntrustedFileError as e:
        doubts.append(str(e))
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _checked(path: Path, env: Any) -> dict[str, str]:
    """Return the variables of a stack file.

    Raises:
        UntrustedFileError: if one cannot have been written by `publish`.
    """
    for name, value in dict(env).items():
        if not re.fullmatch(r"[A-Z][A-Z0-9_]{0,63}", name) or not name.startswith(PUBLISHED):
            raise UntrustedFileError(f"{path} sets a variable that no stack has")
        if not isinstance(value, str) or "\0" in value or len(value) > 4096:
            raise UntrustedFileError(f"{path} has a value of {name} that no variable can have")
        if name in ("POSTGRES_HOST", "KAFKA_BOOTSTRAP_SERVERS") and not _HOSTS.fullmatch(value):
            raise UntrustedFileError(f"{path} has a value of {name} that is not an address")
        if name == "POSTGRES_PORT" and not re.fullmatch(r"[0-9]{1,5}", value):
            raise UntrustedFileError(f"{path} has a value of {name} that is not a port")
    return dict(env)


def find_stack(named: Path | None = None, doubts: list[str] | None = None) -> RunningStack | None:
    """Return the running stack: the named directory's, else the nearest, else the only one.

    Args:
        named: a data directory given by the user; nothing else is looked at then.
        doubts: receives why a stack file was not trusted.
    """
    doubts = [] if doubts is None else doubts
    if named is not None:
        return _alive(named, doubts)
    here = Path.cwd()
    for directory in (here, *here.parents):
        if stack := _alive(directory / DEFAULT_NAME, doubts):
            return stack
    elsewhere = list(_elsewhere(doubts))
    return elsewhere[0] if len(elsewhere) == 1 else None


def _alive(data_dir: Path, doubts: list[str]) -> RunningStack | None:
    stack = _read(data_dir, doubts)
    return stack if stack is not None and stack.alive else None


def _elsewhere(doubts: list[str]) -> Iterator[RunningStack]:
    directory = state_dir()
    for pointer in sorted(directory.glob("*")) if directory.is_dir() else ():
        try:
            data_dir = Path(os.fsdecode(read_own(pointer, limit=8192)).strip())
        except UntrustedFileError as e:
            doubts.append(str(e))
            continue
        except OSError:
            continue
        if data_dir.is_absolute() and (stack := _alive(data_dir, doubts)):
            yield stack


def state_dir() -> Path:
    """Return the folder of the pointers to this user's running stacks."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "jangteo" / "stacks"


def _pointer(data_dir: Path) -> Path:
    digest = hashlib.sha256(str(data_dir.absolute()).encode()).hexdigest()
    return state_dir() / digest[:16]
