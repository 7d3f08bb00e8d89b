"""What benchmarks share."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from benchmarks.common import Result, save


def test_results_are_saved_whatever_kind_of_number_they_are(tmp_path: Path) -> None:
    """A run of minutes must not end without its figures."""
    path = tmp_path / "figures.json"
    save(path, [Result("lost", np.float32(2), "orders")], kept=np.True_, each=[np.int64(3)])  # type: ignore[arg-type]  # figures come out of numpy
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["results"][0]["value"] == 2
    assert (found["kept"], found["each"]) == (True, [3])
