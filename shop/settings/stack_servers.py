"""Whether the servers of a running `jangteo up` are those that a command is to use.

All of them or none: with PostgreSQL named by the environment and Kafka taken from a development
shop's stack file, the events of that shop would be stored in the database of another, and with a
password from the environment and a host from the stack file, a server would get a password that is
not its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from shop.settings.stack_file import RunningStack
from shop.settings.variables import POSTGRES_DB, POSTGRES_PORT

ADDRESSES: Final = {
    "KAFKA_": "KAFKA_BOOTSTRAP_SERVERS",
    "POSTGRES_": "POSTGRES_HOST",
    "REDIS_": "REDIS_URL",
}
"""Each server's variables begin so; the one named says where it is."""
SERVER_PREFIXES: Final = tuple(ADDRESSES)
_IDENTITY: Final = (
    *("POSTGRES_PORT", "POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_SSL"),
    *("KAFKA_SECURITY_PROTOCOL", "KAFKA_SASL_", "KAFKA_SSL_"),
)
"""Beginnings of the variables that mean nothing without the address of their server."""


def why_not(environ: Mapping[str, str], stack: RunningStack) -> str:
    """Return why the servers of a running stack may not be used; empty if they may.

    Args:
        environ: variables, passwords of files among them.
        stack: it runs.
    """
    where = f"the running stack at {stack.data_dir} is not used"
    if any(env.get("DB_TYPE", "").strip().lower() == "production" for env in (environ, stack.env)):
        return f"{where} in production"
    named = [a for a in ADDRESSES.values() if environ.get(a)]
    differ = [a for a in named if _place(environ, a) != _place(stack.env, a)]
    if differ:
        # Half of one shop and half of another: events of this one in the database of that one.
        return f"{where} next to {' and '.join(differ)} of another shop: set all, or none"
    for prefix, address in ADDRESSES.items():
        # A password meant for another server, which the environment forgot to name.
        stray = sorted(
            name
            for name, value in environ.items()
            if name.startswith(prefix) and value and not environ.get(address)
            if name.startswith(_IDENTITY) and not name.endswith("_FILE")
            if value != stack.env.get(name)
        )
        if stray:
            return f"{where} because {stray[0]} is set without {address}: set both, or neither"
    return ""


def _place(env: Mapping[str, str], address: str) -> tuple[str, ...]:
    """Return where a server is, its database included; the defaults are those of `postgres`."""
    if address != "POSTGRES_HOST":
        return (env.get(address, ""),)
    port = env.get("POSTGRES_PORT") or POSTGRES_PORT.default
    db = env.get("POSTGRES_DB") or POSTGRES_DB.default
    return env.get(address, ""), port.strip(), db


def with_stack(environ: Mapping[str, str], stack: Mapping[str, str]) -> dict[str, str]:
    """Add the stack's variables of the servers that the environment does not name, and the rest.

    Single variables of the environment, such as another POSTGRES_DB, still win.
    """
    merged = dict(environ)
    for prefix, address in ADDRESSES.items():
        if not environ.get(address):
            merged.update(
                {n: v for n, v in stack.items() if n.startswith(prefix) and not environ.get(n)}
            )
    for name, value in stack.items():
        if not name.startswith(SERVER_PREFIXES):
            merged.setdefault(name, value)
    return merged
