"""A shop with a history, run by `jangteo up` on a PostgreSQL that a measurement looks into."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final

from confluent_kafka import KafkaException

from benchmarks import common
from shop import kafka, postgres
from shop import settings as shop_settings
from shop.clock import utc_now
from shop.errors import JangteoError
from shop.optional.registry import switches_of
from shop.settings import EMBEDDED_PORTS, Settings, stack_file

STARTING_S: Final = 600.0
"""For the servers to start, and for the first order, on a busy machine."""
ENDING_S: Final = 300.0
"""Likewise for the end, of which a shop takes some 20 s."""


def write_history(
    rig: common.Rig, seed: int, days: int, scale: float, topics: Sequence[str] = ()
) -> None:
    """Write a history that ends now.

    Args:
        rig: whose PostgreSQL is up.
        seed: of the shop.
        days: of history.
        scale: of the shop's size.
        topics: optional topics that it has.
    """
    with postgres.connect(rig.settings(rig.postgres.env).postgres, "bench") as conn:
        postgres.migrate(conn)
    subprocess.run(
        [
            sys.executable, "-m", "generators.backfill", "--days", str(days), "--scale", str(scale),
            "--seed", str(seed), *with_topics(topics),
        ],
        env={**os.environ, **rig.postgres.env, "JANGTEO_DATA_DIR": str(rig.directory)},
        check=True,
    )  # fmt: skip


def with_topics(topics: Sequence[str]) -> list[str]:
    """Return the options of a command that switch topics on."""
    return ["--with", switches_of(topics)] if topics else []


@dataclass(frozen=True)
class RunningUp:
    """A shop that `jangteo up` runs.

    Attributes:
        settings: of its servers.
        process: `jangteo up`.
        data_dir: its data directory.
        log: what it has printed.
    """

    settings: Settings
    process: subprocess.Popen[bytes]
    data_dir: Path
    log: Path


@contextmanager
def running(
    rig: common.Rig,
    seed: int,
    speed: float,
    topics: Sequence[str] = (),
    more: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[RunningUp]:
    """Run `jangteo up` on a PostgreSQL that is up; end it afterwards.

    Args:
        rig: whose PostgreSQL it uses.
        seed: of the shop.
        speed: of the shop.
        topics: optional topics that it has.
        more: environment variables.
    """
    data_dir, log = rig.directory / "shop", rig.directory / "up.log"
    command = [
        sys.executable, "-m", "jangteo.stack.up", "--data-dir", str(data_dir), "--json",
        "--no-continue", "--seed", str(seed), "--speed", str(speed), *with_topics(topics),
    ]  # fmt: skip
    env = {
        **os.environ, **rig.postgres.env, **dict.fromkeys(EMBEDDED_PORTS.values(), "0"),
        "XDG_STATE_HOME": str(rig.directory / "state"), **more,
    }  # fmt: skip
    with log.open("wb") as out:
        up = subprocess.Popen(command, env=env, stdout=out, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + STARTING_S
            while (found := stack_file.read_stack(data_dir)) is None:
                if up.poll() is not None or time.monotonic() > deadline:
                    said = log.read_text(encoding="utf-8")[-2_000:]
                    raise JangteoError(f"the shop does not start: {said}")
                time.sleep(0.5)
            settings = shop_settings.load({**env, **found.env}, use_stack=False)
            yield RunningUp(settings, up, data_dir, log)
        finally:
            up.send_signal(signal.SIGTERM)
            up.wait(ENDING_S)


def first_order(settings: Settings) -> datetime:
    """Wait for the first order, and return a moment after it."""
    deadline = time.monotonic() + STARTING_S
    while time.monotonic() < deadline:
        with contextlib.suppress(KafkaException):  # the topics have just been created
            if sum(kafka.end_offsets(settings.kafka, "orders").values()):
                return utc_now()
        time.sleep(0.5)
    raise JangteoError(f"no order within {STARTING_S:g} s")
