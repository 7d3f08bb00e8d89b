"""The list of every tab: a cursor, sorting by any column, a filter, and rows that open."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar, Final

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding
from textual.content import Content
from textual.coordinate import Coordinate
from textual.message import Message
from textual.widgets import DataTable
from textual.widgets.data_table import RowKey

from console.lookups.details import Ref
from console.text import to_ascii
from console.tui import appearance
from console.tui.cells import fit, width
from console.tui.view import PanelView, Part, content


@dataclass(frozen=True)
class ListRow:
    """One row of a list.

    Attributes:
        key: by which the cursor finds it again.
        cells: text, or text with a style; one per column.
        order: what columns are sorted by; None sorts last.
        ref: what the row opens.
    """

    key: str
    cells: tuple[Part, ...]
    order: tuple[Any, ...]
    ref: Ref | None = None


@dataclass(frozen=True)
class Column:
    """A column of a list.

    Attributes:
        name: the heading, in English.
        width: in cells; the least width of the last column.
        right: whether it is flush right, within its own width.
        rank: 0: always shown; of the others the highest is left out first where there is no room.
        most: cells up to which it grows with its longest cell; 0: it does not.
    """

    name: str
    width: int
    right: bool = False
    rank: int = 0
    most: int = 0


LIST_KEYS: Final = (
    Binding("j", "cursor_down", id="down", show=False),
    Binding("k", "cursor_up", id="up", show=False),
)
"""Keys of every list, next to Textual's own; by these ids they can be given other keys."""


class ObjectOpened(Message):
    """A row was opened."""

    def __init__(self, ref: Ref) -> None:
        super().__init__()
        self.ref = ref


