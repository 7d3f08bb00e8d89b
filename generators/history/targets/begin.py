"""The start of every target: begin a history, resume an unfinished one, or find it complete."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import msgspec
from msgspec import UNSET, UnsetType

from generators.history.fingerprint import fingerprint
from generators.history.plan import Day
from generators.history.request import Begun, HistoryRequest
from generators.history.state import writing
from shop.errors import UsageError


class RunState(msgspec.Struct, kw_only=True):
    """How far the writing of a history is.

    Attributes:
        request: what was asked for.
        ends_at: end of the history, UTC.
        where: the cluster, if the history is published.
        next_day: first day that is not written.
        fingerprint: of the days before it; None if it was not kept.
        finished: whether all is written.
    """

    request: HistoryRequest
    ends_at: datetime
    where: str | UnsetType = UNSET
    next_day: int = 0
    fingerprint: int | None = None
    finished: bool = False

    def resume(
        self, request: HistoryRequest, end: datetime, *, truncate: bool, give_up: str
    ) -> Begun | None:
        """Return where to resume; None if this history is finished and is not the one asked for.

        Args:
            request: what is asked for now.
            end: of a history that begins now.
            truncate: whether a finished history is to be replaced even by an equal one.
            give_up: how to give up an unfinished history, for people.

        Raises:
            UsageError: if another history is unfinished.
        """
        if self.finished:
            same = not truncate and (self.request, self.ends_at) == (request, end)
            return Begun(end, request.days, whole=True) if same else None
        if self.request.model != request.model:
            raise UsageError(
                f"a history is half done ({self.next_day} of {self.request.days} days) that another"
                f" version of this program began: {give_up} to give it up, or resume with that one"
            )
        if differences := self.request.differences(request):
            raise UsageError(
                f"a history is unfinished ({self.next_day} of {self.request.days} days), with "
                f"{differences}: run its command again to resume; {give_up} to give it up"
            )
        return Begun(self.ends_at, self.next_day, fingerprint=self.fingerprint)


class StateFile:
    """The state of a run in a file, replaced in one step.

    Args:
        path: the file.

    Attributes:
        state: what was found or last saved; None if there is no file.

    Raises:
        UsageError: if the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state: RunState | None = None
        try:
            self.state = msgspec.json.decode(path.read_bytes(), type=RunState)
        except FileNotFoundError:
            pass
        except (OSError, msgspec.DecodeError) as e:
            raise UsageError(f"{path} cannot be read: {e}") from None

    def start(self, state: RunState) -> Begun:
        """Save the state of a history that begins; return where it stands."""
        self.state = state
        self._save()
        return Begun(state.ends_at)

    def add(self, day: Day) -> None:
        """Save that a day is written."""
        if self.state:
            self.state.next_day = day.number + 1
            if self.state.fingerprint is not None:
                self.state.fingerprint ^= fingerprint(day)
            self._save()

    def finish(self) -> None:
        """Save that all is written."""
        if self.state:
            self.state.finished = True
            self._save()

    def _save(self) -> None:
        with writing(self.path) as file:
            file.write_bytes(msgspec.json.encode(self.state))
