"""The scenarios of the shop, as data: when they run, and what they do to orders.

Values are our own suggestions unless the source says otherwise. The table in `docs/scenarios.md` is
generated from this one. Every scenario can also be started by the operator, at any time, with a
duration and an intensity (see `jangteo scenario`); an intensity of 2 squares every factor and
doubles every percentage point.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias


@dataclass(frozen=True)
class MonthDays:
    """Days of every month, with the rate of each.

    A payday that falls on a weekend moves to the Friday before where `payday` is set.
    """

    rates: Mapping[int, float]
    payday: bool = False


@dataclass(frozen=True)
class Dates:
    """From one (month, day) to another, both included; `peaks` are the rates of single days."""

    first: tuple[int, int]
    last: tuple[int, int]
    peaks: Mapping[tuple[int, int], float] = field(default_factory=dict)
    peak_hour: int | None = None
    """On a day of `peaks`: the hour (Seoul) with 1.75 times the day's rate."""
    also: tuple[tuple[int, int], tuple[int, int]] | None = None
    """A second part of the year, first and last day."""


@dataclass(frozen=True)
class Around:
    """Days from and to a lunar holiday; `rates` are those of single days relative to it."""

    holiday: str
    first: int
    last: int
    rates: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class FourthFriday:
    """From the fourth Friday of a month on, for some days."""

    month: int
    days: int


@dataclass(frozen=True)
class Chance:
    """Started by the seed: a number per year, at one of these hours (Seoul).

    Attributes:
        per_year: mean number.
        hours: the hour at which it begins, each alike.
        months: in which it may begin; all if empty.
    """

    per_year: float
    hours: tuple[int, ...]
    months: tuple[int, ...] = ()


When: TypeAlias = MonthDays | Dates | Around | FourthFriday | Chance


@dataclass(frozen=True)
class Segment:
    """Whose inclination to buy rises; an empty part means everybody.

    Attributes:
        lift: added to the logarithm of their propensity.
        genders: F, M.
        ages: (youngest, oldest), years.
        grades: names.
        idle_days: days since the last order, at least.
        metro: only the capital area.
    """

    lift: float
    genders: str = ""
    ages: tuple[int, int] | None = None
    grades: tuple[str, ...] = ()
    idle_days: int = 0
    metro: bool = False


@dataclass(frozen=True)
class Scenario:
    """What one scenario does while it runs.

    Attributes:
        name: what orders carry in their field `scenario`.
        title: for people.
        when: its schedule.
        lasts_s: how long, in seconds, when started by chance or by the operator.
        rate: factor on the rate of orders.
        shape: (share of the duration, factor on `rate`) steps, for those that decay; by chance
            and by the operator only.
        categories: category key -> factor on its weight.
        focus: share of the orders that go to `focus_products` products.
        focus_products: how many.
        value: exponent of the price in the weight of a product: below 0 prefers the cheaper.
        quantity: factor on the odds of more than one unit.
        discount: (least, most) percent off, of which one is drawn; None: as always.
        discount_share: share of the orders that have it.
        payments: payment method -> factor on its odds; 0 takes it away.
        cancel: factor on the odds of a cancellation.
        refund: factor on the odds of a refund.
        segments: whose propensity rises.
        source: of the values.
    """

    name: str
    title: str
    when: When
    source: str
    lasts_s: float = 86_400.0
    rate: float = 1.0
    shape: tuple[tuple[float, float], ...] = ()
    categories: Mapping[str, float] = field(default_factory=dict)
    focus: float = 0.0
    focus_products: int = 1
    value: float = 0.0
    quantity: float = 1.0
    discount: tuple[int, int] | None = None
    discount_share: float = 0.6
    payments: Mapping[str, float] = field(default_factory=dict)
    cancel: float = 1.0
    refund: float = 1.0
    segments: tuple[Segment, ...] = ()


_OURS: Final = "our estimate"
_GIFTS: Final = {"food": 2.2, "health": 2.6, "beauty": 1.2}
_BULK: Final = 2.5
_MINUTE: Final = 60.0
_HOUR: Final = 3_600.0
_DAY: Final = 86_400.0

