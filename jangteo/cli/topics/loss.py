"""Offsets that the log lost before PostgreSQL applied them, and the decision to skip them.

The ingest never skips anything by itself: it stops where its offset is outside the log. Here an
operator decides, after seeing the numbers, that it continues at the log's own bounds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # psycopg takes 0.1 s of CPU, which most actions on topics do not need
    from shop.kafka.progress import ProgressReport
    from shop.postgres import Connection


@dataclass(frozen=True)
class Loss:
    """A partition whose applied offset is outside its log.

    Attributes:
        topic: name of the topic.
        log_id: id of the topic's incarnation.
        partition: number of the partition.
        applied: next offset that PostgreSQL expects.
        resume: first offset of the log, or its end if that is below `applied`.
    """

    topic: str
    log_id: str
    partition: int
    applied: int
    resume: int

    @property
    def offsets(self) -> int:
        """Number of offsets lost unread; 0 if the log lost only what had been applied."""
        return max(0, self.resume - self.applied)

    def describe(self) -> str:
        """Return the loss as one line.

        >>> Loss("orders", "x", 3, applied=40, resume=100).describe()
        'orders[3]: applied up to 40, the log begins at 100: 60 offsets are lost'
        >>> Loss("orders", "x", 3, applied=40, resume=30).describe()
        'orders[3]: applied up to 40, the log ends at 30: new messages from there on are read'
        """
        where = f"{self.topic}[{self.partition}]: applied up to {self.applied}"
        if self.offsets:
            return f"{where}, the log begins at {self.resume}: {self.offsets} offsets are lost"
        return f"{where}, the log ends at {self.resume}: new messages from there on are read"


def find(look: ProgressReport) -> list[Loss]:
    """Return the partitions that the ingest cannot continue with."""
    return [
        Loss(name, topic.info.log_id, p.partition, p.applied, max(p.begin, min(p.applied, p.end)))
        for name, topic in look.topics.items()
        for p in topic.partitions
        if p.applied is not None and not p.begin <= p.applied <= p.end
    ]


def accept(conn: Connection, losses: Iterable[Loss]) -> list[Loss]:
    """Let the ingest continue at the log's bounds; return what was changed.

    A partition that advanced meanwhile is left alone.
    """
    done = []
    with conn.transaction(), conn.cursor() as cur:
        for loss in sorted(losses, key=lambda x: (x.topic, x.partition)):
            cur.execute(
                "INSERT INTO ingest_offsets AS o (topic, partition, log_id, next_offset, lost)"
                " VALUES (%s, %s, %s, %s, %s) ON CONFLICT (topic, partition, log_id) DO UPDATE"
                " SET next_offset = excluded.next_offset, lost = o.lost + excluded.lost,"
                " updated_at = now() WHERE o.next_offset = %s",
                (loss.topic, loss.partition, loss.log_id, loss.resume, loss.offsets, loss.applied),
            )
            if cur.rowcount:
                done.append(loss)
    return done
