"""The recipes: what the pages tell a new user to type is typed, in a running shop."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from jangteo.stack.kafka import jars
from tests.support import guide_commands
from tests.support.guide_commands import GUIDES, ROOT
from tests.support.up_process import UpProcess

RECIPES = [
    pytest.param(page, id=page.stem) for page in GUIDES if guide_commands.lines(page, "recipe")
]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UpProcess]:
    """A shop with a past of two weeks, at twenty times its pace, as `jangteo up` opens it."""
    made = UpProcess(tmp_path_factory.mktemp("recipes"))
    process = made.start("--users", "2000", "--products", "1500", "--speed", "20")
    try:
        made.wait_for(lambda: "the shop is open" in made.out.read_text() and made.orders() > 20)
        yield made
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _files(page: Path, into: Path) -> None:
    """Write the files that a page shows: blocks whose info is a language and a name."""
    for block in guide_commands.blocks(page):
        language, _, name = block.info.partition(" ")
        if language in ("python", "java", "diff") and name:
            (into / name).write_text(block.text, encoding="utf-8")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", RECIPES)
def test_a_recipe_works_as_written(page: Path, shop: UpProcess) -> None:
    """Every line, one after the other, where the shop's directory is: no setting is needed."""
    cwd = shop.data_dir.parent
    _files(page, cwd)
    for line in guide_commands.lines(page, "recipe"):
        guide_commands.run(line, shop.env, cwd)


@pytest.mark.timeout(300)
def test_the_java_consumer_compiles_and_reads(shop: UpProcess) -> None:
    page = ROOT / "docs" / "own-consumer.md"
    if shutil.which("javac") is None or jars.absent():
        pytest.skip("needs a JDK and the jars of Kafka")
    cwd = shop.data_dir.parent
    _files(page, cwd)
    libs = f"{jars.home() / 'libs'}/*"
    env = {**os.environ, **shop.env}
    subprocess.run(["javac", "-cp", libs, "Tail.java"], cwd=cwd, env=env, check=True, timeout=120)
    line = guide_commands.Line(f'eval "$(jangteo env)" && java -cp ".:{libs}" Tail 5', "", False)
    printed = guide_commands.run(line, env, cwd)
    assert printed.count('"order_id"') == 5, printed


def _copied(page: Path, into: Path) -> UpProcess:
    """Copy the sources, and write the files of a page next to them; return a shop of the copy."""
    for room in ("jangteo", "shop", "flows", "generators", "grading", "console", "deploy"):
        leave = shutil.ignore_patterns("__pycache__", "target", "logs")
        shutil.copytree(ROOT / room, into / room, ignore=leave)
    _files(page, into)
    changed = UpProcess(into)
    changed.env["PYTHONPATH"] = str(into)
    return changed


@pytest.mark.timeout(600)
def test_a_field_is_added_as_the_page_says(tmp_path: Path) -> None:
    """In a copy of the sources: patched, the shop opened, and asked for the new field."""
    page = ROOT / "docs" / "add-a-field.md"
    changed = _copied(page, tmp_path)
    patch, *asks = guide_commands.lines(page, "field")
    guide_commands.run(patch, changed.env, tmp_path)
    process = changed.start("--users", "500", "--products", "1500", "--speed", "50")
    try:
        changed.wait_for(lambda: changed.orders() > 20)
        said = [guide_commands.run(line, changed.env, tmp_path) for line in asks]
    finally:
        process.terminate()
        process.wait(60)
    assert "app" in said[1]
    assert "web" in said[1]
    assert "channel" in said[-1]


@pytest.mark.timeout(600)
def test_a_topic_is_added_as_the_page_says(tmp_path: Path) -> None:
    """A class, a migration and its functions are enough: nothing else knows the topic by name."""
    page = ROOT / "docs" / "add-a-topic.md"
    changed = _copied(page, tmp_path)
    patch, *asks = guide_commands.lines(page, "topic")
    guide_commands.run(patch, changed.env, tmp_path)
    process = changed.start("--users", "500", "--products", "1500", "--speed", "1000",
                            "--with", "reviews")  # fmt: skip
    try:
        changed.wait_for(lambda: changed.rows("reviews") > 100)
        said = [guide_commands.run(line, changed.env, tmp_path) for line in asks]
    finally:
        process.terminate()
        process.wait(60)
    assert "reviews_group" in said[0]
    assert said[1].count('"stars"') == 3
    stars = [int(line.split("|")[0]) for line in said[2].splitlines() if line.strip()[:1].isdigit()]
    assert stars == [1, 2, 3, 4, 5]
    assert re.search(r"^ +0$", said[3], re.MULTILINE), said[3]
    assert list((tmp_path / "history" / "reviews").rglob("*.parquet"))
    assert "out_of_range" in said[-1]
