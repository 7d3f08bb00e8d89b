"""Widths: text of any script is cut, padded and broken to the cell."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from console.snapshot.model import Snapshot
from console.text import printable
from console.tui import keys
from console.tui.cells import fit, folded, width
from tests.console import console_samples as samples
from tests.console.console_samples import StillFeed
from tests.console.driving import app_of, lines, settle

DECOMPOSED: Final = unicodedata.normalize("NFD", "남궁하늘별")
FAMILY: Final = "\N{WOMAN}\u200d\N{WOMAN}\u200d\N{GIRL}"
MARKS: Final = "Zoe\u0308 a\u0301\u0323\u0302 \N{UMBRELLA}\ufe0f"


@given(st.text(max_size=200), st.integers(0, 40))
def test_text_is_cut_and_padded_to_the_cell(value: str, cells: int) -> None:
    shown = printable(value)
    assert width(fit(shown, cells)) == cells
    assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 for c in shown)


@given(st.text(max_size=200), st.integers(2, 40))
def test_folded_text_fits(value: str, cells: int) -> None:
    shown = printable(value)
    made = folded(shown, cells)
    assert all(width(line) <= cells for line in made)


@pytest.mark.parametrize(
    ("text", "cells"), [(DECOMPOSED, 10), (FAMILY, 2), ("Zoe\u0308", 3), ("e\u0301", 1)]
)
def test_a_character_of_several_code_points_has_one_width(text: str, cells: int) -> None:
    assert width(text) == cells
    assert width(fit(text, 12)) == 12


def with_names(*names: str) -> Snapshot:
    found = samples.shop()
    spenders = tuple(
        msgspec.structs.replace(found.spenders[0], user_id=n, name=name)
        for n, name in enumerate(names)
    )
    shop = samples.ok(msgspec.structs.replace(found, spenders=spenders))
    return msgspec.structs.replace(samples.fine(), postgres=shop)


@pytest.mark.parametrize("size", [(80, 26), (120, 40)], ids=str)
async def test_a_row_ends_where_the_others_do(size: tuple[int, int], tmp_path: Path) -> None:
    """Columns stay aligned behind any name: composed, decomposed, several emoji, with marks."""
    names = ("남궁하늘별", DECOMPOSED, FAMILY, MARKS, "Lee Ji-woo")
    app = app_of(StillFeed(with_names(*names)), tmp_path)
    async with app.run_test(size=size) as pilot:
        await pilot.press(str([n for n, _ in keys.TABS].index("customers") + 1))
        await settle(pilot)
        seen = lines(app)
        assert all(cell_len(line) == size[0] for line in seen)
        rows = [line for line in seen if "1,000,000" in line]
        assert len(rows) == len(names)
        assert len({cell_len(row[: row.index("1,000,000")]) for row in rows}) == 1
        assert sum("남궁하늘별" in row for row in rows) == 2, "composed, as terminals show it"
