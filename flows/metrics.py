"""The ingest's metrics endpoint, and when an ingest is healthy and ready.

It is alive while its consumers poll; a server that is away does not make it ill: it waits, and a
restart would mend nothing. It is ready when it has partitions and PostgreSQL answered last.
"""

from __future__ import annotations

from typing import Final

from flows.heartbeat import name_of
from flows.tally import KAFKA, POSTGRES, Tally
from shop import metrics
from shop.metrics import Endpoint, Health
from shop.settings import Settings

MOST_SILENT_S: Final = 10.0
"""A consumer polls 50 times a second; one batch of 50,000 keeps it busy for less than a second."""


def start(tally: Tally, settings: Settings) -> Endpoint | None:
    """Serve the tally; None if that cannot be."""
    return metrics.start(
        name_of(settings),
        tally.registry,
        settings,
        healthy=lambda: healthy(tally),
        ready=lambda: ready(tally, settings.ingest_topics),
    )


def healthy(tally: Tally) -> Health:
    """Tell whether the workers' threads turn; while a server is away they may wait for it."""
    silent = tally.silent_s()
    waiting = [server for server in (POSTGRES, KAFKA) if tally.is_away(server)]
    well = bool(waiting) or all(s < MOST_SILENT_S for s in silent.values())
    facts = {"silent_s": {t: round(s, 3) for t, s in silent.items()}, "waiting_for": waiting}
    return Health(well, facts)


def ready(tally: Tally, topics: tuple[str, ...]) -> Health:
    """Tell whether every topic has partitions here and PostgreSQL answered last."""
    assigned = tally.assigned()
    answers = not tally.is_away(POSTGRES)
    well = answers and all(assigned.get(topic) for topic in topics)
    return Health(well, {"partitions": assigned, "postgresql_answers": answers})
