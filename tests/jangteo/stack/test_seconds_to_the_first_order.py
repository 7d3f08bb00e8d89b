"""The seconds that `jangteo up` reports include the time in which Kafka is fetched."""

from __future__ import annotations

import argparse
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from jangteo.stack import up
from jangteo.stack.kafka import fallback
from shop import settings as shop_settings
from shop.clock import utc_now


def test_they_count_from_the_command_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    began = utc_now()
    fetches = timedelta(minutes=5)
    began_at: list[datetime] = []

    def broker(*_: object, **__: object) -> None:
        monkeypatch.setattr(up, "utc_now", lambda: began + fetches)

    class Run:
        def __init__(self, *_: object, since: datetime, terminal: object) -> None:
            began_at.append(since)
            assert terminal is None

        def run(self) -> int:
            return 0

    monkeypatch.setattr(fallback, "broker", broker)
    monkeypatch.setattr(up, "Up", Run)
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)
    parser = argparse.ArgumentParser()
    up.configure(parser)
    args = parser.parse_args(["--plain"], argparse.Namespace(data_dir=tmp_path))
    assert up.run(args, shop_settings.load({}, use_stack=False)) == 0
    assert began_at[0] < began + fetches
