"""What the tests of the stack share."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.up_process import UpProcess


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[UpProcess]:
    made = UpProcess(tmp_path)
    yield made
    if made.process and made.process.poll() is None:
        made.process.terminate()
        try:
            made.process.wait(60)
        except subprocess.TimeoutExpired:
            made.process.kill()
            made.process.wait()
