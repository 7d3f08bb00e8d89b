"""What leaves the console: the clipboard, exported files, a report of a defect."""

from __future__ import annotations

import base64
import csv
import io
import os
import re
import sys
import traceback
from html import unescape
from pathlib import Path
from typing import Final

from rich.cells import cell_len

from console import plain
from console.snapshot.model import Snapshot, encode_in_english
from console.text import printable
from shop.clock import utc_now
from shop.errors import ExitCode
from shop.log import redact
from shop.output import UNFIT, say
from shop.private_files import write_private

_WIDTH: Final = re.compile(r'(<text [^>]*textLength=")([\d.]+)("[^>]*>)([^<]*)')


def osc52(text: str, *, tmux: bool) -> str:
    r"""Return what makes a terminal put text on the clipboard, over ssh too.

    Args:
        text: at most what terminals take: 74,994 bytes before encoding (xterm's limit).
        tmux: whether the terminal is tmux, which passes it on only in an envelope.

    >>> osc52("a", tmux=False)
    '\x1b]52;c;YQ==\x07'
    """
    data = base64.b64encode(text.encode(errors="replace")[:74_994]).decode()
    code = f"\x1b]52;c;{data}\a"
    return f"\x1bPtmux;\x1b{code}\x1b\\" if tmux else code


def export(folder: Path, picture: str, snapshot: Snapshot) -> Path:
    """Write the screen as SVG, the snapshot as JSON and its figures as CSV; return the SVG's path.

    Raises:
        OSError: if a file cannot be written.
    """
    base = folder / f"console-{utc_now():%Y%m%d-%H%M%S}"
    write_private(base.with_suffix(".svg"), _without_controls(widened(picture)))
    write_private(base.with_suffix(".json"), encode_in_english(snapshot).decode() + "\n")
    figures = io.StringIO(newline="")
    csv.writer(figures).writerows(
        [("name", "value"), *((n, printable(v, 4_000)) for n, v in plain.pairs(snapshot))]
    )
    write_private(base.with_suffix(".csv"), figures.getvalue())
    return base.with_suffix(".svg")


def widened(picture: str) -> str:
    """Return an SVG of Rich's in which Korean is as wide as on the screen.

    Rich gives each piece of text a length of one cell per character, and so squeezes characters of
    two cells into one.

    >>> widened('<text x="1" textLength="30">주문&#160;</text>')
    '<text x="1" textLength="50">주문&#160;</text>'
    """

    def wide(match: re.Match[str]) -> str:
        before, length, after, text = match.groups()
        shown = unescape(text)
        cells = cell_len(shown)
        if cells <= len(shown):  # a line end has no cell
            return match[0]
        return f"{before}{float(length) / len(shown) * cells:g}{after}{text}"

    return _WIDTH.sub(wide, picture)


def _without_controls(text: str) -> str:
    r"""Return text that XML takes: no control characters but line ends and tabs.

    >>> _without_controls("a\n\x1b\tb")
    'a\n�\tb'
    """
    return UNFIT.sub(lambda m: m[0] if m[0] in "\n\t" else "\N{REPLACEMENT CHARACTER}", text)


def defect(report: Path | None) -> ExitCode:
    """Print that this program has a defect, and where the report is; return the exit code."""
    where = f"; report: {report}" if report else ""
    say(f"jangteo console: a defect in this program{where}", to=sys.stderr)
    return ExitCode.CRASH


def report_crash() -> Path | None:
    """Write the current exception into a file, without local variables; None if it cannot be."""
    text = redact("".join(traceback.format_exception(*sys.exc_info())))
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    path = Path(base) / "jangteo" / f"console-crash-{utc_now():%Y%m%d-%H%M%S}.txt"
    try:
        write_private(path, text)
    except OSError:
        return None
    return path
