"""The environment of the tests, without variables of a shop."""

from __future__ import annotations

import os

from shop.settings import JAVA_HOME, KAFKA_HOME, MAVEN_REPOSITORY

_OF_A_SHOP = ("KAFKA_", "POSTGRES_", "REDIS_", "JANGTEO_", "CACHE_", "INGEST_", "SHOP_", "GRADE_")
_OF_THE_MACHINE = {JAVA_HOME, KAFKA_HOME, MAVEN_REPOSITORY}
"""Variables of the machine, which tests keep although their names begin so."""


def outside() -> dict[str, str]:
    """Return the variables that every process of a test may have."""
    environ = os.environ.items()
    return {k: v for k, v in environ if k in _OF_THE_MACHINE or not k.startswith(_OF_A_SHOP)}
