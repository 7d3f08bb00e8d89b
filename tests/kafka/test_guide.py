"""The guide of Apache Kafka without containers, as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support import guide_commands
from tests.support.guide_commands import GUIDES, Line


@pytest.mark.timeout(600)
def test_apache_kafka_runs_as_the_guide_says(
    apache_kafka: None, env: dict[str, str], tmp_path: Path
) -> None:
    try:
        for page in GUIDES:
            for line in guide_commands.lines(page, "apache"):
                if line.command.startswith("eval "):
                    exports = Line(f"{line.command} && env", "", endless=False)
                    said = guide_commands.run(exports, env, tmp_path)
                    (env["KAFKA_BOOTSTRAP_SERVERS"],) = re.findall(
                        r"^KAFKA_BOOTSTRAP_SERVERS=(.+)$", said, re.MULTILINE
                    )
                else:
                    guide_commands.run(line, env, tmp_path, until="CACHE:")
    finally:
        guide_commands.run(
            Line("python -m jangteo.stack.kafka.cluster down", "", endless=False), env, tmp_path
        )
