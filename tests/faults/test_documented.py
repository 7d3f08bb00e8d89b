"""The table of faults in docs/faults.md names every fault test, and no other."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TESTED = (*ROOT.glob("tests/faults/test_*.py"), ROOT / "tests/kafka/test_broker_faults.py")


def test_every_fault_has_its_row() -> None:
    defined = {
        name
        for path in TESTED
        if path != Path(__file__)
        and "pytestmark = pytest.mark.fault" in (text := path.read_text(encoding="utf-8"))
        for name in re.findall(r"^def (test_\w+)", text, re.MULTILINE)
    } - {"test_the_campaign_says_what_it_wants"}
    rows = re.findall(r"\| `(test_\w+)` \|", (ROOT / "docs/faults.md").read_text(encoding="utf-8"))
    assert sorted(rows) == sorted(defined)
