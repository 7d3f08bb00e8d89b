"""PostgreSQL: connections, numbered migrations, COPY."""

from shop.postgres.connections import CONNECT_TIMEOUT_S, Connection, Cursor, connect, connection
from shop.postgres.schema import (
    BACKFILL_LOCK,
    SHOP_TABLES,
    grant_roles,
    make_logins,
    migrate,
    migrations,
    schema_version,
    truncate_simulation,
)
from shop.postgres.text_copy import CopyData, copy_data, copy_frame, copy_into

__all__ = [
    "BACKFILL_LOCK",
    "CONNECT_TIMEOUT_S",
    "SHOP_TABLES",
    "Connection",
    "CopyData",
    "Cursor",
    "connect",
    "connection",
    "copy_data",
    "copy_frame",
    "copy_into",
    "grant_roles",
    "make_logins",
    "migrate",
    "migrations",
    "schema_version",
    "truncate_simulation",
]
