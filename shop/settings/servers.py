"""Where a server is and how to log in there, as its client takes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class PostgresSettings:
    """The address of PostgreSQL, and the login there."""

    host: str
    port: int
    db: str
    user: str
    password: str = field(repr=False)
    sslmode: str
    sslrootcert: str | None

    @property
    def where(self) -> str:
        """Return the address for messages, without credentials."""
        return f"PostgreSQL at {self.host}:{self.port}/{self.db}"

    def conninfo(self) -> dict[str, str | int]:
        """Return libpq connection parameters."""
        parameters: dict[str, str | int] = {
            "host": self.host,
            "port": self.port,
            "dbname": self.db,
            "user": self.user,
            "password": self.password,
            "sslmode": self.sslmode,
        }
        if self.sslrootcert:
            parameters["sslrootcert"] = self.sslrootcert
        return parameters


@dataclass(frozen=True)
class KafkaSettings:
    """Where Kafka is; `client` is handed to librdkafka unchanged."""

    bootstrap_servers: str
    client: Mapping[str, str] = field(repr=False)
    partitions: int
    replication: int | None
    """None means 3 where there are 3 brokers, else 1."""

    @property
    def where(self) -> str:
        """Return the address for messages."""
        return f"Kafka at {self.bootstrap_servers}"
