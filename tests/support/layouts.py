"""Marks for tests that are held against both layouts of the tables, plain and by month."""

from __future__ import annotations

import pytest

both_layouts = pytest.mark.parametrize("layout", ["plain", "partitioned"])
"""Cheap enough for the default suite."""

by_month_in_the_long_suite = pytest.mark.parametrize(
    "layout", ["plain", pytest.param("partitioned", marks=pytest.mark.slow)]
)
