"""Compares the screen with a picture that was looked at: some thirty lines, no plug-in.

    UPDATE_PICTURES=1 pytest tests/console/test_screens.py     (with the Python of the baseline)

SVG holds positions that differ between Pythons and versions of Textual, so pictures are compared
with one of each; everywhere else the tests' own assertions decide.
"""

from __future__ import annotations

import os
import re
import sys
from importlib.metadata import version
from pathlib import Path

from textual.app import App

PYTHON = (3, 11)
TEXTUAL = "8.2.8"
FOLDER = Path(__file__).parent / "pictures"


def normalised(svg: str) -> str:
    """Return the SVG without what differs from run to run."""
    return re.sub(r"terminal-\d+", "terminal", svg)


def check(app: App[int], name: str) -> None:
    """Fail if the screen is not the picture; write it instead if asked to."""
    if sys.version_info[:2] != PYTHON or version("textual") != TEXTUAL:
        return
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
