"""The colours: text can be read on every background, and no state is shown by colour alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.color import ColorTriplet
from rich.segment import Segment
from textual.theme import Theme

from console.actions.operations import Operator
from console.recording.toggle import RecordingToggle
from console.rules import Phase, ShopHealth
from console.series import SnapshotSeries
from console.snapshot.model import Lag
from console.snapshot.reading import ReadingState
from console.snapshot.severity import Severity
from console.tui import kafka_and_cache, theme
from console.tui.app import ConsoleApp
from console.tui.appearance import DisplayOptions
from console.tui.view import PanelView, state
from shop.settings import load
from tests.console import console_samples as samples
from tests.console.console_samples import StillFeed

Linear = Sequence[float]
BACKGROUNDS = ("background", "surface", "panel")
ROLES = (
    *("foreground", "dim", "primary", "secondary", "accent"),
    *("success", "warning", "error"),
)
STATES = ("success", "warning", "error", "dim")
READABLE = 4.5
"""WCAG 2.2, success criterion 1.4.3 (AA) for text of ordinary size."""
APART = 15.0
"""Difference in CIELAB (CIE 1976); 2.3 is just noticeable (Mahy et al. 1994)."""
# Machado, Oliveira, Fernandes: A Physiologically-based Model for Simulation of Color Vision
# Deficiency (2009), severity 1, on linear RGB.
SEEN_WITH = {
    "all": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
}


def linear(rgb: Sequence[int]) -> Linear:
    """sRGB of 0 to 255 as linear light (IEC 61966-2-1)."""
    scaled = [c / 255 for c in rgb]
    return [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in scaled]


def contrast(one: Sequence[int], other: Sequence[int]) -> float:
    """The contrast ratio of WCAG 2.2, from 1 to 21."""
    weights = (0.2126, 0.7152, 0.0722)
    dark, light = sorted(
        sum(w * v for w, v in zip(weights, linear(c), strict=True)) for c in (one, other)
    )
    return (light + 0.05) / (dark + 0.05)


def lab(rgb: Linear) -> Linear:
    """Linear RGB in CIELAB, white D65."""
    r, g, b = (min(1.0, max(0.0, c)) for c in rgb)
    x = (0.4124564 * r + 0.3575761 * g + 0.1804375 * b) / 0.95047
    y = 0.2126729 * r + 0.7151522 * g + 0.0721750 * b
    z = (0.0193339 * r + 0.1191920 * g + 0.9503041 * b) / 1.08883
    fx, fy, fz = (
        c ** (1 / 3) if c > 216 / 24389 else (24389 / 27 * c + 16) / 116 for c in (x, y, z)
    )
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


def colour(of: Theme, role: str) -> tuple[int, int, int]:
    text = of.variables.get(role) or getattr(of, role)
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


def seen(rgb: Sequence[int], eye: str) -> Linear:
    return lab(
        [sum(m * c for m, c in zip(row, linear(rgb), strict=True)) for row in SEEN_WITH[eye]]
    )


def test_the_measure_of_contrast_is_wcags() -> None:
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert contrast((119, 119, 119), (255, 255, 255)) == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("of", theme.THEMES, ids=lambda t: t.name)
def test_text_of_every_role_is_readable(of: Theme) -> None:
    weak = {
        (role, on): round(contrast(colour(of, role), colour(of, on)), 2)
        for role in ROLES
        for on in BACKGROUNDS
        if contrast(colour(of, role), colour(of, on)) < READABLE
    }
    assert not weak


@pytest.mark.parametrize("eye", SEEN_WITH)
@pytest.mark.parametrize("of", theme.THEMES, ids=lambda t: t.name)
def test_states_stay_apart_for_every_eye(of: Theme, eye: str) -> None:
    near = {
        (one, other): round(math.dist(*(seen(colour(of, s), eye) for s in (one, other))), 1)
        for one, other in itertools.combinations(STATES, 2)
        if math.dist(*(seen(colour(of, s), eye) for s in (one, other))) < APART
    }
    assert not near


def words(segments: Sequence[Segment]) -> list[tuple[str, ColorTriplet, ColorTriplet]]:
    """Return the readable words of a line, with the colours that a terminal would show."""
    found = []
    for segment in segments:
        style = segment.style
        if style is None or not any(c.isalnum() for c in segment.text):
            continue
        assert style.color is not None
        assert style.bgcolor is not None
        front, back = style.color.get_truecolor(), style.bgcolor.get_truecolor()
        found.append((segment.text, *((back, front) if style.reverse else (front, back))))
    return found


def in_front(app: ConsoleApp) -> list[tuple[str, ColorTriplet, ColorTriplet]]:
    """Return the readable words of the screen, or of the dialog, behind which all is inactive."""
    strips = app.screen._compositor.render_strips()
    if len(app.screen_stack) > 1:
        box = app.screen.query_one(".dialog").region
        strips = [s.crop(box.x, box.right) for s in strips[box.y : box.bottom]]
    return [word for strip in strips for word in words(list(strip))]


@pytest.mark.parametrize("name", [t.name for t in theme.THEMES])
async def test_whatever_is_drawn_is_readable(name: str, tmp_path: Path) -> None:
    """Every tab and dialog is readable, including cursors, headers of tables and hints."""
    app = ConsoleApp(
        StillFeed(samples.kafka_down()),
        Operator(lambda: load({}, use_stack=False)),
        RecordingToggle(tmp_path),
        options=DisplayOptions(),
        colours=name,
        folder=tmp_path,
        clock=lambda: samples.NOW,
    )
    weak = set()
    async with app.run_test(size=(120, 40)) as pilot:
        for key in (*"1234567", "tab", "question_mark", "escape", "A", "slash"):
            await pilot.press(key)
            await pilot.pause()
            if key in "1234567":
                app.redraw()
                await pilot.pause()
            seen_words = in_front(app)
            assert seen_words
            weak |= {
                (key, text.strip(), front, back, round(contrast(front, back), 2))
                for text, front, back in seen_words
                if contrast(front, back) < READABLE
            }
    assert not weak, weak


@pytest.mark.parametrize("ascii_only", [False, True], ids=["fine", "ascii"])
def test_every_severity_has_a_mark_of_its_own(ascii_only: bool) -> None:
    severities = (Severity.OK, Severity.WARNING, Severity.ERROR, Severity.UNKNOWN)
    assert len({DisplayOptions(ascii=ascii_only).mark(s) for s in severities}) == 4
    assert len({s.style for s in Severity}) == len(Severity)


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_no_state_is_told_by_colour_alone(lang: str) -> None:
    """States of one colour differ by their word; states of one word mean the same."""
    say = DisplayOptions("ko" if lang == "ko" else "en")
    for kind in (Lag, ReadingState, ShopHealth, Phase):
        marks = [say(each.value) for each in kind]
        assert all(marks)
        assert len(set(marks)) == len(marks)


def test_the_panels_write_mark_and_word() -> None:
    """Every state of a reading, every verdict and the countdown have a word and a mark."""
    for each in ReadingState:
        reading = samples.failing(samples.ok(1), each, "x", since=3.0)
        plain = "".join(
            p if isinstance(p, str) else p[0] for p in state(reading, a_view(DisplayOptions()))
        )
        mark = each.severity.mark
        assert f"{mark} {each.value}" in plain
    shown = [line.plain for line in kafka_and_cache.partitions(a_view(DisplayOptions()))]
    for topic in samples.kafka().topics:
        for p in topic.partitions:
            said = f"{p.verdict.severity.mark} {p.verdict.value}"
            assert any(said in line for line in shown)
    assert any(
        "● waiting" in line.plain for line in kafka_and_cache.countdown(a_view(DisplayOptions()))
    )


def a_view(words_in: DisplayOptions) -> PanelView:
    return PanelView(samples.fine(), SnapshotSeries(), samples.NOW, words_in, width=120, height=30)
