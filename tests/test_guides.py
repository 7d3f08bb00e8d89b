"""Every command of the guides is run as written, or has a reason not to be."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.support import guide_commands
from tests.support.guide_commands import GUIDES, NOT_RUN, ROOT, RUNNERS, Block, Line

PAGES = [pytest.param(page, id=page.relative_to(ROOT).as_posix()) for page in GUIDES]


@pytest.mark.parametrize("page", PAGES)
def test_every_command_has_a_test_or_a_reason(page: Path) -> None:
    found = [b for b in guide_commands.blocks(page) if b.is_commands]
    for block in found:
        assert block.info.startswith("bash "), f"who runs this? ```{block.info}\n{block.text}"
        if block.runner == NOT_RUN:
            assert block.before.startswith("Not run"), block.text
            assert len(block.before) > 30, "why not?"
            continue
        assert block.runner in RUNNERS, block.info
        for line in block.lines:
            assert not line.reason or len(line.reason) > 10, f"why not? {line}"


@pytest.mark.parametrize(("runner", "test"), RUNNERS.items())
def test_who_runs_a_block_is_there_and_asks_for_its_lines(runner: str, test: str) -> None:
    """The named test runs the blocks of this name (`guide_commands.lines`)."""
    path, name = test.split("::")
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    (function,) = (n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == name)
    body = ast.unparse(function)
    assert f"guide_commands.lines(page, {runner!r})" in body
    assert "guide_commands.run(" in body
    assert any(guide_commands.lines(page, runner) for page in GUIDES)


@pytest.mark.parametrize("page", PAGES)
def test_commands_within_the_text_are_those_of_a_block(page: Path) -> None:
    """With the same words or the first of them, so that they too are run or say why not."""
    known = [
        guide_commands.words(line.command)
        for each in GUIDES
        for block in guide_commands.blocks(each)
        if block.is_commands
        for line in block.lines
    ]
    for command in guide_commands.inline(page):
        shape = guide_commands.words(command)
        assert any(words[: len(shape)] == shape for words in known), f"{command}: in no block"


@pytest.mark.parametrize(
    "page",
    [p for p in PAGES if guide_commands.lines(Path(p.values[0]), "embedded")],  # type: ignore[arg-type]  # pytest types a param's values as objects; each is a page
)
@pytest.mark.usefixtures("topics")
def test_the_commands_of_a_guide_do_what_it_says(
    page: Path, env: dict[str, str], tmp_path: Path
) -> None:
    """On the embedded servers, from an empty shop, one after the other."""
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    for line in guide_commands.lines(page, "embedded"):
        guide_commands.run(line, env, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("topics")
def test_a_history_is_written_as_the_guide_says(env: dict[str, str], tmp_path: Path) -> None:
    """As it stands, but for the size of the shop, which the last option of its name decides."""
    small = " --orders-per-day 60"
    for page in GUIDES:
        for line in guide_commands.lines(page, "history"):
            size = small if line.command.startswith("jangteo backfill") else ""
            guide_commands.run(
                Line(line.command + size, "", line.endless), env, tmp_path, timeout=600
            )


def test_what_is_no_command_is_not_taken_for_one() -> None:
    assert not Block("sql", "SELECT 1;\n", "").is_commands
    assert Block("", "docker ps\n", "").is_commands
    (line,) = Block("bash embedded", "jangteo up  # not run: it is for ever\n", "").lines
    assert line == Line("jangteo up", "it is for ever", False)
