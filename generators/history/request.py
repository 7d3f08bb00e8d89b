"""The parameters of a history: stored when it begins, and compared when it resumes."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Final, NamedTuple

import msgspec

from generators.behaviour.customer_model import ORDERS_PER_DAY
from generators.history.history import midnight
from generators.history.plan import Plan
from shop.clock import KST
from shop.errors import UsageError
from shop.grading_policy import GradePolicy
from shop.node_lease import HISTORY_NODE

DAYS: Final = 365
MODEL: Final = 2
"""Version of the behaviour of customers: one of another version is another shop.

1 had a number of customers that was asked for, 2 has those that the orders need."""
LEAST_ORDERS: Final = 20
"""A day. With fewer, even a cache of a dozen customers would be looked at once in a day."""
MOST_ORDERS: Final = 10_000_000
"""Of a mean day, which is held in memory: over thirty times the largest that was measured."""
SAME_DAY_FROM: Final = 500
"""Orders a day below which the cache is too coarse for what happens within a day."""
MOST_DAYS: Final = 3_660
WATCHED_DAYS: Final = 90
BALANCED_DAYS: Final = 1_100
"""About when 560 of the 600 purchasers in the cache are due; at 600 nobody new could buy."""


class HistoryRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A history.

    Attributes:
        days: business days.
        end: the last one; None: the day of the command, up to the moment of it.
        orders_per_day: mean; customers and products follow from it.
        seed: of all streams.
        scenarios: whether scenarios run.
        window_s: length of the spend windows, seconds.
        policy: grades, as `GradePolicy.as_json` writes it.
        node: of its ids.
        model: which version of the behaviour; see `MODEL`.
        topics: names of the optional topics that it has.
    """

    days: int = DAYS
    end: date | None = None
    orders_per_day: int = ORDERS_PER_DAY
    seed: int = 1
    scenarios: bool = True
    window_s: int = 300
    policy: str = ""
    node: int = HISTORY_NODE
    model: int = MODEL
    topics: tuple[str, ...] = ()

    def check(self) -> None:
        """Refuse what cannot be simulated.

        Raises:
            UsageError: says what is allowed.
        """
        if not 1 <= self.days <= MOST_DAYS:
            raise UsageError(f"--days is 1 to {MOST_DAYS}, not {self.days}")
        if self.orders_per_day < LEAST_ORDERS:
            raise UsageError(
                f"--orders-per-day is at least {LEAST_ORDERS}, not {self.orders_per_day}: a shop"
                " with fewer has too few customers at a time to choose from"
            )
        if self.orders_per_day > MOST_ORDERS:
            raise UsageError(
                f"--orders-per-day is at most {MOST_ORDERS}, not {self.orders_per_day}: a day is"
                " held in memory"
            )

    def limits(self) -> list[str]:
        """Return what a history of this size cannot show, as messages.

        >>> HistoryRequest().limits()
        []
        >>> len(HistoryRequest(days=30, orders_per_day=100).limits())
        2
        """
        found = []
        if self.orders_per_day < SAME_DAY_FROM:
            found.append(
                f"below {SAME_DAY_FROM} orders a day, what happens within a day is coarse:"
                " customers wait for days until they are chosen"
            )
        if self.days < WATCHED_DAYS:
            found.append(
                f"within {self.days} days few customers buy again: figures of loyalty need"
                f" {WATCHED_DAYS} days, most of them a year"
            )
        if self.days > BALANCED_DAYS:
            found.append(
                f"after {BALANCED_DAYS} days nearly all orders are repeats, and customers who"
                " bought lately wait longer than their habits say"
            )
        return found

    def ends_at(self, now: datetime) -> datetime:
        """Return the end of the history, UTC: of the day's last moment, or now if that is earlier.

        >>> from datetime import timezone
        >>> noon = datetime(2026, 1, 1, 3, tzinfo=timezone.utc)
        >>> HistoryRequest().ends_at(noon) == noon
        True
        >>> HistoryRequest(end=date(2025, 12, 24)).ends_at(noon).isoformat()
        '2025-12-24T15:00:00+00:00'

        Raises:
            UsageError: if the day is still to come.
        """
        last = self.end or now.astimezone(KST).date()
        if midnight(last) >= now:
            raise UsageError(f"--end {last} has not begun yet: history ends now at the latest")
        return min(midnight(last + timedelta(days=1)), now)

    def plan(self, end: datetime, policy: GradePolicy) -> Plan:
        """Return what to simulate, for an end that `ends_at` gave."""
        last = (end - timedelta(microseconds=1)).astimezone(KST).date()
        return Plan(
            midnight(last - timedelta(days=self.days - 1)).astimezone(KST), self.days,
            self.orders_per_day, self.seed,
            thresholds=policy.thresholds[1:], grades=policy.names, months=policy.months,
            with_scenarios=self.scenarios, node=self.node,
        )  # fmt: skip

    def as_json(self) -> str:
        """Return the request as it is stored."""
        return msgspec.json.encode(self).decode()

    def differences(self, other: HistoryRequest) -> str:
        """Return the differences of another request as text; empty if there are none.

        >>> HistoryRequest(seed=1, days=3).differences(HistoryRequest(seed=2, days=3))
        'seed 1, not 2'
        """
        return "; ".join(
            f"{name} {_brief(getattr(self, name))}, not {_brief(getattr(other, name))}"
            for name in self.__struct_fields__
            if getattr(self, name) != getattr(other, name)
        )


class Begun(NamedTuple):
    """Where the writing of a history stands.

    Attributes:
        end: of the history, UTC.
        next_day: the first day that is not written.
        whole: whether all days are written.
        fingerprint: of the days before `next_day`, see `fingerprint`; None: it was not stored.
    """

    end: datetime
    next_day: int = 0
    whole: bool = False
    fingerprint: int | None = None


def read(text: str) -> HistoryRequest:
    """Return a stored request."""
    found = msgspec.json.decode(text, type=HistoryRequest)
    # Before there were leases, a history had the node of the first generators.
    if '"node":' not in text:
        found = msgspec.structs.replace(found, node=0)
    return found if '"model":' in text else msgspec.structs.replace(found, model=1)


def _brief(value: object) -> str:
    return "(open)" if value is None else str(value)