class ObjectList(DataTable[Any]):
    """Shows rows; the widget is Textual's own, which brings keys and mouse.

    Args:
        columns: from the left; the last one takes the rest of the width.
        rows: returns the rows of a view.
        reading: whose values they are: dim while they are not current.
        filtered: whether `rows` has applied the filter already.
        silent: whether nothing is shown where there are no rows; else a row says so.
        id: for the style sheet.
    """

    BINDINGS: ClassVar = [*LIST_KEYS]

    def __init__(
        self,
        columns: Sequence[Column],
        rows: Callable[[PanelView], list[ListRow]],
        *,
        reading: str = "",
        filtered: bool = False,
        silent: bool = False,
        id: str,  # noqa: A002  (Textual's name)
    ) -> None:
        super().__init__(cursor_type="row", zebra_stripes=False, id=id)
        self._columns = columns
        self._rows = rows
        self._reading = reading
        self._filtered = filtered
        self._silent = silent
        self._shown: list[ListRow] = []
        self._cells: dict[str, tuple[Part, ...]] = {}
        self.sorted_by: int | None = None
        self._reverse = False
        self._last_width = 0
        self._widths = tuple(c.width for c in columns)
        self._visible = tuple(range(len(columns)))
        self._own_styles: dict[Any, Style] = {}
        """Rich's style for each style of cells."""
        self.view: PanelView | None = None
        """The view that was drawn last."""

    def show(self, view: PanelView) -> None:
        """Draw the rows of a view; the cursor stays on its row, or on the first one."""
        self.view = view
        if not self.size.width:
            return
        rows = _with_own_keys(self._rows(view))
        self._lay_out(view, tuple(self._needed(n, rows) for n in range(len(self._columns))))
        if not self._filtered:
            rows = [r for r in rows if _passes(r, view.filter.text)]
        if self.sorted_by is not None:
            rows.sort(key=self._order, reverse=self._reverse)
        if not rows and not self._silent:
            rows = [self._no_rows(view)]
        stale = bool(self._reading) and not getattr(view.snapshot, self._reading).current
        if [r.key for r in rows] == [r.key for r in self._shown]:
            changed = [self._change(at, row, view, stale=stale) for at, row in enumerate(rows)]
            if any(changed):
                self._forget_drawn()
        else:
            self._replace(rows, view, stale=stale)
        self._shown = rows

    def _no_rows(self, view: PanelView) -> ListRow:
        """Return the row that says that there are none, or that they are not known."""
        reading = getattr(view.snapshot, self._reading) if self._reading else None
        word = view("none" if reading is None or reading.value is not None else "unknown")
        cells = ["" for _ in self._columns]
        cells[self._visible[0]] = word
        return ListRow("", tuple((c, appearance.DIM) for c in cells), (None,) * len(cells))

    def under_cursor(self) -> Ref | None:
        """Return what the row under the cursor opens."""
        at = self.cursor_row
        return self._shown[at].ref if 0 <= at < len(self._shown) else None

    def sort_by(self, column: int) -> None:
        """Sort by a column; by the same one again: the other way round."""
        self._reverse = not self._reverse if self.sorted_by == column else False
        self.sorted_by = column
        self._last_width = 0
        if self.view is not None:
            self.show(self.view)

    def next_column(self) -> None:
        """Sort by the next column that is shown; after the last one, not at all."""
        at = -1 if self.sorted_by is None else self.sorted_by
        following = next((n for n in self._visible if n > at), None)
        if following is not None:
            self.sort_by(following)
        else:
            self.sorted_by, self._last_width = None, 0
            if self.view is not None:
                self.show(self.view)

    @property
    def text(self) -> str:
        """What is shown, as text."""
        rows = ([p if isinstance(p, str) else p[0] for p in r.cells] for r in self._shown)
        return "\n".join("  ".join(row) for row in rows)

    def on_data_table_header_selected(self, event: DataTable.HeaderSelected) -> None:
        """Sort by the column that was clicked."""
        event.stop()
        self.sort_by(self._visible[event.column_index])

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Open the row."""
        event.stop()
        if (ref := self.under_cursor()) is not None:
            self.post_message(ObjectOpened(ref))

    def _needed(self, column: int, rows: Sequence[ListRow]) -> int:
        """Return the cells of a column; only one that grows is measured."""
        known = self._columns[column]
        if not known.most:
            return known.width
        parts = (r.cells[column] for r in rows)
        longest = max((width(p if isinstance(p, str) else p[0]) for p in parts), default=0)
        return max(known.width, min(known.most, longest))

    def _lay_out(self, view: PanelView, widths: tuple[int, ...]) -> None:
        """Make the columns again where a width has changed."""
        wide = self.size.width - self.styles.scrollbar_size_vertical
        if wide == self._last_width and widths == self._widths:
            return
        self._last_width, self._widths = wide, widths
        self.clear(columns=True)
        self._shown, self._cells = [], {}
        glyphs = view.options.glyphs
        self._visible = self._fitting(wide)
        for at in self._visible:
            name = view(self._columns[at].name)
            if at == self.sorted_by:
                name += f" {glyphs.falling if self._reverse else glyphs.rising}"
            if self._columns[at].right:  # above its numbers
                name = " " * (min(self._widths[at], self._width(at)) - width(name)) + name
            self.add_column(name, width=self._width(at), key=str(at))

    def _fitting(self, wide: int) -> tuple[int, ...]:
        """Return the columns that are shown: all of them, or those that fit."""
        shown = list(range(len(self._columns)))
        while self._taken(shown) > wide:
            at = max(shown, key=lambda n: self._columns[n].rank)
            if not self._columns[at].rank:
                break
            shown.remove(at)
        return tuple(shown)

    def _taken(self, columns: Sequence[int]) -> int:
        return sum(self._widths[n] + 2 * self.cell_padding for n in columns)

    def _width(self, at: int) -> int:
        """Return the cells of a column; the last one has what is left, the scroll bar's two too."""
        if at != self._visible[-1]:
            return self._widths[at]
        taken = self._taken(self._visible[:-1])
        return max(8, self._last_width - taken - 2 * self.cell_padding)

    def _change(self, at: int, row: ListRow, view: PanelView, *, stale: bool) -> bool:
        """Take the cells of a row that changed; return whether any did."""
        cells = self._styled(row, stale=stale)
        before = self._cells.get(row.key)
        if before == cells:
            return False
        self._cells[row.key] = cells
        for position, number in enumerate(self._visible):
            if before is None or before[number] != cells[number]:
                place = Coordinate(at, position)
                cell = self._cell(number, cells[number], view)
                self.update_cell_at(place, cell, update_width=False)
        return True

    def _render_cell(  # noqa: PLR0917  (the signature is Textual's)
        self,
        row_index: int,
        column_index: int,
        base_style: Style,
        width: int,
        cursor: bool = False,
        hover: bool = False,
    ) -> list[list[Segment]]:
        """Draw a cell: one line of text in one style.

        Textual draws any renderable, through Rich's console, at 0.2 ms a cell: of the 150 ms after
        a key that shows the partitions, that was half.
        """
        if row_index < 0 or column_index < 0:
            return super()._render_cell(
                row_index, column_index, base_style, width, cursor=cursor, hover=hover
            )
        shown: Content = self.get_cell_at(Coordinate(row_index, column_index))
        before, after = self._get_styles_to_render_cell(
            False, False, False, hover, cursor, self.show_cursor, self._show_hover_cursor,
            self.cursor_foreground_priority == "css", self.cursor_background_priority == "css",
        )  # fmt: skip
        own = shown.spans[0].style if shown.spans else ""
        if own not in self._own_styles:
            self._own_styles[own] = shown.render_segments()[0].style or Style.null()
        place = _place(row_index, column_index)
        pad = Segment(" " * self.cell_padding, base_style + before + after + place)
        style = base_style + before + self._own_styles[own] + after + place
        text = fit(shown.plain, width - 2 * self.cell_padding)
        return [[pad, Segment(text, style), pad]]

    def notify_style_update(self) -> None:
        """Forget the colours of a theme that is not shown any more."""
        self._own_styles.clear()
        super().notify_style_update()

    def _forget_drawn(self) -> None:
        """Drop what was drawn before an update.

        Textual finds a drawn cell by the number of updates before it, so that none is ever used
        again, and keeps 10,000 of them a table: 13 MB after 400 snapshots for the partitions alone.
        """
        self._cell_render_cache.clear()
        self._row_render_cache.clear()
        self._row_renderable_cache.clear()
        self._line_cache.clear()

    def _replace(self, rows: list[ListRow], view: PanelView, *, stale: bool) -> None:
        under = self._shown[self.cursor_row].key if self.cursor_row < len(self._shown) else ""
        first = self.cursor_row == 0
        top = self.scroll_offset.y
        self.clear()
        self._cells = {r.key: self._styled(r, stale=stale) for r in rows}
        for row in rows:
            parts = self._cells[row.key]
            self.add_row(*(self._cell(n, parts[n], view) for n in self._visible), key=row.key)
        if not first and RowKey(under) in self.rows:
            self.move_cursor(row=self.get_row_index(under), scroll=False)
            self.scroll_to(y=top, animate=False)

    @staticmethod
    def _styled(row: ListRow, *, stale: bool) -> tuple[Part, ...]:
        if not stale:
            return row.cells
        return tuple((p if isinstance(p, str) else p[0], appearance.DIM) for p in row.cells)

    def _cell(self, number: int, part: Part, view: PanelView) -> Any:
        text, style = part if isinstance(part, tuple) else (part, "")
        if view.options.ascii:
            text = to_ascii(text)
        right, more = self._columns[number].right, view.options.glyphs.more
        wide = self._width(number)
        if right:  # the last one's room is no reason to part a number from its column
            wide = min(wide, self._widths[number])
        return content([[(fit(text, wide, right=right, more=more), style)]])[0]

    def _order(self, row: ListRow) -> tuple[bool, Any]:
        value = row.order[self.sorted_by or 0]
        return (value is None) is not self._reverse, 0 if value is None else value


@lru_cache(maxsize=4096)
def _place(row: int, column: int) -> Style:
    """Return the style by which Textual finds the cell that was clicked."""
    return Style.from_meta({"row": row, "column": column})


def _with_own_keys(rows: list[ListRow]) -> list[ListRow]:
    """Return rows of which no two have one key, as two failed refreshes of one version have.

    The table raises where a key comes twice, and that would end the console.
    """
    seen: Counter[str] = Counter()
    found = []
    for row in rows:
        seen[row.key] += 1
        again = seen[row.key] > 1
        found.append(replace(row, key=f"{row.key} {seen[row.key]}") if again else row)
    return found


def _passes(row: ListRow, wanted: str) -> bool:
    if not wanted:
        return True
    text = " ".join(p if isinstance(p, str) else p[0] for p in row.cells).casefold()
    word = wanted.casefold()
    return word.removeprefix("!") in text if not word.startswith("!") else word[1:] not in text
