"""Lets the fault tests use the processes and samples of the tests of the ingest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shop.settings import Settings
from tests.support.fault_stage import Stage


@pytest.fixture
def stage(
    topics: object, env: dict[str, str], settings: Settings, tmp_path: Path
) -> Iterator[Stage]:
    """Ingest processes and a load of orders, on the test's own servers."""
    with Stage(env, settings, tmp_path) as made:
        yield made
