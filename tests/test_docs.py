"""The pages are true: commands, links, columns, reasons, examples, dependencies."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from jangteo.cli import main
from shop import command, events
from shop.clock import UTC
from shop.grading_policy import POLICY
from shop.postgres import Connection

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
README, TABLES, EVENTS, WINDOWS, DEPENDENCIES, OPTIONAL_TOPICS = (
    (ROOT / name).read_text(encoding="utf-8")
    for name in (
        "README.md",
        "docs/tables.md",
        "docs/events.md",
        "docs/windows.md",
        "docs/dependencies.md",
        "docs/optional-topics.md",
    )
)


def blocks(text: str, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def _command_lines() -> list[list[str]]:
    """Return the commands of all pages; those of a topic that a page adds are not the shop's."""
    lines = [
        line
        for page in PAGES
        for block in blocks(page.read_text(encoding="utf-8"), r"bash(?! topic\b)(?: [\w-]+)?")
        for line in block.replace("\\\n", " ").splitlines()
    ]
    parts = [part for line in lines for part in _commands(line)]
    return [words[1:] for words in parts if words[:1] == ["jangteo"]]


def _commands(line: str) -> list[list[str]]:
    """Return the commands of a line of a shell: what `|`, `&`, `;` and redirections separate."""
    words = shlex.shlex(line, posix=True, punctuation_chars=True)
    words.whitespace_split = True
    found: list[list[str]] = [[]]
    for word in words:
        if set(word) <= set("();<>|&"):
            found.append([])
        else:
            found[-1].append(word)
    return found


@pytest.mark.parametrize("words", _command_lines(), ids=" ".join)
def test_every_command_line_is_understood(words: list[str]) -> None:
    table = main.COMMANDS
    if words[0] == "generate":
        table, words = main.GENERATE, words[1:]
    chosen = table[words[0]]
    parser = command.Parser()
    importlib.import_module(chosen.module).configure(parser)
    parser.parse(words[1:])


def test_the_readme_names_every_command() -> None:
    rows = re.findall(r"^\| `jangteo (\w+)", README, re.MULTILINE)
    assert set(rows) == set(main.COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8"))
    inside = [link for link in links if "://" not in link]
    assert [link for link in inside if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("topic", events.CONTRACTS)
def test_the_example_of_each_topic_is_an_event(topic: str) -> None:
    page = EVENTS if topic in events.TOPICS else OPTIONAL_TOPICS
    (example,) = blocks(page, f"json {topic}")
    ident = re.search(rf'"{events.KEY_FIELD[topic]}": (\d+)', example)
    assert ident
    now = datetime(2026, 11, 25, 3, tzinfo=UTC)
    event = events.decode(topic, ident[1].encode(), example.encode(), now=now)
    fields = re.findall(r'^  "(\w+)":', example, re.MULTILINE)
    assert fields == list(event.__struct_fields__)


def _columns(section: str) -> set[str]:
    rows = re.findall(r"^\| (`.+?) \|", section, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


IN_EVERY_TABLE = {"ingested_at", "changed_at"}  # explained once, at the top of the page


def test_every_table_and_column_is_explained(pg: Connection) -> None:
    rows = pg.execute(
        "SELECT table_name, column_name FROM information_schema.columns "
        "WHERE table_schema = 'public' AND table_name <> 'schema_migrations'"
    ).fetchall()
    there: dict[str, set[str]] = {}
    for table, column in rows:
        there.setdefault(table, set()).add(column)
    explained: set[str] = set()
    for section in re.split(r"^## ", TABLES, flags=re.MULTILINE)[1:]:
        tables = re.findall(r"\w+", section.splitlines()[0])
        if not set(tables) <= set(there):
            continue
        explained |= set(tables)
        columns = set().union(*(there[t] for t in tables))
        assert _columns(section) | IN_EVERY_TABLE == columns | IN_EVERY_TABLE, tables
    assert explained == set(there)


def test_the_questions_are_answered(pg: Connection) -> None:
    asked = [
        question
        for page in (TABLES, EVENTS, WINDOWS, OPTIONAL_TOPICS)
        for block in blocks(page, "sql")
        for question in block.split(";\n")
    ]
    assert len(asked) >= 5
    for question in filter(str.strip, asked):
        pg.execute(question.encode())


def test_the_thresholds_of_the_grades_are_the_policys() -> None:
    (sentence,) = re.findall(r"^Grades by spend.*?\n.*?\n", TABLES, re.MULTILINE)
    for grade in POLICY.grades[1:]:
        assert re.search(rf"{grade.name}\s+from\s+{grade.threshold:,}", sentence)


def test_every_dependency_is_explained() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    wanted = project.split("\ndependencies = [")[1].split("[project.scripts]")[0]
    names = {n.lower() for n in re.findall(r'"([A-Za-z][A-Za-z0-9-]*)', wanted)}
    rows = re.findall(r"^\| (`.+?) \|", DEPENDENCIES, re.MULTILINE)
    explained = {n.lower() for row in rows for n in re.findall(r"`([\w-]+)`", row)}
    assert explained == names


def test_the_map_is_that_of_the_modules() -> None:
    done = subprocess.run([sys.executable, ROOT / "docs" / "module_map.py", "--check"], check=False)
    assert done.returncode == 0, "run `python docs/module_map.py`"


def test_the_map_differs_where_a_module_is_missing() -> None:
    path = ROOT / "docs" / "module_map.py"
    code = (
        f"import runpy; m = runpy.run_path({str(path)!r}); text = m['PAGE'].read_text();"
        "line = next(x for x in text.splitlines() if x.startswith('- `retry.py`'));"
        "print(m['page'](text.replace(line, '')) == text)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "True\n"


@pytest.mark.parametrize("name", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_every_file_that_the_walks_and_the_steps_name_is_there(name: str) -> None:
    page = (ROOT / name).read_text(encoding="utf-8")
    rooms = "jangteo|shop|flows|generators|grading|console|deploy|tests|benchmarks"
    named = set(re.findall(rf"`((?:{rooms})/[\w/.-]*)`", page))
    assert len(named) > 15
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_the_readme_is_short() -> None:
    """Two pictures, two commands to begin with, five things to do; the rest is folded."""
    seen = README[: README.index("## Commands")]
    assert seen.count("\n") <= 120
    assert re.findall(r"!\[.*?\]\((.+?)\)", README) == [
        "docs/images/console-overview.svg",
        "docs/images/grafana-shop.png",
    ]
    start, do = (seen[seen.index(title) :] for title in ("## Start", "## What you can do"))
    assert len(blocks(start, "bash")[0].splitlines()) == 2
    assert len(blocks(do, "bash")[0].splitlines()) == 5
    assert README.count("<details") == README.count("</details>") == 1


def test_the_korean_readme_says_the_same() -> None:
    """The same sections, commands, links and figures, in the same order."""
    korean = (ROOT / "README.ko.md").read_text(encoding="utf-8")
    fences = r"^```.*?^```"
    for pattern in (r"^#+ ", r"\]\(((?!README)[^)]+?)(?:-ko)?(?:\.svg)?\)", r"^\| `jangteo [^|]+"):
        mine, theirs = (re.findall(pattern, text, re.MULTILINE) for text in (README, korean))
        assert theirs == mine
    mine, theirs = (re.findall(fences, text, re.MULTILINE | re.DOTALL) for text in (README, korean))
    assert theirs == mine
    figures = [
        sorted(re.findall(r"\d[\d,.]*\d", re.sub(fences, "", text, flags=re.M | re.S)))
        for text in (README[README.index("## Start") :], korean[korean.index("## ") :])
    ]
    assert figures[1] == figures[0]
