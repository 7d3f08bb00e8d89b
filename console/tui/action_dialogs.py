"""Run actions from the screen: choose, complete, confirm, run. Nothing here blocks.

What takes time (a dry run, the list of scenarios, the action itself) happens in a thread, which
posts a message when it ends.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from textual.app import App
from textual.message import Message

from console import translations as msg
from console.actions import operations
from console.actions.commands import WOULD_PUBLISH, ScenarioRow
from console.actions.journal import ActionResult
from console.actions.operations import ActionRequest, Operator
from console.lookups.details import Ref
from console.snapshot.model import Snapshot
from console.translations import Text, word
from console.tui import screens
from console.tui.appearance import DisplayOptions
from console.tui.cells import fit, width
from shop.errors import JangteoError

Found = TypeVar("Found")


class ActionEnded(Message):
    """An action has ended."""

    def __init__(self, result: ActionResult) -> None:
        super().__init__()
        self.result = result


class LookupEnded(Message):
    """A lookup has ended; `then` continues with its result, in the thread of the screen."""

    def __init__(self, then: Callable[[], None]) -> None:
        super().__init__()
        self.then = then


class ActionDialogs:
    """The dialogs from the list of actions to the end of one.

    Args:
        app: shows the dialogs, and gets the messages.
        operator: does the actions.
        options: language.
        snapshot: called for what is known now.
    """

    def __init__(
        self,
        app: App[Any],
        operator: Operator,
        options: DisplayOptions,
        snapshot: Callable[[], Snapshot],
    ) -> None:
        self._app = app
        self._operator = operator
        self._options = options
        self._snapshot = snapshot
        self._ended = threading.Event()

    def end(self) -> None:
        """Stop waiting for the effects of actions."""
        self._ended.set()

    def offer(self, about: Ref | None = None) -> None:
        """Show what can be done, or what can be done with one thing."""
        if self._operator.refuse:
            self._app.notify(
                self._options.render(self._operator.refuse), severity="warning", markup=False
            )
            return
        if about is not None and about.kind == "letter":
            self._replay_one(about)
            return
        found = [c for c in self.commands() if about is None or about.key in c[0].split()]
        if not found:
            self._app.notify(self._options("nothing to do here"), timeout=2, markup=False)
            return

        def chosen(number: int | None) -> None:
            if number is not None:
                found[number][2]()

        items = _columns([(text, what) for text, what, _ in found])
        self._app.push_screen(screens.Choose(self._options("Actions"), items), chosen)

    def commands(self) -> Iterator[tuple[str, str, Callable[[], None]]]:
        """Yield the actions that are possible now: as typed, what each does, how to begin it."""
        if self._operator.refuse:
            return
        for text, words in screens.offers(self._snapshot()):
            what = operations.ACTIONS[words[0]].help[self._options.lang]
            yield text, what, lambda words=words: self._complete(words)  # type: ignore[misc]  # mypy has no type for a lambda with a default

    def report(self, result: ActionResult) -> Text:
        """Show the result of an action; return it as a message."""
        text = msg.CAME_TO(action=result.action, outcome=word(result.outcome), result=result.result)
        self._app.notify(
            self._options.render(text),
            severity="information" if result.done else "error",
            timeout=4 if result.done else 10,
            markup=False,
        )
        return text

    # ---- step by step ----

    def _replay_one(self, letter: Ref) -> None:
        """Ask for a field to be set in a dead letter; continue with a dry run of it alone."""

        def answered(answer: str | None) -> None:
            if answer is not None:
                self._confirm(["dlq.replay_one", letter.key, *([answer] if answer else [])])

        question = f"{letter.key}: {self._options('FIELD=JSON, or nothing to replay it as it is')}"
        self._app.push_screen(screens.Ask(question, self._options, empty=True), answered)

    def _complete(self, words: list[str]) -> None:
        """Ask for the argument that is missing, if one is."""
        if words == ["scenario.start", "NAME"]:
            self._look_up(" ".join(words[:1]), self._operator.scenarios, self._choose_scenario)
        elif words[-1].isupper():

            def answered(answer: str | None) -> None:
                if answer:
                    self._confirm([*words[:-1], answer])

            question = f"{' '.join(words[:-1])}: {self._options(words[-1])}?"
            self._app.push_screen(screens.Ask(question, self._options), answered)
        else:
            self._confirm(words)

    def _choose_scenario(self, found: tuple[ScenarioRow, ...]) -> None:
        def chosen(number: int | None) -> None:
            if number is not None:
                self._confirm(["scenario.start", found[number].scenario])

        items = _columns([(s.scenario, s.lasts, s.rate, self._options(s.title)) for s in found])
        self._app.push_screen(screens.Choose(self._options("Which scenario?"), items), chosen)

    def _confirm(self, words: list[str]) -> None:
        """Ask for a confirmation, if the action destroys something."""
        try:
            request = operations.parse(words)
        except JangteoError as e:
            self._app.notify(
                self._options.render(operations.text_of(e)), severity="error", markup=False
            )
            return
        if request.action.id.startswith("dlq.replay"):
            what = f"{request.words}: {self._options('a dry run first')}"
            self._look_up(
                what,
                lambda: self._operator.would_replay(request),
                lambda counted: self._confirm_replay(request, counted),
            )
        elif request.action.destructive:
            self._type_to_do(request, request.words, request.arguments[0])
        else:
            self.act(request)

    def _confirm_replay(self, request: ActionRequest, counted: dict[str, int]) -> None:
        """Show the result of a dry run; continue if anything would be published."""
        said = ", ".join(
            self._options.render(msg.COUNTED(count=f"{n:,}", what=word(what)))
            for what, n in counted.items()
        )
        text = f"{request.words}: {said or self._options('nothing to replay')}"
        if number := counted.get(WOULD_PUBLISH, 0):
            self._type_to_do(request, text, f"replay {number}")
        else:
            self._app.notify(text, severity="warning", timeout=6, markup=False)

    def _type_to_do(self, request: ActionRequest, text: str, wanted: str) -> None:
        def answered(answer: str | None) -> None:
            if answer is not None:
                self.act(request)

        question = f"{text}\n{self._options.render(msg.TYPE_TO_DO(wanted=repr(wanted)))}"
        self._app.push_screen(screens.Ask(question, self._options, wanted=wanted), answered)

    def act(self, request: ActionRequest) -> None:
        """Do an action, in a thread of its own."""

        def work() -> None:
            result = self._operator.perform(request, wait=operations.WAIT_S, stop=self._ended)
            if not self._ended.is_set():
                self._app.post_message(ActionEnded(result))

        more = self._options.glyphs.more
        self._app.notify(f"{request.words}{more}", timeout=2, markup=False)
        threading.Thread(target=work, name="action", daemon=True).start()

    def _look_up(self, what: str, find: Callable[[], Found], then: Callable[[Found], None]) -> None:
        """Look something up in a thread, then continue with it, unless a dialog is open by then."""

        def proceed(found: Found) -> None:
            if len(self._app.screen_stack) > 1:  # what is typed there must not answer this question
                text = f"{what}: {self._options('something else is open; A again')}"
                self._app.notify(text, severity="warning", markup=False)
            else:
                then(found)

        def fail(reason: Text) -> None:
            text = f"{what}: {self._options.render(reason)}"
            self._app.notify(text, severity="error", timeout=10, markup=False)

        def work() -> None:
            try:
                found = find()
            except JangteoError as e:
                reason = operations.text_of(e)
                following: Callable[[], None] = lambda: fail(reason)  # noqa: E731  (one of two continuations; a def for each would hide that)
            else:
                following = lambda: proceed(found)  # noqa: E731  (one of two continuations; a def for each would hide that)
            if not self._ended.is_set():
                self._app.post_message(LookupEnded(following))

        asking = f"{what}: {self._options('asking')}{self._options.glyphs.more}"
        self._app.notify(asking, timeout=2, markup=False)
        threading.Thread(target=work, name="ask", daemon=True).start()


def _columns(rows: list[tuple[str, ...]]) -> list[str]:
    """Lay rows out in columns; the last one is as long as it is."""
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([*(fit(c, w) for c, w in zip(row[:-1], widths, strict=False)), row[-1]])
        for row in rows
    ]
