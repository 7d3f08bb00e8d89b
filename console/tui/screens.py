"""Dialogs over the panels: help, the list of actions, a question. Reading continues."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from console import translations as msg
from console.lookups.details import KIND_LABELS, Ref
from console.snapshot.model import Snapshot
from console.text import to_ascii
from console.tui import keys
from console.tui.appearance import DisplayOptions
from console.tui.cells import fit
from console.tui.objects.object_list import LIST_KEYS
from shop.optional.registry import OPTIONAL
from shop.redis import control


class Help(ModalScreen[None]):
    """The keys: first those that act on what the tab shows.

    Args:
        options: language and glyphs.
        tab: the tab that is shown.
        kind: the kind of the thing under the cursor; empty: there is none.
        actions: the names of the actions that it offers; empty if it offers none.
    """

    AUTO_FOCUS = "VerticalScroll"
    BINDINGS = [Binding("escape,question_mark,q,f1", "dismiss", show=False)]  # noqa: RUF012  (Textual's name and type; it is only read)

    def __init__(self, options: DisplayOptions, tab: str, kind: str, actions: str) -> None:
        super().__init__()
        self._options = options
        self._tab = tab
        self._kind = kind
        self._actions = actions

    def compose(self) -> ComposeResult:
        """Make the table."""
        here, everywhere = keys.help_keys(self._tab)
        word = self._options
        lines = [f"{word('On this tab')}: {word(keys.PURPOSES[self._tab])}"]
        if self._actions:
            kind = word(KIND_LABELS.get(self._kind, self._kind))
            lines += [f"{word('On the row')} ({kind}): a {self._actions}"]
        lines += [*map(self._line, here), "", f"{word('Everywhere')}:"]
        lines += map(self._line, everywhere)
        if self._options.ascii:
            lines = [to_ascii(line) for line in lines]
        with VerticalScroll(classes="dialog", id="help") as box:
            box.border_title = f"{word('Help')}: {word(dict(keys.TABS)[self._tab])}"
            yield Static(Content("\n".join(lines)))

    def _line(self, key: keys.Key) -> str:
        return f"  {fit(key.shown, 5)} {key.ko if self._options.lang == 'ko' else key.en}"


class Choices(OptionList):
    """The list of a dialog."""

    BINDINGS: ClassVar = [*LIST_KEYS]

    @staticmethod
    def of(lines: Iterable[str]) -> list[Option]:
        """Return lines as what is chosen from; nothing in them is markup."""
        return [Option(Content(line)) for line in lines]


class Choose(ModalScreen[int | None]):
    """A list to choose from; ends with the number of the choice.

    Args:
        title: above the list.
        items: a line each.
    """

    AUTO_FOCUS = "Choices"
    BINDINGS = [Binding("escape,q", "dismiss(None)", show=False)]  # noqa: RUF012  (Textual's name and type; it is only read)

    def __init__(self, title: str, items: Sequence[str]) -> None:
        super().__init__()
        self._title = title
        self._items = items

    def compose(self) -> ComposeResult:
        """Make the list."""
        with Vertical(classes="dialog", id="choose") as box:
            box.border_title = self._title
            yield Choices(*Choices.of(self._items))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Take the choice."""
        event.stop()
        self.dismiss(event.option_index)


class Ask(ModalScreen[str | None]):
    """A question that is answered with a line; ends with the answer, None if it was left.

    Args:
        question: what is asked.
        options: language.
        wanted: the only answer that is taken; None: any that is not empty.
        empty: whether an empty answer is taken, too.
    """

    AUTO_FOCUS = "Input"
    BINDINGS = [Binding("escape", "dismiss(None)", show=False)]  # noqa: RUF012  (Textual's name and type; it is only read)

    def __init__(
        self,
        question: str,
        options: DisplayOptions,
        *,
        wanted: str | None = None,
        empty: bool = False,
    ) -> None:
        super().__init__()
        self._question = question
        self._options = options
        self._wanted = wanted
        self._empty = empty

    def compose(self) -> ComposeResult:
        """Make the question."""
        with Vertical(classes="dialog", id="ask"):
            yield Static(Content(self._question))
            yield Input(select_on_focus=False)
            yield Static("", id="hint")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Take the answer, or show which answer is needed."""
        event.stop()
        answer = event.value.strip()
        if self._wanted is not None and answer != self._wanted:
            hint = self._options.render(msg.TYPE_OR_ESCAPE(wanted=repr(self._wanted)))
            self.query_one("#hint", Static).update(Content(hint))
        elif answer or self._empty:
            self.dismiss(answer)


def offers_on(ref: Ref, snapshot: Snapshot) -> list[str]:
    """Return the names of the actions that make sense on one thing now."""
    if ref.kind == "letter":
        return ["dlq.replay_one"]
    return [words[0] for _, words in offers(snapshot) if ref.key in words[1:]]


def offers(snapshot: Snapshot) -> list[tuple[str, list[str]]]:
    """Return the actions that make sense now: as typed, and the words.

    A last word that is a parameter's name is still to be asked for.
    """
    found: list[list[str]] = []
    view = snapshot.processes.value
    processes = {p.name: p for p in view.processes} if view else {}
    for name in (*control.GENERATORS, *(n for n in OPTIONAL if n in processes)):
        paused = name in processes and processes[name].paused
        found.append(["generator.resume" if paused else "generator.pause", name])
        if name in control.GENERATORS:
            found.append(["generator.rate", name, "FACTOR"])
    found += [["cache.refresh"], ["grading.run"], ["scenario.start", "NAME"]]
    found += [["scenario.stop", s.split()[0]] for s in (view.scenarios if view else ())]
    found.append(["dlq.replay"])
    letters = snapshot.letters.value
    found += [
        ["dlq.replay", c.topic, c.reason] for c in (letters.counts if letters else ()) if c.open
    ]
    found += [["process.restart", p.name] for p in processes.values() if p.supervised and p.beats]
    return [(" ".join(words), words) for words in found]
