"""Kill -9 of the ingest at random moments; the long run is `python -m tests.faults.campaign`."""

from __future__ import annotations

from pathlib import Path

import pytest

from shop import postgres
from shop.optional.registry import OPTIONAL
from shop.settings import Settings
from tests.faults.kinds import Campaign
from tests.faults.revision_load import Catalogue, OptionalLoad
from tests.support.fault_stage import Stage
from tests.support.layouts import both_layouts
from tests.support.waiting import wait_until

pytestmark = pytest.mark.fault

VERSIONS = """
SELECT count(*) > 1.5 * count(DISTINCT user_id), bool_or(kind = 'CLOSED') FROM users_history
"""
"""Whether customers have several versions, and accounts are closed: the verdict is about both."""


def test_members_killed_at_random_moments(stage: Stage, servers) -> None:
    stage.load(seed=21, rate=500)
    campaign = Campaign(stage, servers.postgres, [], seed=21, fleet=2, say=print)
    campaign.run(kills=5, only_kills=True)
    stage.settle()
    assert campaign.done == {"kill": 5}


@both_layouts
@pytest.mark.slow
def test_faults_of_every_kind(stage: Stage, servers) -> None:
    stage.load(seed=22, rate=500)
    campaign = Campaign(stage, servers.postgres, [], seed=22, fleet=3, say=print)
    campaign.run(kills=20)
    stage.settle()


def test_revisions_of_products_while_their_ingest_is_killed(
    topics: object, env: dict[str, str], settings: Settings, tmp_path: Path
) -> None:
    with Catalogue(env, settings, tmp_path, seed=23, kill_every_s=1.5) as catalogue:
        wait_until(
            lambda: catalogue.kills >= 4 and catalogue.messages > 400, "kills under load", 90
        )
        assert catalogue.violations() == []
    newest = catalogue.newest("products").values()
    assert len(newest) > 50
    assert max(p.rev for p in newest) > 4


def test_optional_topics_while_their_ingest_is_killed(
    topics: object, env: dict[str, str], settings: Settings, tmp_path: Path
) -> None:
    with OptionalLoad(
        env, settings, tmp_path, topics=tuple(OPTIONAL), seed=24, kill_every_s=1.5
    ) as load:
        wait_until(lambda: load.kills >= 4 and load.messages > 800, "kills under load", 90)
        assert load.violations() == []
        with postgres.connect(settings.postgres, "verdict", autocommit=True) as conn:
            assert conn.execute(VERSIONS).fetchone() == (True, True)
    assert all(load.poison[topic] for topic in OPTIONAL)
    assert all(len(load.newest(topic)) > 50 for topic in OPTIONAL)
