"""What a person types on the first day: at the offer of a past, in the tour, at the reset."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.console.terminal import Terminal
from tests.support.up_process import UpProcess

# Nine processes and three servers are started three times, on a busy machine for minutes.
pytestmark = [pytest.mark.timeout(1200), pytest.mark.slow]

Open = Callable[..., Terminal]


@pytest.fixture
def on_terminal(shop: UpProcess) -> Iterator[Open]:
    """Runs `jangteo ...` on a terminal of 80 by 24 in Korean."""
    opened: list[Terminal] = []

    def run(*words: str) -> Terminal:
        opened.append(
            Terminal(
                *words, "--data-dir", str(shop.data_dir), module="jangteo", size=(80, 24),
                env={**shop.env, "JANGTEO_LANG": "", "LANG": "ko_KR.UTF-8"},
                cwd=shop.data_dir.parent,
            )
        )  # fmt: skip
        return opened[-1]

    yield run
    for terminal in opened:
        if terminal.process.poll() is None:
            terminal.press("\x03")
            terminal.exit_code(120)
        terminal.end()


def test_the_first_day_by_keys(on_terminal: Open) -> None:
    up = on_terminal("up", "--speed", "5")
    up.wait_for("y를 입력하고 Enter를 누르세요", 240)
    up.press("n\r")
    up.wait_for("jangteo up --history 90d", 60)
    up.wait_for("에 구매", 240)
    up.wait_for("Ctrl-C로 종료. 다른 터미널에서", 60)

    tour = on_terminal("tour")

    def shown(text: str, times: int = 1) -> bool:
        up.pump(0.01)  # its terminal is read, too
        return tour.text.count(text) >= times

    for step in (1, 2, 3):
        tour.wait_for(lambda step=step: shown("Enter continues", step), 240)
        assert f"== {step} of 4" in tour.text
        assert f"== {step + 1} of 4" not in tour.text, "it waits"
        tour.press("\r")
    tour.wait_for(lambda: shown("That was the tour"), 480)
    assert tour.exit_code() == 0
    running = on_terminal("reset")
    assert running.exit_code(60) == 2
    assert "is held by process" in running.text.replace("\r\n", " ")

    up.press("\x03")
    assert up.exit_code(120) == 0

    for typed, code in (("yes", 1), ("reset", 0)):
        reset = on_terminal("reset")
        reset.wait_for("Type reset to do it", 60)
        reset.press(f"{typed}\r")
        assert reset.exit_code(60) == code
    assert "begins with a new shop" in reset.text

    left = on_terminal("up")
    left.wait_for("y를 입력하고 Enter를 누르세요", 240)
    left.press("\x03")
    assert left.exit_code(60) == 0

    past = on_terminal("up")
    past.wait_for("y를 입력하고 Enter를 누르세요", 240)
    past.press("y\r")
    past.wait_for("/90", 240)
    past.press("\x03")
    assert past.exit_code(120) == 0
    assert "the next start completes it" in past.text.replace("\r\n", " ")
