"""Asks Kafka whether a topic is still the one that was assigned, without blocking the caller.

A topic that is deleted and created again keeps its name and starts again at offset 0. The client
(librdkafka 2.16) then fetches from its old position in the new log: it stalls where that is
beyond the end, and reads from the middle where it is not. Only the topic id tells the two apart.
An answer to a question that was asked after a fetch covers what was fetched: ids never come back.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYetError
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from shop.kafka import ASK_S, LONGEST_ASK_S
from shop.log import get_logger
from shop.retry import Patience, first_line

PAUSE_S: Final = 0.5
"""Between a question that failed and the next."""
DELETED: Final = ""
"""The id of a topic that does not exist."""


class TopicIncarnationWatch:
    """One topic's id, as Kafka reports it now.

    Args:
        topic: its name.
        make_admin: makes a client; one that failed is replaced, since librdkafka may continue
            asking a broker that is no more.
        monotonic: seconds of a clock that never steps.
    """

    def __init__(
        self,
        topic: str,
        make_admin: Callable[[], AdminClient],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._topic = topic
        self._make_admin = make_admin
        self._monotonic = monotonic
        self._admin: AdminClient | None = None
        self._asked: Future[Any] | None = None
        self._again_at: float | None = None
        self._patience = Patience(ASK_S, LONGEST_ASK_S)
        self._asked_at, self._allowed = 0.0, ASK_S

    def ask(self) -> None:
        """Ask now; the answer to an earlier question is no longer waited for."""
        self._again_at = None
        if self._admin is None:
            self._admin = self._make_admin()
        described = self._admin.describe_topics(
            TopicCollection([self._topic]), request_timeout=self._patience.seconds
        )
        self._asked = described[self._topic]
        self._asked_at, self._allowed = self._monotonic(), self._patience.seconds

    def answer(self, wait: float = 0.0) -> str | None:
        """Return the id or `DELETED`, once for each question; None while there is no answer.

        Args:
            wait: seconds.
        """
        if self._again_at is not None and self._monotonic() >= self._again_at:
            self.ask()
        if self._asked is None:
            return None
        try:
            described = self._asked.result(wait)
        except NotYetError:
            return None
        except KafkaException as e:
            self._asked = None
            if e.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                return DELETED
            get_logger().debug("topic id not known", topic=self._topic, error=first_line(e))
            self._patience.took(self._monotonic() - self._asked_at, self._allowed, failed=True)
            self._admin = None
            self._again_at = self._monotonic() + PAUSE_S
            return None
        self._asked = None
        self._patience.took(self._monotonic() - self._asked_at, self._allowed)
        return str(described.topic_id)
