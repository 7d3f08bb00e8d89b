"""Passwords: read from files, and the ones that production refuses."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from shop.errors import UsageError

_DEFAULTS: Final = frozenset(
    {
        *("", "password", "passwd", "pass", "secret", "changeme", "changeit", "default", "guest"),
        *("admin", "administrator", "root", "user", "test", "example", "none", "null"),
        *("postgres", "postgresql", "redis", "kafka", "jangteo", "sesac", "1234", "12345"),
        *("123456", "12345678", "123456789", "admin123", "password1", "password123", "qwerty"),
    }
)
"""Defaults of images, of guides, of this project, and the most frequent published passwords."""
_QUOTES: Final = frozenset("\"'`\u2018\u2019\u201c\u201d\u300c\u300d\u00ab\u00bb")
_WITHOUT: Final = ("GSSAPI", "OAUTHBEARER")
"""SASL mechanisms that need no password."""
_MAX_BYTES: Final = 64 << 10


def is_default(password: str, user: str = "") -> bool:
    r"""Return whether a password is missing, a usual default, or the user's name.

    Case, spaces, quotes and invisible characters around or inside it do not make it another one.

    >>> [is_default(p) for p in ("", " ", "Password ", "'postgres'", "pass\u200bword", "\t")]
    [True, True, True, True, True, True]
    >>> is_default("Tr0ub4dor"), is_default("shop_Ingest", "shop_ingest")
    (False, True)
    """
    plain = _plain(password)
    return plain in _DEFAULTS or plain == _plain(user)


def _plain(text: str) -> str:
    kept = (
        c
        for c in unicodedata.normalize("NFKC", text)
        if c not in _QUOTES and not c.isspace() and unicodedata.category(c)[0] != "C"
    )
    return "".join(kept).casefold()


def kafka_needs_one(client: Mapping[str, str]) -> bool:
    """Return whether a Kafka client with these properties of librdkafka logs in with a password.

    >>> kafka_needs_one({"security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512"})
    True
    >>> kafka_needs_one({"security.protocol": "ssl"}), kafka_needs_one({})
    (False, False)
    """
    mechanism = client.get("sasl.mechanism") or client.get("sasl.mechanisms", "")
    sasl = client.get("security.protocol", "").strip().lower().startswith("sasl")
    return (sasl or "sasl.username" in client) and mechanism.strip().upper() not in _WITHOUT


def of_redis(url: str) -> tuple[str, str] | None:
    """Return (password, user) of a Redis URL; None where a certificate or a socket stands for it.

    >>> of_redis("redis://:p%20w@h:1/0"), of_redis("redis://h"), of_redis("unix:///run/redis")
    (('p w', ''), ('', ''), None)
    """
    try:
        parts = urlsplit(url)
        query = parse_qs(parts.query)
    except ValueError:  # reported when a client connects
        return None
    password = unquote(parts.password or "") or "".join(query.get("password", [])[:1])
    if not password and (parts.scheme == "unix" or "ssl_certfile" in query):
        return None
    return password, unquote(parts.username or "")


def from_file(name: str, path: str) -> str:
    """Return the password that a file holds, without the newline at its end.

    Args:
        name: of the variable, for messages.
        path: its value.

    Raises:
        UsageError: if the file cannot be read, or cannot hold a password.
    """
    try:
        with Path(path).open("rb") as file:  # a pipe is fine: <(pass show shop)
            data = file.read(_MAX_BYTES + 1)
        text = data.decode()
    except OSError as e:
        raise UsageError(f"{name}: cannot read {path}: {e.strerror}") from None
    except ValueError:
        raise UsageError(f"{name}: {path} is not UTF-8 text") from None
    text = text.rstrip("\r\n")
    if len(data) > _MAX_BYTES or "\0" in text or not text:
        what = "is empty" if not text else "is not a password"
        raise UsageError(f"{name}: {path} {what}")
    return text
