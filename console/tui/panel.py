"""A panel: draws itself from a view when it is seen and when something in it changed."""

from __future__ import annotations

from collections.abc import Callable

from textual.content import Content
from textual.widgets import Static

from console.text import width
from console.tui import look
from console.tui.view import View

Draw = Callable[[View], Content]
_ANY_HEIGHT = 10_000


class Panel(Static, can_focus=True):
    """Shows what a function draws.

    Args:
        draw: content of a view that has the panel's size.
        title: in English; on the border, or above the content where there is no border.
        rule: whether the title stands above the content in the compact layout.
        tall: whether the content may be higher than the panel, which then scrolls.
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
        id: str,  # noqa: A002  (Textual's name)
    ) -> None:
        super().__init__("", id=id, markup=False)
        self._draw = draw
        self._title = title
        self._rule = rule
        self._tall = tall
        self._shown: tuple[str, object] | None = None
        self.draws = 0
        """How often the content has changed."""

    @property
    def bare(self) -> bool:
        """Whether the layout gives the panel no border."""
        return self.styles.border_top[0] in ("", "none")

    def show(self, view: View) -> None:
        """Draw the view, if it looks different from what is there."""
        self.border_title = view(self._title)
        wide, high = self.content_size
        if self._tall:
            high = _ANY_HEIGHT
        rule = self._rule and self.bare
        drawn = self._draw(view.sized(wide, max(1, high - rule)))
        if rule:
            line = view.look.glyphs.rule
            title = f"{line * 2} {view(self._title)} "
            head = Content.styled(title + line * max(0, wide - width(title)), look.DIM)
            drawn = Content("\n").join([head, drawn])
        shown = (drawn.plain, tuple(drawn.spans))
        if shown == self._shown:
            return
        self._shown = shown
        self.draws += 1
        self.update(drawn, layout=self._tall)

    @property
    def text(self) -> str:
        """What is shown, as text."""
        return self._shown[0] if self._shown else ""
