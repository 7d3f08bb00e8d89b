"""Kill -9 of the ingest at random moments; the long run is `python -m tests.faults.campaign`."""

from __future__ import annotations

import pytest

from tests.faults.kinds import Campaign
from tests.support.fault_stage import Stage
from tests.support.layouts import both_layouts

pytestmark = pytest.mark.fault


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
