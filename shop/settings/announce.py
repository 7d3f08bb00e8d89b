"""Each process logs which servers it uses, and in production which connections have no TLS."""

from __future__ import annotations

import ipaddress
from typing import Final, Literal
from urllib.parse import parse_qs, unquote, urlsplit

from shop.log import get_logger
from shop.settings import KafkaSettings, PostgresSettings, Settings

Name = Literal["postgres", "kafka", "redis"]
_WEAK_SSLMODES: Final = ("disable", "allow", "prefer")
"""Modes in which libpq sends a password without TLS if the server, or an impostor, asks."""


def servers(settings: Settings, *names: Name) -> None:
    """Log the addresses of the named servers and the users that log in, without secrets.

    Args:
        settings: Redis is left out if it is not set: processes work without it.
        names: the servers that the process uses.

    Raises:
        UsageError: if the address of PostgreSQL or Kafka is missing.
    """
    fields: dict[str, str] = {}
    warnings: list[str] = []
    if "postgres" in names:
        fields["postgres"], weak = of_postgres(settings.postgres)
        warnings += weak
    if "kafka" in names:
        fields["kafka"], weak = of_kafka(settings.kafka)
        warnings += weak
    if "redis" in names and (url := settings.optional_redis_url):
        fields["redis"], weak = of_redis(url)
        warnings += weak
    get_logger().info("servers", db_type=settings.db_type, **fields)
    if settings.db_type == "production":
        for warning in warnings:
            get_logger().warning(warning)


def servers_in_production(settings: Settings, *names: Name) -> None:
    """Do the same in production alone, for a command that ends soon."""
    if settings.db_type == "production":
        servers(settings, *names)


def of_postgres(where: PostgresSettings) -> tuple[str, list[str]]:
    """Return PostgreSQL's address in one line, and the weaknesses of the connection.

    >>> weak = PostgresSettings("db", 5432, "shop", "me", "pw", "prefer", None)
    >>> of_postgres(weak)[0]
    'me@db:5432/shop sslmode=prefer'
    >>> len(of_postgres(weak)[1])
    1
    """
    address = f"{where.user}@{where.host}:{where.port}/{where.db} sslmode={where.sslmode}"
    hosts = where.host.split(",")
    if where.sslmode not in _WEAK_SSLMODES or all(_local(host) for host in hosts):
        return address, []
    weak = f"PostgreSQL at {where.host}: sslmode={where.sslmode} does not enforce TLS"
    return address, [f"{weak}; set POSTGRES_SSLMODE=verify-full and POSTGRES_SSLROOTCERT"]


def of_kafka(where: KafkaSettings) -> tuple[str, list[str]]:
    """Return Kafka's address in one line, and the weaknesses of the connection."""
    protocol = where.client.get("security.protocol", "plaintext").strip().lower()
    user = where.client.get("sasl.username", "")
    address = f"{user and user + '@'}{where.bootstrap_servers} protocol={protocol}"
    hosts = [b.strip().rpartition(":")[0] for b in where.bootstrap_servers.split(",")]
    if protocol.endswith("ssl") or all(_local(host) for host in hosts):
        return address, []
    weak = f"{where.where}: {protocol} sends everything without TLS"
    return address, [f"{weak}; set KAFKA_SECURITY_PROTOCOL=sasl_ssl (or ssl)"]


def of_redis(url: str) -> tuple[str, list[str]]:
    """Return Redis's address in one line, and the weaknesses of the connection.

    >>> of_redis("rediss://me:secret@r:6380/2")
    ('me@r:6380/2 tls=yes', [])
    >>> of_redis("redis://:secret@10.0.0.1/0")[0]
    '10.0.0.1/0 tls=no'
    """
    try:
        parts = urlsplit(url)
        query = parse_qs(parts.query)
    except ValueError:
        return "unreadable REDIS_URL", []
    if parts.scheme == "unix":
        return f"unix:{parts.path}", []
    tls = parts.scheme == "rediss"
    user = unquote(parts.username or "")
    host = parts.netloc.rpartition("@")[2]
    address = f"{user and user + '@'}{host}{parts.path} tls={'yes' if tls else 'no'}"
    if not tls and not _local(parts.hostname or ""):
        return address, [f"Redis at {host}: no TLS; use rediss:// in REDIS_URL"]
    if tls and query.get("ssl_cert_reqs", [""])[0].lower() in ("none", "optional"):
        return address, [f"Redis at {host}: its certificate is not checked (ssl_cert_reqs)"]
    return address, []


def _local(host: str) -> bool:
    """Return whether what is sent to a host stays on this machine.

    >>> [_local(h) for h in ("localhost", "127.0.0.9", "[::1]", "/run/pg", "db", "10.0.0.1")]
    [True, True, True, True, False, False]
    """
    bare = host.strip().strip("[]")
    if bare.startswith(("/", "@")) or bare.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(bare).is_loopback
    except ValueError:
        return False
