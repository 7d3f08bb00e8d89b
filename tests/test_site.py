"""The documentation site: pages follow from the code, its languages agree, and it builds."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from shop import events
from shop.postgres import Connection
from tests.support import guide_commands

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
KOREAN = sorted(DOCS.glob("*.ko.md"))
_ROUND = re.compile(r"(\d[\d,]*(?:\.\d+)?)\s?(million|만|억)")
_UNITS = {"million": 10**6, "만": 10**4, "억": 10**8}


def test_the_generated_pages_are_those_of_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    module = runpy.run_path(str(DOCS / "reference_pages.py"))
    monkeypatch.setenv("COLUMNS", module["_WIDTH"])
    differs = [
        name
        for name, text in module["files"]().items()
        if (DOCS / name).read_text(encoding="utf-8") != text
    ]
    assert differs == [], "run `python docs/reference_pages.py`"


def test_the_page_of_metrics_has_every_process_that_counts() -> None:
    listed = runpy.run_path(str(DOCS / "reference_pages.py"))["METRICS"].values()
    rooms = ("console", "flows", "generators", "grading", "jangteo", "shop")
    counting = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for room in rooms
        for path in (ROOT / room).rglob("*.py")
        if re.search(r"prometheus_client import .*(?:Counter|Gauge|Histogram|Summary)",
                     path.read_text(encoding="utf-8"))
    }  # fmt: skip
    assert counting == {metrics.__module__ for metrics in listed}


def _schema(topic: str) -> Any:
    return json.loads((DOCS / "schemas" / f"{topic}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("topic", events.TOPICS)
def test_a_schema_accepts_what_the_contract_does(topic: str) -> None:
    page = (DOCS / "events.md").read_text(encoding="utf-8")
    (text,) = re.findall(rf"^```json {topic}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    example = json.loads(text)
    validator = jsonschema.Draft202012Validator(
        _schema(topic), format_checker=jsonschema.FormatChecker()
    )
    validator.validate(example)
    for field in _schema(topic)["required"]:
        assert not validator.is_valid({k: v for k, v in example.items() if k != field}), field
        assert not validator.is_valid({**example, field: []}), field
    assert not validator.is_valid({**example, "v": 2})
    assert not validator.is_valid({**example, events.KEY_FIELD[topic]: 2**53})


def test_the_picture_of_the_tables_is_that_of_the_database(pg: Connection) -> None:
    module = runpy.run_path(str(DOCS / "tables_picture.py"))
    path, drawn = DOCS / "images" / "tables.svg", module["picture"](pg)
    if os.environ.get("UPDATE_PICTURES"):
        path.write_text(drawn, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == drawn, "run this test with UPDATE_PICTURES=1"


def _written_out(text: str) -> str:
    """Return it with 7.9 million and 790만 as 7900000."""

    def figure(match: re.Match[str]) -> str:
        return f"{Decimal(match[1].replace(',', '')) * _UNITS[match[2]]:.0f}"

    return _ROUND.sub(figure, text)


@pytest.mark.parametrize("page", KOREAN, ids=lambda p: p.name)
def test_a_korean_page_says_the_same(page: Path) -> None:
    """The same commands, headings, links and figures, in the same order."""
    mine = page.with_name(page.name.replace(".ko.md", ".md")).read_text(encoding="utf-8")
    theirs = page.read_text(encoding="utf-8")
    fences = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
    assert fences.findall(theirs) == fences.findall(mine)
    mine, theirs = fences.sub("", mine), fences.sub("", theirs)
    for pattern in (r"^#+ ", r"^\|", r"^- ", r"^\d\. "):
        assert len(re.findall(pattern, theirs, re.M)) == len(re.findall(pattern, mine, re.M)), (
            pattern
        )
    mine, theirs = _written_out(mine), _written_out(theirs)
    for pattern in (r"\]\(([^)#]+)", r"`([^`]+)`", r"\d[\d,.]*\d"):
        assert sorted(re.findall(pattern, theirs)) == sorted(re.findall(pattern, mine)), pattern


def test_there_are_korean_pages_of_the_start_and_the_guides() -> None:
    names = ("start", "database", "docker", "kafka", "history", "development")
    assert {page.name for page in KOREAN} >= {f"{name}.ko.md" for name in names}


def test_every_page_is_in_the_sites_navigation() -> None:
    """MkDocs only warns of a page that no menu names."""
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = set(re.findall(r"^ +- ([\w-]+\.md)$", text, re.MULTILINE))
    there = {p.name for p in DOCS.glob("*.md")} - {p.name for p in KOREAN}
    assert there <= named


def search_of_a_file(site: Path, page: str) -> str | None:
    """Return the title that a browser finds first on a page without a server; None: no browser."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if not browser:
        return None
    done = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000",
         "--dump-dom", f"file://{site}/{page}"],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    results = done.stdout.partition('class="md-search-result__list"')[2]
    found = re.search(r"<h1>(.*?)</h1>", results, re.DOTALL)
    return re.sub(r"<[^>]+>", "", found[1]) if found else "nothing"


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_fetches_nothing(tmp_path: Path) -> None:
    """Strictly: every link and anchor leads somewhere."""
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "http_proxy": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(tmp_path)],
        cwd=ROOT, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    pages = sorted(tmp_path.rglob("*.html"))
    assert (tmp_path / "ko" / "index.html") in pages
    assert (tmp_path / "ko" / "start.html") in pages
    fetched = re.compile(r'<(?:script|link|img)[^>]*(?:src|href)="(?:https?:)?//[^"]+"')
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert [f for f in fetched.findall(text) if 'rel="canonical"' not in f] == [], page
        assert "<pre" in text or page.name in ("404.html", "search.html") or "<p" in text
    assert search_of_a_file(tmp_path, "index.html?q=dead%20letter") in (None, "Dead letters")
    assert search_of_a_file(tmp_path, "ko/index.html?q=%EB%B0%B1%ED%95%84") in (None, "이력")
    index = json.loads((tmp_path / "search" / "search_index.json").read_text(encoding="utf-8"))
    found = " ".join(entry["text"] for entry in index["docs"])
    assert "exactly once" in found
    assert "장터" in found


def test_guides_with_recipes_are_known() -> None:
    """A page with a block of this name is run: it is in the list of the guides."""
    with_recipes = {
        page for page in DOCS.glob("*.md")
        if "```bash recipe" in page.read_text(encoding="utf-8") and page not in KOREAN
    }  # fmt: skip
    assert with_recipes <= set(guide_commands.GUIDES)
