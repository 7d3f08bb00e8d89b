"""The parameters of a history: stored when it begins, and compared when it resumes."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Final, NamedTuple

import msgspec

from generators.history.history import midnight
from generators.history.plan import Plan
from shop.clock import KST
from shop.errors import UsageError
from shop.grading_policy import GradePolicy
from shop.node_lease import HISTORY_NODE

USERS: Final = 400_000
"""Fewer, and at the seed's rate there are not enough who are still customers: with 100,000 some buy
twice within minutes from the third month on."""
PRODUCTS: Final = 20_000
DAYS: Final = 365
ORDERS_PER_DAY: Final = 21_600
"""The seed's law: one every U(3, 5) s."""
MOST_DAYS: Final = 3_660


class HistoryRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A history.

    Attributes:
        days: business days.
        end: the last one; None: the day of the command, up to the moment of it.
        users: customers by the end of the last day.
        products: by then.
        orders_per_day: mean.
        seed: of all streams.
        scenarios: whether scenarios run.
        window_s: length of the spend windows, seconds.
        policy: grades, as `GradePolicy.as_json` writes it.
        node: of its ids.
    """

    days: int = DAYS
    end: date | None = None
    users: int = USERS
    products: int = PRODUCTS
    orders_per_day: int = ORDERS_PER_DAY
    seed: int = 1
    scenarios: bool = True
    window_s: int = 300
    policy: str = ""
    node: int = HISTORY_NODE

    def check(self) -> None:
        """Refuse what cannot be simulated.

        Raises:
            UsageError: says what is allowed.
        """
        if not 1 <= self.days <= MOST_DAYS:
            raise UsageError(f"--days is 1 to {MOST_DAYS}, not {self.days}")
        if self.users < 1 or self.products < 1 or self.orders_per_day < 1:
            raise UsageError("--users, --products and --orders-per-day are at least 1")

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
            self.users, self.products, self.orders_per_day * self.days, self.seed,
            thresholds=policy.thresholds[1:], grades=policy.names, months=policy.months,
            with_scenarios=self.scenarios, node=self.node,
        )  # fmt: skip

    def as_json(self) -> str:
        """Return it as it is written down."""
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
        next_day: to go on from.
        whole: all is there already.
        fingerprint: of the days before `next_day`, see `fingerprint`; None: it was not kept.
    """

    end: datetime
    next_day: int = 0
    whole: bool = False
    fingerprint: int | None = None


def read(text: str) -> HistoryRequest:
    """Return a request that was written down."""
    found = msgspec.json.decode(text, type=HistoryRequest)
    # Before there were leases, a history had the node of the first generators.
    return found if '"node":' in text else msgspec.structs.replace(found, node=0)


def _brief(value: object) -> str:
    return "(open)" if value is None else str(value)
