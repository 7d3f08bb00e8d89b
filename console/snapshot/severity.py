"""How serious a state is, with the style and the marks that show it: the one table of both."""

from __future__ import annotations

from enum import Enum


class Severity(Enum):
    """How serious a state is.

    Attributes:
        style: a variable of the themes in `console.tui.theme`.
        mark: shows the same to those who see no colours; one cell wide, without an emoji form.
        ascii_mark: where only ASCII can be shown.
    """

    OK = ("$success", "●", "*")
    ACTIVE = ("$accent", "●", "*")
    WARNING = ("$warning", "▲", "!")
    ERROR = ("bold $error", "■", "X")
    UNKNOWN = ("$dim", "○", "?")

    def __init__(self, style: str, mark: str, ascii_mark: str) -> None:
        self.style = style
        self.mark = mark
        self.ascii_mark = ascii_mark


class State(str, Enum):
    """Base of the states: each member is its word, and knows how serious it is."""

    severity: Severity

    def __new__(cls, word: str, severity: Severity = Severity.UNKNOWN) -> State:
        """Make a member; `Lag("ok")` looks one up by its word, as in every enum."""
        member = str.__new__(cls, word)
        member._value_ = word
        member.severity = severity
        return member
