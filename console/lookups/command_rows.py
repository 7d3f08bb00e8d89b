"""What other programs compute, as rows: the score of a customer, the effect of a scenario."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from console.actions import commands
from console.actions.commands import Stop
from console.lookups import texts
from console.lookups.details import DetailRow, named
from console.text import printable
from console.translations import word
from shop.errors import JangteoError
from shop.log import redact

_TERMS: Final = (
    "intercept", "taste", "grade", "fresh", "spend", "cart", "soured", "scenario",
)  # fmt: skip
"""The terms that add up to a score; those of 0 are left out."""


def score_rows(data_dir: Path, user_id: int, stop: Stop) -> Iterator[DetailRow]:
    """Yield the score of a customer, term by term."""
    try:
        found = commands.score(data_dir, user_id, stop)
    except JangteoError as e:
        yield DetailRow("score", printable(redact(str(e))), wrong=True)
        return
    yield DetailRow("score", f"{found.score:+.4f}")
    for name in _TERMS:
        if (value := getattr(found, name)) or name == "taste":
            yield named(f"  {name}", f"{value:+.4f}")
    yield DetailRow("in the cache", word("yes" if found.in_cache else "no"))
    if found.due:
        yield DetailRow("due", texts.RANK(rank=found.expected_rank or 0, count=found.of))
        yield DetailRow("share of weight", f"{100 * found.share_of_weight:.3f}%")
    elif found.due_in_orders is None:
        yield DetailRow("due", word("never again"))
    else:
        yield DetailRow("due", texts.IN_ORDERS(count=f"{found.due_in_orders:,}"))


def effect_rows(data_dir: Path, name: str, stop: Stop) -> Iterator[DetailRow]:
    """Yield what a scenario does, and until when it runs."""
    try:
        row = next((s for s in commands.scenarios(data_dir, stop) if s.scenario == name), None)
        runs = [s for s in commands.running_scenarios(data_dir, stop) if s.scenario == name]
    except JangteoError as e:
        yield DetailRow("scenario", printable(redact(str(e))), wrong=True)
        return  # whether it runs is not known
    if row is not None:
        yield DetailRow("scenario", word(row.title))
        yield DetailRow("lasts", row.lasts)
        yield DetailRow("orders", row.rate)
    yield DetailRow("runs now", word("yes" if runs else "no"))
    for run in runs:
        text = texts.SCENARIO_RUN(until=run.until, who=run.by, rate=f"{run.rate:g}")
        yield DetailRow("until", text)
