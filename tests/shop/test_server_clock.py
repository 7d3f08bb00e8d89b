"""A server's clock: times of events do not jump when the server answers late."""

from __future__ import annotations

from datetime import datetime, timedelta

from shop.clock import UTC
from shop.server_clock import ServerClock

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


class Machine:
    """Seconds since boot, set by hand, and a server whose clock is `ahead` of noon at boot."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.ahead = timedelta()
        self.clock = ServerClock("PostgreSQL", wall=self.server, seconds=lambda: self.seconds)

    def server(self) -> datetime:
        return NOON + self.ahead + timedelta(seconds=self.seconds)

    def ask(self, there: float, back: float) -> None:
        """Ask; the way there and back takes this number of seconds."""

        def question() -> datetime:
            self.seconds += there
            at = self.server()
            self.seconds += back
            return at

        self.clock.ask(question)

    @property
    def error(self) -> float:
        return (self.clock() - self.server()).total_seconds()


def test_late_answers_do_not_move_a_clock_that_may_be_right() -> None:
    machine = Machine()
    machine.ask(0.001, 0.001)
    for there, back in ((0.0, 0.8), (0.8, 0.0), (0.3, 0.01), (0.0, 0.0)):
        machine.seconds += 10
        machine.ask(there, back)
        assert machine.error == 0


def test_an_answer_that_cannot_be_reconciled_is_followed() -> None:
    machine = Machine()
    machine.ask(0.0, 1.0)
    assert machine.error == -0.5
    machine.seconds += 10
    machine.ask(0.01, 0.01)
    assert machine.error == 0
    machine.ahead = timedelta(seconds=-3)
    machine.seconds += 10
    machine.ask(0.02, 0.02)
    assert machine.error == 0
    machine.ahead = timedelta(hours=1)
    machine.ask(0.02, 0.02)
    assert machine.error == 0
