"""Failures of what only informs never end a process: status files, heartbeats, recordings.

Each may fail. A failure is reported once, and once more when it works again.
"""

from __future__ import annotations

from collections.abc import Callable

from shop.log import get_logger
from shop.retry import first_line


def _to_log(text: str) -> None:
    get_logger().warning(text)


class BestEffort:
    """Something that is written again and again and may fail.

    Args:
        what: its name for people, such as ``the status file``.
        errors: exceptions that a failure raises.
        report: receives both reports; the log by default.
    """

    def __init__(
        self,
        what: str,
        errors: tuple[type[Exception], ...] = (OSError,),
        report: Callable[[str], None] = _to_log,
    ) -> None:
        self._what = what
        self._errors = errors
        self._report = report
        self._failing = False

    def attempt(self, work: Callable[[], object]) -> bool:
        """Do the work; return whether it succeeded."""
        try:
            work()
        except self._errors as e:
            if not self._failing:
                self._failing = True
                self._report(f"cannot write {self._what}, the shop continues: {first_line(e)}")
            return False
        if self._failing:
            self._failing = False
            self._report(f"{self._what} can be written again")
        return True
