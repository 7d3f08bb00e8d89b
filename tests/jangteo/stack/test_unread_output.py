"""`jangteo up` whose output nobody reads."""

from __future__ import annotations

import contextlib
import os
import signal

import pytest

from tests.support.up_process import UpProcess, gone

pytestmark = pytest.mark.timeout(900)


@pytest.mark.slow
@pytest.mark.fault
def test_the_shop_runs_and_stops_while_nobody_reads_its_output(shop: UpProcess) -> None:
    """As on a terminal that was stopped with Ctrl-S, or behind a pager."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:  # no room is left
            os.write(writer, b"x" * 4096)
    os.set_blocking(writer, True)
    try:
        process = shop.start(to=writer)
        shop.wait_for(lambda: shop.orders() > 0)
        shop.kill_and_see_it_back("orders")
        pids = shop.pids()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert gone(pids)
    finally:
        os.close(reader)
        os.close(writer)
