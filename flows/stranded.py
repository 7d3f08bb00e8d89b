"""The way out for members whose group never forms again, which the embedded broker allows.

Tansu (0.6.0) keeps a member that leaves while its group is forming as the leader it waits for: if
it was the leader, nobody else ever becomes it, and no member gets partitions again. Deleting the
group makes all of them join a new one at once. Nothing is lost by it: where reading begins is
PostgreSQL's word, and Kafka's own offsets are written anew with the next assignment.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from shop import groups, kafka
from shop.log import get_logger
from shop.outage import first_line

PATIENCE_S: Final = 16.0
"""Joining after a kill takes up to 13 s on Tansu: the session (6 s) and both steps of joining."""
MOST_PATIENCE_S: Final = 300.0
ANSWER_S: Final = 2.0
"""Kafka is not waited for any longer: the worker's other topics wait meanwhile."""


class Stranded:
    """Counts how long a member has been without partitions, and deletes a group that is stuck.

    Args:
        group: of the consumer.
        admin: makes a client that may delete groups.
        monotonic: seconds of a clock that never steps.
    """

    def __init__(
        self,
        group: str,
        admin: Callable[[], AdminClient],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._group = group
        self._admin = admin
        self._monotonic = monotonic
        self._patience = PATIENCE_S
        self._since = monotonic()

    def look(self, *, has_partitions: bool) -> None:
        """Take note; after each patience without partitions, which doubles, delete the group."""
        now = self._monotonic()
        if has_partitions:
            self._since, self._patience = now, PATIENCE_S
        elif now - self._since > self._patience:
            self._delete()
            self._since = self._monotonic()
            self._patience = min(2 * self._patience, MOST_PATIENCE_S)

    def _delete(self) -> None:
        try:
            client = self._admin()
            # Apache Kafka elects another leader, refuses to delete a group that has members, and
            # may well have a member too many: it is left in peace.
            if not kafka.is_embedded(kafka.cluster_id(client, ANSWER_S)):
                return
            get_logger().warning("no partitions: the group does not form, and is made anew",
                                 group=self._group, seconds=round(self._patience))  # fmt: skip
            groups.delete(client, self._group, ANSWER_S)
        except KafkaException as e:  # away: no wonder that there are no partitions
            get_logger().debug("the group is as it was", group=self._group, error=first_line(e))
