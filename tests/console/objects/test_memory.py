"""What a console that runs for days holds on to: each structure has a bound."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from console.snapshot.model import Snapshot
from console.snapshot.reading import Rate
from console.tui.objects.object_list import ObjectList
from tests.console import console_samples as samples
from tests.console.console_samples import StillFeed
from tests.console.driving import app_of, settle

UPDATES = 60


def changed(number: int) -> Snapshot:
    """A snapshot in which every partition and process has other figures than in the last one."""
    s = samples.fine(number + 2, float(number))
    topics = tuple(
        msgspec.structs.replace(
            t,
            partitions=tuple(
                msgspec.structs.replace(p, end=p.end + number, published=Rate(float(number)))
                for p in t.partitions
            ),
        )
        for t in s.kafka.value.topics
    )
    processes = tuple(
        msgspec.structs.replace(p, rate=Rate(float(number))) for p in s.processes.value.processes
    )
    return msgspec.structs.replace(
        s,
        kafka=samples.ok(msgspec.structs.replace(s.kafka.value, topics=topics)),
        processes=samples.ok(msgspec.structs.replace(s.processes.value, processes=processes)),
    )


@pytest.mark.parametrize("tab", ["2", "6"])
async def test_a_list_keeps_what_it_has_drawn_of_its_present_values_alone(
    tab: str, tmp_path: Path
) -> None:
    app = app_of(StillFeed(samples.fine()), tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press(tab)
        await settle(pilot)
        held = {"rows": 0, "lines": 0, "cells": 0}
        for number in range(UPDATES):
            app.take(changed(number))
            await pilot.pause()
            for t in app.query(ObjectList):
                held["rows"] = max(held["rows"], len(t._row_render_cache))
                held["lines"] = max(held["lines"], len(t._line_cache))
                held["cells"] = max(held["cells"], len(t._cell_render_cache))
        rows = max(t.row_count for t in app.query(ObjectList)) + 1
        columns = max(len(t.columns) for t in app.query(ObjectList))
    assert 0 < held["rows"] <= 2 * rows, "with and without the cursor"
    assert 0 < held["lines"] <= 2 * rows
    assert held["cells"] <= 2 * rows * columns
