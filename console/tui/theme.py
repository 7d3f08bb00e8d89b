"""Colours that an ssh session can show; none carries a meaning alone.

Every one is of the 6x6x6 cube or the grey ramp of 256-colour terminals. Text of every role has a
contrast of at least 4.5 to 1 (WCAG 2.2, 1.4.3) on every background, and the colours of states stay
apart with a red or green defect of the eye: there blue is the colour of what is well, not green.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from textual.theme import Theme

_DARK: Final = {
    "foreground": "#d7d7d7",
    "background": "#121212",
    "surface": "#1c1c1c",
    "panel": "#262626",
    "primary": "#5fafff",
    "secondary": "#87afd7",
    "accent": "#5fd7d7",
    "success": "#00d787",
    "warning": "#ffd75f",
    "error": "#ff5f5f",
    "dim": "#9e9e9e",
}
_LIGHT: Final = {
    "foreground": "#1c1c1c",
    "background": "#ffffff",
    "surface": "#eeeeee",
    "panel": "#e4e4e4",
    "primary": "#005faf",
    "secondary": "#5f5f87",
    "accent": "#5f00af",
    "success": "#005f87",
    "warning": "#875f00",
    "error": "#870000",
    "dim": "#585858",
}
# Blue for what is well and orange for what is not: they differ for every kind of colour vision.
_COLOUR_BLIND: Final = {
    **_DARK,
    "primary": "#87afd7",
    "success": "#5fafff",
    "warning": "#ffd787",
    "error": "#ff8700",
}


def _theme(name: str, colours: Mapping[str, str], *, dark: bool = True) -> Theme:
    return Theme(
        name=name,
        dark=dark,
        primary=colours["primary"],
        secondary=colours["secondary"],
        accent=colours["accent"],
        foreground=colours["foreground"],
        background=colours["background"],
        surface=colours["surface"],
        panel=colours["panel"],
        success=colours["success"],
        warning=colours["warning"],
        error=colours["error"],
        variables={"dim": colours["dim"]},
    )


THEMES: Final = (
    _theme("dark", _DARK),
    _theme("light", _LIGHT, dark=False),
    _theme("colour-blind", _COLOUR_BLIND),
)


def without_colours(theme: Theme) -> Theme:
    """Return a theme for NO_COLOR: every role but what is dim has the colour of text.

    Textual shows a colour as the grey of its luminance, and the red of errors would be dimmer than
    what is in order. States have words and marks, errors are bold.
    """
    roles = dict.fromkeys(("secondary", "accent", "success", "warning", "error"), theme.foreground)
    return replace(theme, **roles)


ANSI: Final = "ansi"
"""The terminal's own sixteen colours."""
DIM_OF_OTHERS: Final = "ansi_default"
"""`$dim` of the themes of Textual: the terminal's own colour of text, always legible."""
