"""`jangteo up` with a history, and what a person does first: the tour, and a reset."""

from __future__ import annotations

import re
import signal
import subprocess
import sys

import pytest

from tests.support import python_process
from tests.support.up_process import UpProcess

# Nine processes and three servers are started, on a busy machine in more than a minute.
pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]


def test_the_tour_repairs_a_message_and_holds_a_sale(shop: UpProcess) -> None:
    shop.start("--speed", "5")
    shop.wait_for(lambda: "first order stored" in shop.out.read_text())
    toured = python_process.run(
        [sys.executable, "-m", "jangteo", "tour", "--yes", "--data-dir", str(shop.data_dir)],
        env=shop.env, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert toured.returncode == 0, toured.stdout + toured.stderr
    assert "nothing is counted twice" in toured.stdout
    assert "^^^^^^ payment_method has no such value" in toured.stdout
    before, during = map(int, re.findall(r"(\d+) before, (\d+) during", toured.stdout)[0])
    assert during > before


def test_a_shop_with_a_history_continues_it_is_toured_and_reset(shop: UpProcess) -> None:
    shop.start("--history", "2d")
    shop.wait_for(lambda: "first order stored" in shop.out.read_text())
    said = shop.out.read_text()
    assert all(
        f"step={step}" in said for step in ('"customers and products"', "indexes", "rollups")
    )
    assert "history written" in said
    assert "resuming the finished history" in said

    def jangteo(*words: str) -> subprocess.CompletedProcess[str]:
        return python_process.run(
            [sys.executable, "-m", "jangteo", *words, "--data-dir", str(shop.data_dir)],
            env=shop.env, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip

    toured = jangteo("tour", "--yes")
    assert toured.returncode == 0, toured.stdout + toured.stderr
    assert "nothing is counted twice" in toured.stdout
    assert "this step is left out" in toured.stdout
    assert jangteo("reset", "--yes").returncode == 2
    assert shop.process
    shop.process.send_signal(signal.SIGINT)
    assert shop.process.wait(120) == 0
    assert jangteo("reset", "--yes").returncode == 0
    assert not (shop.data_dir / "postgres" / "data").exists()
