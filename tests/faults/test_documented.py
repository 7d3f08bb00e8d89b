"""The table of faults in docs/faults.md names every fault test, and none that does not exist."""

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
    lines = (ROOT / "docs/faults.md").read_text(encoding="utf-8").splitlines()
    last = [line.split("|")[-2] for line in lines if line.startswith("| ")]
    rows = re.findall(r"`(test_\w+)`", " ".join(last))
    everywhere = " ".join(p.read_text(encoding="utf-8") for p in ROOT.glob("tests/*/test_*.py"))
    assert not defined - set(rows), "without a row"
    assert not {row for row in rows if f"def {row}(" not in everywhere}, "rows of no test"
    assert len(rows) == len(set(rows))
