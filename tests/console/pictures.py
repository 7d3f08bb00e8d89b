"""Compares the screen with a reviewed picture; thirty lines instead of a plug-in.

    UPDATE_PICTURES=1 pytest tests/console/test_screens.py   (with the Python of the baseline)

SVG holds positions that differ between Pythons and versions of Textual, so pictures are compared
with one of each. With any other the test is reported as skipped, after its own assertions.
"""

from __future__ import annotations

import os
import re
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Final

import pytest
from textual.app import App

PYTHON: Final = (3, 11)
TEXTUAL: Final = "8.2.8"
FOLDER: Final = Path(__file__).parent / "pictures"


def normalised(svg: str) -> str:
    """Return the SVG without the parts that differ from run to run."""
    return re.sub(r"terminal-\d+", "terminal", svg)


def check(app: App[int], name: str) -> None:
    """Fail if the screen differs from the picture, or write it if asked to; to be called last."""
    if (sys.version_info[:2], version("textual")) != (PYTHON, TEXTUAL):
        wanted = f"Python {'.'.join(map(str, PYTHON))} with Textual {TEXTUAL}"
        pytest.skip(f"all but the picture was checked: {name}.svg is of {wanted}")
    found = normalised(app.export_screenshot(title=name))
    path = FOLDER / f"{name}.svg"
    if os.environ.get("UPDATE_PICTURES"):
        FOLDER.mkdir(exist_ok=True)
        path.write_text(found, encoding="utf-8")
        return
    if found != path.read_text(encoding="utf-8"):
        seen = Path(os.environ.get("PICTURES_SEEN", ".pictures")) / path.name
        seen.parent.mkdir(parents=True, exist_ok=True)
        seen.write_text(found, encoding="utf-8")
        raise AssertionError(f"{name} looks different: compare {path} with {seen}")
