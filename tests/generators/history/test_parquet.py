"""Files of a history."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from generators.history.state import writing
from shop.errors import JangteoError
from tests.support.generator_processes import full_disk


def test_a_file_that_cannot_be_written_is_one_line_and_leaves_the_former(tmp_path: Path):
    place = tmp_path / "users" / "0.parquet"
    before, after = (
        pl.DataFrame({"a": [1]}),
        pl.DataFrame({"a": np.random.default_rng(1).random(999)}),
    )
    for frame, room in ((before, 1 << 20), (after, 4_000)):
        with full_disk(room), contextlib.suppress(JangteoError), writing(place) as file:
            frame.write_parquet(file)
    assert [p.name for p in place.parent.iterdir()] == ["0.parquet"]
    assert pl.read_parquet(place).equals(before)
    with full_disk(4_000), pytest.raises(JangteoError, match="to resume"), writing(place) as file:
        after.write_parquet(file)