SCENARIOS: Final[tuple[Scenario, ...]] = (
    Scenario(
        "payday", "Payday",
        MonthDays({26: 1.35, 27: 1.45}, payday=True),
        "days 11, 12, 26, 27 have 18.4 % of transactions (etnews 2008-04-30); BC Card 2006: 25th"
        " x1.16, 26th x1.34, 27th x1.49 (hankyung 2007-03-06)",
        rate=1.35, categories={"fashion": 1.2, "electronics": 1.2}, payments={"CARD": 1.14},
        segments=(Segment(0.3, ages=(20, 49)),),
    ),
    Scenario(
        "pre_payday", "Squeeze before payday",
        MonthDays({23: 0.92, 24: 0.92}), _OURS,
        rate=0.92, categories={"food": 1.3, "living": 1.2, "pets": 1.2}, value=-0.12,
        discount=(5, 15), discount_share=0.05, payments={"PHONE": 1.4},
        segments=(Segment(0.2, ages=(20, 29)),),
    ),
    Scenario(
        "flash_sale", "Flash sale on one product", Chance(60, (10, 12, 15, 20, 21)), _OURS,
        lasts_s=30 * _MINUTE, rate=6.0, shape=((0.15, 1.0), (0.2, 0.75), (0.3, 0.6), (0.35, 0.5)),
        focus=0.4, discount=(30, 60), discount_share=0.9, payments={"SIMPLE_PAY": 1.5},
        cancel=2.0,
    ),
    Scenario(
        "midnight_deal", "Midnight deal", Chance(40, (0,)), _OURS,
        lasts_s=_HOUR, rate=2.5, categories={"beauty": 2.5, "living": 2.0},
        discount=(20, 40), discount_share=0.8, payments={"SIMPLE_PAY": 1.3}, cancel=1.3,
        segments=(Segment(0.6, ages=(20, 39)),),
    ),
    Scenario(
        "live_commerce", "Live commerce", Chance(60, (11, 19, 20, 21)), _OURS,
        lasts_s=_HOUR, rate=3.0, focus=0.6, focus_products=3, quantity=1.6, discount=(15, 30),
        discount_share=0.8, payments={"SIMPLE_PAY": 1.3}, refund=1.3,
        segments=(Segment(0.9, genders="F", ages=(30, 49)),),
    ),
    Scenario(
        "seollal_gifts", "Gifts for Seollal", Around("Korean New Year", -10, -4), _OURS,
        rate=1.3, categories=_GIFTS, quantity=_BULK, discount=(10, 20), discount_share=0.5,
        payments={"CARD": 1.15, "TRANSFER": 1.3}, refund=0.6,
        segments=(Segment(0.4, ages=(40, 69)),),
    ),
    Scenario(
        "seollal_holiday", "Seollal and the day after", Around("Korean New Year", -1, 2, {2: 1.3}),
        "holiday x.5, day after x1.3 (newspim 2014-09-15, wowtv 2020-10-06)",
        rate=0.5, categories={"fashion": 1.3, "beauty": 1.3}, payments={"SIMPLE_PAY": 1.2},
        segments=(Segment(0.3, genders="F", ages=(30, 59)),),
    ),
    Scenario(
        "chuseok_gifts", "Gifts for Chuseok", Around("Chuseok", -10, -4), _OURS,
        rate=1.35, categories=_GIFTS, quantity=_BULK, discount=(10, 20), discount_share=0.5,
        payments={"CARD": 1.15, "TRANSFER": 1.3}, refund=0.6,
        segments=(Segment(0.4, ages=(40, 69)),),
    ),
    Scenario(
        "chuseok_holiday", "Chuseok and the day after", Around("Chuseok", -1, 2, {2: 1.6}),
        "holiday x.5, day after x1.6 (newspim 2014-09-15)",
        rate=0.5, categories={"fashion": 1.3, "beauty": 1.3}, payments={"SIMPLE_PAY": 1.2},
        segments=(Segment(0.3, genders="F", ages=(30, 59)),),
    ),
    Scenario(
        "family_month", "Family month, Children's Day", Dates((5, 1), (5, 8)), _OURS,
        rate=1.15, categories={"kids": 1.8, "health": 1.6}, discount=(10, 10), discount_share=0.3,
        segments=(Segment(0.3, ages=(30, 49)),),
    ),
    Scenario(
        "double_eleven", "Festival of 11.11", Dates((11, 1), (11, 11), {(11, 11): 4.0}, 21),
        "2017: 1.6 times the event's daily mean, 10.9 % of the day in the last hour (sedaily"
        " 2017-11-12); 2021: 10 % in the peak hour (hankyung 2021-11-04); the day's x4 is our"
        " estimate",
        rate=1.5, categories={"electronics": 1.8, "food": 1.2}, discount=(20, 50),
        payments={"CARD": 1.2}, cancel=1.4,
        segments=(Segment(0.4, grades=("GOLD", "VIP", "VVIP")),),
    ),
    Scenario(
        "black_friday", "Black Friday", FourthFriday(11, 4), _OURS,
        rate=1.8, categories={"electronics": 1.9, "fashion": 1.4}, discount=(30, 60),
        payments={"CARD": 1.15, "SIMPLE_PAY": 1.15}, refund=1.3,
        segments=(Segment(0.6, genders="M", ages=(30, 49)),),
    ),
    Scenario(
        "christmas", "Christmas and the year's end", Dates((12, 18), (12, 24)), _OURS,
        rate=1.25, categories={"kids": 1.9, "beauty": 1.3, "electronics": 1.2}, discount=(10, 20),
        discount_share=0.4, refund=1.2, segments=(Segment(0.3, ages=(20, 39)),),
    ),
    Scenario(
        "season_change", "Change of season", Dates((3, 1), (3, 7), also=((9, 1), (9, 7))), _OURS,
        rate=1.1, categories={"fashion": 1.5}, discount=(40, 40), discount_share=0.15, refund=1.2,
        segments=(Segment(0.3, genders="F"),),
    ),
    Scenario(
        "back_to_school", "Back to school", Dates((2, 20), (3, 5)), _OURS,
        rate=1.1, categories={"stationery": 2.5, "electronics": 1.3}, discount=(10, 10),
        discount_share=0.3, segments=(Segment(0.3, ages=(30, 49)),),
    ),
    Scenario(
        "heat_wave", "Heat wave or cold snap", Chance(4, (9,), (1, 7, 8, 12)),
        "30 to 33 C against 9 to 12 C: orders x1.115 (heraldcorp 2016-07-29)",
        lasts_s=2 * _DAY, rate=1.1, categories={"electronics": 1.8, "food": 1.3, "living": 1.3},
        quantity=1.5,
    ),
    Scenario(
        "dust_rain", "Fine dust or rain", Chance(8, (7,)),
        "alert: Kurly +30 %, Baemin +7.5 % (heraldcorp 2019-01-15, hankyung 2019-03-06)",
        lasts_s=_DAY, rate=1.15, categories={"food": 1.4, "health": 2.0},
        segments=(Segment(0.4, metro=True),),
    ),
    Scenario(
        "member_day", "Day of the grades", MonthDays({1: 1.12}), _OURS,
        rate=1.12, categories={"beauty": 1.8}, discount=(5, 15), discount_share=0.7,
        segments=(Segment(0.8, grades=("SILVER", "GOLD", "VIP", "VVIP")),),
    ),
    Scenario(
        "payment_outage", "Outage of simple pay", Chance(6, (10, 13, 16, 20)), _OURS,
        lasts_s=40 * _MINUTE, rate=0.75, shape=((0.75, 1.0), (0.25, 1.87)),
        payments={"SIMPLE_PAY": 0.0}, cancel=2.0,
    ),
    Scenario(
        "win_back", "Win-back campaign", Chance(2, (10,)), _OURS,
        lasts_s=3 * _DAY, rate=1.05, discount=(20, 30), discount_share=0.5, refund=0.9,
        segments=(Segment(1.1, idle_days=90),),
    ),
)  # fmt: skip
BY_NAME: Final[Mapping[str, Scenario]] = {s.name: s for s in SCENARIOS}
