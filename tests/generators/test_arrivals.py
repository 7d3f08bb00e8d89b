import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from generators.behaviour import arrivals
from generators.random_streams import stream
from tests.support.manual_clock import ManualClock


def simulate(
    law: arrivals.Law, seconds: float, *, tick: float = 0.01, made: int = 0
) -> list[float]:
    """Return the times of the events that a loop with this tick makes."""
    clock, times = ManualClock(), []
    pacer = arrivals.Pacer(law, stream(1, "test"), made=made, monotonic=clock)
    start = clock.now
    while (passed := clock.now - start) < seconds:
        times += [passed] * len(pacer.due(10**9))
        clock.now += max(pacer.wait(), tick)
    return times


@pytest.mark.parametrize(
    ("law", "low", "high"), [(arrivals.ORDERS, 3, 5), (arrivals.PRODUCTS, 6, 8)]
)
def test_orders_and_products_keep_their_gaps(law: arrivals.Law, low: float, high: float):
    gaps = np.diff([0.0, *simulate(law, 20_000)])
    # An event is made up to a tick late; its gap is that much longer, the next that much shorter.
    assert gaps.min() >= low - 0.011
    assert gaps.max() <= high + 0.011
    assert gaps.mean() == pytest.approx((low + high) / 2, rel=0.02)


def test_sign_ups_begin_with_ten_in_ten_seconds_and_fall():
    first = len(simulate(arrivals.SIGN_UPS, 1_000)) / 100
    assert first == pytest.approx(10, abs=0.5)
    later = len(simulate(arrivals.SIGN_UPS, 1_000, made=800_000)) / 100
    assert later == pytest.approx(3.95, abs=0.3)
    last = len(simulate(arrivals.SIGN_UPS, 10_000, made=5_760_000)) / 1_000
    assert last == pytest.approx(1.1, abs=0.1)  # after a year; it never ends


def test_sign_ups_are_on_the_curve():
    """The rate by number is a curve by time: (1 + N / K)^1.76 = 1 + 1.76 t / K."""
    law, knee = arrivals.SignUps(), 330_000
    # The start population is 10,000; a shop that opens with none is on the same curve.
    for first in (0, 10_000, 1_000_000):
        begin = ((1 + first / knee) ** 1.76 - 1) * knee / 1.76
        gaps = law.gap(np.full(20_000, 0.5), first + np.arange(20_000))
        end = first + 20_000
        expected = ((1 + end / knee) ** 1.76 - 1) * knee / 1.76 - begin
        assert float(np.sum(gaps)) == pytest.approx(expected, rel=0.01)


def test_a_pacer_takes_the_number_that_others_have_counted():
    clock = ManualClock()
    pacer = arrivals.Pacer(arrivals.SIGN_UPS, stream(1, "test"), monotonic=clock)
    assert pacer.made == 0
    pacer.made = 5_760_000
    count = 0
    for _ in range(200):
        clock.now += 0.5
        count += len(pacer.due(10))
    assert count == pytest.approx(11, abs=3)  # a year's customers are there: one in 9 s
    assert pacer.made == 5_760_000 + count


@pytest.mark.parametrize("rate", [0.5, 50, 10_000])
def test_a_constant_rate_is_met(rate: float):
    assert len(simulate(arrivals.Constant(rate), 60)) == pytest.approx(60 * rate, rel=0.01, abs=1)


@given(
    st.sampled_from(
        [arrivals.ORDERS, arrivals.PRODUCTS, arrivals.SIGN_UPS, arrivals.Poisson(arrivals.ORDERS)]
    ),
    st.floats(0.01, 1_000),
    st.floats(0, 1, exclude_max=True),
    st.integers(0, 10**7),
)
def test_speed_divides_every_gap(law: arrivals.Law, speed: float, u: float, made: int):
    faster = arrivals.law_for(law, speed=speed, rate=None)
    assert faster.gap(u, made) * speed == pytest.approx(law.gap(u, made))
    assert arrivals.law_for(law, speed=speed, rate=5.0).gap(u, made) == 0.2


@given(st.floats(0.1, 5_000), st.lists(st.floats(0.0, 0.9), max_size=30), st.integers(1, 1_000))
def test_a_pacer_owes_nothing_and_forgets_nothing(rate: float, steps: list[float], limit: int):
    """However the loop is delayed (by less than the backlog), the count follows the clock."""
    clock = ManualClock()
    pacer = arrivals.Pacer(arrivals.Constant(rate), stream(1, "p"), monotonic=clock)
    start, made = clock.now, 0
    for step in steps:
        clock.now += step
        while True:
            n = len(pacer.due(limit))
            assert 0 <= n <= limit
            made += n
            if n < limit:
                break
        expected = (clock.now - start) * rate
        assert expected - 1.001 <= made <= expected + 0.001
        assert 0 <= pacer.wait() <= 1 / rate + 1e-9


@given(st.floats(1, 5_000), st.floats(2, 1e6))
def test_a_stall_is_caught_up_for_one_second_only(rate: float, stall: float):
    clock = ManualClock()
    pacer = arrivals.Pacer(arrivals.Constant(rate), stream(1, "p"), monotonic=clock)
    clock.now += stall
    assert len(pacer.due(10**9)) <= arrivals.LONGEST_BACKLOG_S * rate + 1.001
    assert len(pacer.due(10**9)) == 0


def test_a_restart_forgets_what_was_missed():
    clock = ManualClock()
    pacer = arrivals.Pacer(arrivals.Constant(10), stream(1, "p"), monotonic=clock)
    clock.now += 0.9
    pacer.restart()
    assert len(pacer.due(100)) == 0
    assert pacer.wait() == pytest.approx(0.1)
