"""The guide of Apache Kafka without containers, as it stands."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

import guides
from guides import GUIDES, Line


@pytest.mark.timeout(600)
def test_apache_kafka_runs_as_the_guide_says(
    apache_kafka: None, env: dict[str, str], tmp_path: Path
) -> None:
    try:
        for page in GUIDES:
            for line in guides.lines(page, "apache"):
                if line.command.startswith("eval "):
                    told = Line(f"{line.command} && env", "", endless=False)
                    said = guides.run(told, env, tmp_path)
                    (env["KAFKA_BOOTSTRAP_SERVERS"],) = re.findall(
                        r"^KAFKA_BOOTSTRAP_SERVERS=(.+)$", said, re.MULTILINE
                    )
                else:
                    guides.run(line, env, tmp_path, until="CACHE:")
    finally:
        guides.run(Line("python -m shop.kafka_cluster down", "", endless=False), env, tmp_path)
