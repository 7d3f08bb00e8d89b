"""Figures in pages of the documentation: between two markers, written by a command."""

from __future__ import annotations

from typing import Final

END: Final = "<!-- measured: end -->"


def replaced(page: str, begin: str, text: str) -> str:
    r"""Return a page with what is between the markers replaced.

    Args:
        page: to change.
        begin: the first marker; the second one is `END`.
        text: lines.

    >>> replaced(f"a\n<!-- -->\nold\n{END}\nb", "<!-- -->", "new") == f"a\n<!-- -->\nnew\n{END}\nb"
    True

    Raises:
        ValueError: if a marker is missing.
    """
    before, found, rest = page.partition(begin)
    _, end, after = rest.partition(END)
    if not found or not end:
        raise ValueError(f"no {END if found else begin!r}")
    return f"{before}{begin}\n{text}\n{END}{after}"
