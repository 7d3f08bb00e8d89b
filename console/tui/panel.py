"""A panel: draws itself from a view when it is seen, and paints the lines that changed."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from textual.content import Content
from textual.geometry import Region
from textual.strip import Strip
from textual.visual import Visual
from textual.widgets import Static

from console.tui import appearance
from console.tui.cells import width
from console.tui.view import Drawn, PanelView, ago, as_ascii, content, dimmed

Draw = Callable[[PanelView], Drawn]
_ANY_HEIGHT = 10_000


class Lines(Static):
    """Shows lines, and paints those that changed: the cost of a second is what it changed.

    A `Static` renders, styles and writes all of its lines when one is another.
    """

    def __init__(self, *, id: str) -> None:  # noqa: A002  (Textual's name)
        super().__init__("", id=id, markup=False)
        self.set_reactive(Lines.auto_links, False)  # there are none to look for
        self._lines: Drawn = []
        self.draws = 0
        """How often a line has changed."""

    def put(self, lines: Drawn, *, layout: bool = False) -> None:
        """Show lines.

        Args:
            lines: as many as there are; none is wrapped.
            layout: whether the height follows their number.
        """
        pairs = itertools.zip_longest(self._lines, lines)
        changed = [y for y, (old, new) in enumerate(pairs) if not _same(old, new)]
        if not changed:
            return
        layout = layout and len(lines) != len(self._lines)
        self._lines = lines
        self.draws += 1
        wide = self.size.width
        self.refresh(*(Region(0, y, wide, 1) for y in changed), layout=layout)

    def render(self) -> Content:
        """Return all of it, for what is selected and for heights that follow the content."""
        return Content("\n").join(self._lines)

    def render_line(self, y: int) -> Strip:
        """Return one line; Textual asks for those that were refreshed."""
        if y >= len(self._lines):
            return Strip.blank(self.size.width, self.visual_style.rich_style)
        if self.text_selection is not None:
            return super().render_line(y)
        line = self._lines[y]
        return Visual.to_strips(self, line, self.size.width, 1, self.visual_style)[0]

    @property
    def text(self) -> str:
        """What is shown, as text."""
        return "\n".join(line.plain for line in self._lines)


def _same(old: Content | None, new: Content | None) -> bool:
    """Return whether two lines look the same."""
    if old is new:
        return True
    if old is None or new is None:
        return False
    return old.plain == new.plain and old.spans == new.spans


class Panel(Lines, can_focus=True):
    """Shows what a function draws.

    Args:
        draw: lines of a view that has the panel's size.
        title: in English; on the border, or above the content where there is no border.
        rule: whether the title is a line above the content in the compact layout.
        tall: whether the content may be higher than the panel, which then scrolls.
        reading: whose values it shows: dim, with their age, while they are not current.
        id: for the style sheet.
    """

    ALLOW_MAXIMIZE = True

    def __init__(
        self,
        draw: Draw,
        title: str,
        *,
        rule: bool = False,
        tall: bool = False,
        reading: str = "",
        id: str,  # noqa: A002  (Textual's name)
    ) -> None:
        super().__init__(id=id)
        self._reading = reading
        self._draw = draw
        self._title = title
        self._rule = rule
        self._tall = tall

    @property
    def bare(self) -> bool:
        """Whether the layout gives the panel no border."""
        return self.styles.border_top[0] in ("", "none")

    def show(self, view: PanelView) -> None:
        """Draw the view."""
        shown = self._heading(view)
        if self.border_title != shown:  # set, it repaints all of the panel
            self.border_title = shown
        wide, high = self.content_size
        if self._tall:
            high = _ANY_HEIGHT
        rule = self._rule and self.bare
        sized = view.sized(wide, max(1, high - rule))
        drawn = self._draw(sized)
        if self._reading:
            drawn = dimmed(drawn, getattr(view.snapshot, self._reading), sized)
        if rule:
            line = view.options.glyphs.rule
            title = f"{line * 2} {shown} "
            drawn = [
                *content([[(title + line * max(0, wide - width(title)), appearance.DIM)]]),
                *drawn,
            ]
        if view.options.ascii:
            drawn = [as_ascii(line) for line in drawn]
        self.put(drawn, layout=self._tall)

    def _heading(self, view: PanelView) -> str:
        """Return the title, with the age of values that are not current."""
        text = view(self._title)
        if self._reading:
            reading = getattr(view.snapshot, self._reading)
            if not reading.current and reading.value is not None:
                text += f" {ago(reading, view)}"
        return text
