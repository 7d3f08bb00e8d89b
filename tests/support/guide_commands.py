"""The command lines of the guides: which test runs each, or the reason why none does.

A block of commands says it in its first line: "bash" and one of `RUNNERS`, whose test takes its
lines from here and runs them as they stand, or "bash not-run" below a paragraph that begins with
"Not run". A single line of a block is left out by the comment "not run: REASON".
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
GUIDES: Final = tuple(
    ROOT / name
    for name in (
        "docs/add-a-field.md",
        "docs/add-a-topic.md",
        "docs/break-it.md",
        "docs/connect.md",
        "docs/database.md",
        "docs/dbt.md",
        "docs/development.md",
        "docs/docker.md",
        "docs/exactly-once.md",
        "docs/grafana.md",
        "docs/history.md",
        "docs/kafka.md",
        "docs/kubernetes.md",
        "docs/load-test.md",
        "docs/managed-services.md",
        "docs/optional-topics.md",
        "docs/own-consumer.md",
        "docs/scaling.md",
        "docs/security.md",
        "docs/start.md",
        "docs/troubleshooting.md",
        "docs/upgrade.md",
        "deploy/kafka/README.md",
    )
)
RUNNERS: Final = {
    "embedded": "tests/test_guides.py::test_the_commands_of_a_guide_do_what_it_says",
    "history": "tests/test_guides.py::test_a_history_is_written_as_the_guide_says",
    "field": "tests/test_recipes.py::test_a_field_is_added_as_the_page_says",
    "topic": "tests/test_recipes.py::test_a_topic_is_added_as_the_page_says",
    "recipe": "tests/test_recipes.py::test_a_recipe_works_as_written",
    "dbt": "tests/deploy/test_dbt.py::test_the_guide_on_a_shop_with_a_history_and_faults",
    "compose": "tests/compose/test_stack.py::test_the_commands_of_the_guides_answer",
    "apache": "tests/kafka/test_guide.py::test_apache_kafka_runs_as_the_guide_says",
}
NOT_RUN: Final = "not-run"
COMMANDS: Final = (
    *("jangteo", "docker", "make", "kubectl", "python", "pip", "eval", "java", "mvn", "kafka-"),
    *("dbt", "COMPOSE_STANDINS="),
)
_VERDICTS: Final = ("jangteo doctor", "jangteo console --once")
"""Commands whose exit code reports a finding."""
_FENCE: Final = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMENT: Final = re.compile(r"\s+# (.*)$")


@dataclass(frozen=True)
class Line:
    """A command.

    Attributes:
        command: as a shell reads it, without its comment.
        reason: why no test runs it; empty if one does.
        endless: whether it runs until it is stopped.
    """

    command: str
    reason: str
    endless: bool


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        info: what stands behind the fence.
        text: its content.
        before: the paragraph above.
    """

    info: str
    text: str
    before: str

    @property
    def runner(self) -> str:
        """The label of a block of commands; empty if it has none."""
        return self.info.removeprefix("bash").strip()

    @property
    def is_commands(self) -> bool:
        """Whether the block holds commands, labelled or not."""
        return self.info.split(" ")[0] in ("bash", "sh", "shell", "console") or any(
            line.startswith(word) for line in self.text.splitlines() for word in COMMANDS
        )

    @property
    def lines(self) -> list[Line]:
        """The commands of the block."""
        found = []
        for told in self.text.replace("\\\n", " ").splitlines():
            if not told.strip():
                continue
            comment = match[1] if (match := _COMMENT.search(told)) else ""
            reason = comment.partition("not run: ")[2]
            command = _COMMENT.sub("", told).strip()
            found.append(Line(command, reason, "until stopped" in comment))
        return found


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(m[1].strip(), m[2], text[: m.start()].rstrip().rpartition("\n\n")[2])
        for m in _FENCE.finditer(text)
    ]


def inline(page: Path) -> list[str]:
    """The commands within the text of a page: code of more than one word that begins like one."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    spans = [re.sub(r"\s+", " ", span) for span in re.findall(r"`([^`]+)`", text)]
    return [s for s in spans if " " in s and s.startswith(COMMANDS)]


def lines(page: Path, runner: str) -> list[Line]:
    """Return the commands of a page that a runner must run, in order."""
    return [
        line
        for block in blocks(page)
        if block.is_commands and block.runner == runner
        for line in block.lines
        if not line.reason
    ]


def run(
    line: Line, env: Mapping[str, str], cwd: Path, timeout: float = 240.0, until: str = ""
) -> str:
    """Run a command as typed into bash; return all that it printed.

    A command that runs until it is stopped gets Ctrl-C a moment after its first output, or
    after `until` was in it.
    """
    path = f"{Path(sys.executable).parent}:{env.get('PATH', os.defpath)}"
    process = subprocess.Popen(
        ["bash", "-ec", line.command],
        env={**env, "PATH": path}, cwd=cwd, start_new_session=True, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout
    said = ""
    try:
        if line.endless:
            for told in process.stdout:
                said += told
                if until in said:
                    break
            time.sleep(2.0)
            assert process.poll() is None, f"{line.command}: it ended by itself: {said}"
            os.killpg(process.pid, signal.SIGINT)
        rest, _ = process.communicate(timeout=timeout)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    said += rest
    allowed = {0, 1} if line.command.endswith(_VERDICTS) else {0}
    if line.endless:
        allowed |= {-signal.SIGINT, 128 + signal.SIGINT}
    assert process.returncode in allowed, f"{line.command}: {process.returncode}: {said[-3000:]}"
    assert "Traceback" not in said, said[-3000:]
    return said


def words(command: str) -> list[str]:
    """Return the words of a command."""
    return shlex.split(command, comments=True)
