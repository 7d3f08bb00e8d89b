"""Fixtures of the generators' tests; makes the helper module next to it importable."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.generator_processes import GeneratorProcess


@pytest.fixture
def start(env: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., GeneratorProcess]]:
    """Start a generator as a process: `start("generators.orders", "--rate", "50")`."""
    started: list[GeneratorProcess] = []

    def run(module: str, *args: str, **extra: str) -> GeneratorProcess:
        given = {**env, **extra}
        process = GeneratorProcess(module, args, given, tmp_path / f"{module}{len(started)}.log")
        started.append(process)
        return process

    yield run
    for process in started:
        process.popen.kill()
        process.popen.wait()
        print(process.log[-3_000:])
