"""The ingest's metrics endpoint, and when an ingest is alive, healthy and ready.

It lives while its consumers poll, and waits for a server that is away: a restart would fix nothing.
It is healthy while what it takes advances. It is ready when it has partitions and PostgreSQL
answered last.
"""

from __future__ import annotations

from typing import Final

from flows.heartbeat import name_of
from flows.metrics import POSTGRES, IngestMetrics
from shop import metrics_endpoint
from shop.metrics_endpoint import Endpoint, HealthAnswer
from shop.settings import Settings

MOST_SILENT_S: Final = 10.0
"""A consumer polls 50 times a second; one batch of 50,000 keeps it busy for less than a second."""


def start(metrics: IngestMetrics, settings: Settings) -> Endpoint | None:
    """Serve the metrics; None if that cannot be."""
    return metrics_endpoint.start(
        name_of(settings),
        metrics.registry,
        settings,
        live=lambda: live(metrics),
        healthy=lambda: healthy(metrics, settings.ingest_stall_after),
        ready=lambda: ready(metrics, settings.ingest_topics),
    )


def live(metrics: IngestMetrics) -> HealthAnswer:
    """Tell whether the workers' threads turn; while a server is away they may wait for it."""
    silent = metrics.silent_s()
    waiting = list(metrics.away())
    well = bool(waiting) or all(s < MOST_SILENT_S for s in silent.values())
    facts = {"silent_s": {t: round(s, 3) for t, s in silent.items()}, "waiting_for": waiting}
    return HealthAnswer(well, facts)


def healthy(metrics: IngestMetrics, bound: float) -> HealthAnswer:
    """Tell whether the process lives and all that its topics hold is stored within the bound.

    Args:
        metrics: of the process.
        bound: seconds for which a partition may wait, or a server be away.
    """
    alive = live(metrics)
    look = metrics.look()
    troubles = [f"{topic}: {line}" for topic, lines in look.troubles().items() for line in lines]
    troubles += [
        f"{server} has been waited for, for {seconds:.0f} s: {why}"
        for server, (seconds, why) in metrics.away().items()
        if seconds > bound
    ]
    facts = {"lag": {n: t.lag for n, t in look.topics.items()}, "troubles": troubles}
    return HealthAnswer(alive.well and not troubles, {**alive.facts, **facts})


def ready(metrics: IngestMetrics, topics: tuple[str, ...]) -> HealthAnswer:
    """Tell whether every topic has partitions here and PostgreSQL answered last."""
    assigned = metrics.assigned()
    answers = not metrics.is_away(POSTGRES)
    well = answers and all(assigned.get(topic) for topic in topics)
    return HealthAnswer(well, {"partitions": assigned, "postgresql_answers": answers})
