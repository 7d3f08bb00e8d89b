"""The grades as data: names, thresholds, and the calendar months whose spend counts.

GRADE_POLICY names a JSON file with another policy:

    {"months": 6, "grades": [{"name": "BRONZE", "threshold": 0},
                             {"name": "SILVER", "threshold": 100000}]}
"""

from __future__ import annotations

import calendar
import itertools
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from shop.clock import UTC
from shop.errors import UsageError

_MAX_MONTHS: Final = 120
_MAX_KRW: Final = 2**63 - 1  # a bigint of PostgreSQL, an Int64 of polars
_NAME_LENGTH: Final = 32


class Grade(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One grade: who has spent at least `threshold` KRW in the period holds it or a higher one."""

    name: str
    threshold: int


class GradePolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The grades, lowest first, and the calendar months whose paid spend counts.

    Raises:
        ValueError: if the thresholds do not ascend from 0, a name occurs twice or is not 1 to 32
            printable characters, or the period is not 1 to 120 months.
    """

    grades: tuple[Grade, ...]
    months: int = 6

    def __post_init__(self) -> None:
        thresholds = self.thresholds
        if not thresholds or thresholds[0] != 0:
            raise ValueError("the first grade must begin at 0, or some customers have no grade")
        if any(high <= low for low, high in itertools.pairwise(thresholds)):
            raise ValueError(f"thresholds must ascend: {', '.join(map(str, thresholds))}")
        if thresholds[-1] > _MAX_KRW:
            raise ValueError(f"thresholds are at most {_MAX_KRW}")
        names = self.names
        for name in names:
            if not 1 <= len(name) <= _NAME_LENGTH or not name.isprintable() or name != name.strip():
                raise ValueError(f"a name is 1 to {_NAME_LENGTH} printable characters: {name!r}")
        if len(set(names)) != len(names):
            raise ValueError(f"grades need names that differ: {', '.join(names)}")
        if not 1 <= self.months <= _MAX_MONTHS:
            raise ValueError(f"the period is 1 to {_MAX_MONTHS} months, not {self.months}")

    def __iter__(self) -> Iterator[Grade]:
        """Return the grades, lowest first."""
        return iter(self.grades)

    @property
    def names(self) -> tuple[str, ...]:
        """The grades' names, lowest first."""
        return tuple(g.name for g in self.grades)

    @property
    def thresholds(self) -> tuple[int, ...]:
        """The spend from which each is held, KRW, ascending from 0."""
        return tuple(g.threshold for g in self.grades)

    @property
    def lowest(self) -> str:
        """The grade of a customer who bought nothing in the period."""
        return self.grades[0].name

    @property
    def ranks(self) -> dict[str, int]:
        """Each grade's position by its name, from 0."""
        return {g.name: i for i, g in enumerate(self.grades)}

    def rank(self, name: str) -> int:
        """Return a grade's position from 0; -1 for a name that only an earlier policy had.

        >>> POLICY.rank("BRONZE"), POLICY.rank("VVIP"), POLICY.rank("PLATINUM")
        (0, 4, -1)
        """
        return self.ranks.get(name, -1)

    def window(self, as_of: datetime) -> tuple[datetime, datetime]:
        """Return the period that counts at `as_of`: an order is in it if start <= time < end.

        Half open, so that the periods of two runs differ by exactly what entered and what left.
        """
        return months_before(as_of, self.months), as_of

    def as_json(self) -> str:
        """Return the policy as one line, as a file of GRADE_POLICY may hold it.

        >>> GradePolicy((Grade("ALL", 0),), months=1).as_json()
        '{"grades":[{"name":"ALL","threshold":0}],"months":1}'
        """
        return msgspec.json.encode(self).decode()


POLICY: Final = GradePolicy(
    (
        Grade("BRONZE", 0),
        Grade("SILVER", 100_000),
        Grade("GOLD", 400_000),
        Grade("VIP", 1_000_000),
        Grade("VVIP", 2_000_000),
    )
)
"""KRW paid in six calendar months, after published Korean programmes: Olive Young (six months,
since 2025-07) has steps at 100,000, 400,000, 700,000 and 1,000,000; 11st (2009, six months) VIP
at 800,000 and VVIP at 2,000,000. At ten orders a customer and year of 45,000 on average this gives
56.9 / 23.8 / 11.7 / 5.8 / 1.9 % (simulated)."""


def parse(text: bytes | str) -> GradePolicy:
    """Return the policy that a JSON text describes.

    >>> parse('{"grades": [{"name": "ALL", "threshold": 0}]}').months
    6

    Raises:
        ValueError: if it does not; the message names the fault and its place in the text.
    """
    return msgspec.json.decode(text, type=GradePolicy)


def load(path: str) -> GradePolicy:
    """Return the policy of a file.

    Args:
        path: a JSON file; empty: the default policy.

    Raises:
        UsageError: if the file is not a valid policy; the message has one line.
    """
    if not path:
        return POLICY
    try:
        return parse(Path(path).read_bytes())
    except OSError as e:
        raise UsageError(f"GRADE_POLICY: cannot read {path}: {e.strerror}") from None
    except ValueError as e:  # msgspec's errors and a policy that contradicts itself
        raise UsageError(f"GRADE_POLICY: {path} is not a valid policy: {e}") from None


def months_before(as_of: datetime, months: int) -> datetime:
    """Return the same time of day `months` calendar months earlier, in UTC.

    If that month has no such day, its last day is taken: the rule of PostgreSQL's
    ``timestamptz - interval '6 months'`` in a session whose time zone is UTC.

    Args:
        as_of: an aware time.
        months: number of months, at least 0.

    >>> months_before(datetime(2024, 8, 31, 12, tzinfo=UTC), 6).isoformat()
    '2024-02-29T12:00:00+00:00'
    """
    as_of = as_of.astimezone(UTC)
    year, month0 = divmod(as_of.year * 12 + as_of.month - 1 - months, 12)
    last_day = calendar.monthrange(year, month0 + 1)[1]
    return as_of.replace(year=year, month=month0 + 1, day=min(as_of.day, last_day))
