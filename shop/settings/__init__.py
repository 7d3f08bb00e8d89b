"""The environment as typed settings; see docs/configuration.md for the variables."""

from shop.settings.model import Settings, load
from shop.settings.servers import KafkaSettings, PostgresSettings
from shop.settings.variables import (
    EMBEDDED_PORTS,
    JAVA_HOME,
    KAFKA_HOME,
    LOGINS,
    MAVEN_REPOSITORY,
    embedded_ports,
)

__all__ = [
    "EMBEDDED_PORTS",
    "JAVA_HOME",
    "KAFKA_HOME",
    "LOGINS",
    "MAVEN_REPOSITORY",
    "KafkaSettings",
    "PostgresSettings",
    "Settings",
    "embedded_ports",
    "load",
]
