"""REDIS_URL: read before any client sees it, so that a wrong one is one line and exit code 2.

Messages never show a part of the URL: a password with an unescaped `#`, `/`, `?` or `[` ends up in
its port, path, query or fragment.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from shop.errors import UsageError

_FORM: Final = "redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]"
_ENCODE: Final = (
    "in a user name or password, write # as %23, / as %2F, ? as %3F, [ as %5B, ] as %5D, % as %25"
)


def _number(text: str) -> bool:
    return bool(re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text)) and float(text) > 0


def _whole(text: str) -> bool:
    return bool(re.fullmatch(r"[0-9]{1,9}", text))


def _switch(text: str) -> bool:
    return text.lower() in {"0", "1", "true", "false", "yes", "no", "t", "f", "y", "n"}


def _file(text: str) -> bool:
    try:
        with Path(text).open("rb"):
            return True
    except (OSError, ValueError):
        return False


def _any(text: str) -> bool:
    return bool(text)


_OPTIONS: Final[Mapping[str, tuple[Callable[[str], bool], str]]] = {
    "db": (_whole, "a whole number"),
    "username": (_any, "a name"),
    "password": (_any, "a password"),
    "protocol": (lambda t: t in {"2", "3"}, "2 or 3"),
    "socket_timeout": (_number, "a number of seconds above 0"),
    "socket_connect_timeout": (_number, "a number of seconds above 0"),
    "socket_keepalive": (_switch, "true or false"),
    "retry_on_timeout": (_switch, "true or false"),
    "health_check_interval": (_whole, "a whole number of seconds"),
    "max_connections": (lambda t: _whole(t) and int(t) > 0, "a whole number above 0"),
}
_TLS_OPTIONS: Final[Mapping[str, tuple[Callable[[str], bool], str]]] = {
    "ssl_cert_reqs": (lambda t: t in {"none", "optional", "required"}, "none, optional, required"),
    "ssl_check_hostname": (_switch, "true or false"),
    "ssl_ca_certs": (_file, "a file that can be read"),
    "ssl_ca_path": (lambda t: Path(t).is_dir(), "a folder"),
    "ssl_certfile": (_file, "a file that can be read"),
    "ssl_keyfile": (_file, "a file that can be read"),
    "ssl_password": (_any, "a password"),
}


def check(url: str) -> str:
    """Return the URL if a client can use it.

    Raises:
        UsageError: what is wrong, without any part of the URL that may be a secret.

    >>> check("redis://:p%23w@127.0.0.1:6379/0?socket_timeout=2")
    'redis://:p%23w@127.0.0.1:6379/0?socket_timeout=2'
    """
    scheme = re.match(r"(rediss?|unix)://", url)
    if not scheme:
        raise UsageError("REDIS_URL must begin with redis://, rediss:// or unix://")
    if re.search(r"[\x00-\x20\x7f]", url):
        raise UsageError("REDIS_URL holds a space or a control character; write it as %20 etc.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise UsageError(f"REDIS_URL cannot be read as {_FORM}; {_ENCODE}") from None
    behind = url[len(scheme[0]) + len(parts.netloc) :]
    if parts.fragment or "#" in url or "@" in behind:
        raise UsageError(f"REDIS_URL cannot be read as {_FORM}; {_ENCODE}")
    if port == 0:
        raise UsageError("REDIS_URL: the port must be from 1 to 65535")
    if scheme[1] == "unix":
        if not parts.path.strip("/"):
            raise UsageError("REDIS_URL: expected unix:///PATH/OF/THE/SOCKET[?db=DATABASE]")
    elif not re.fullmatch(r"/?|/[0-9]{1,9}/?", parts.path):
        raise UsageError("REDIS_URL: what follows the port must be /DATABASE, a whole number")
    known = dict(_OPTIONS)
    if scheme[1] == "rediss":
        known |= _TLS_OPTIONS
    elif scheme[1] == "unix":
        del known["socket_keepalive"]  # of TCP
    _check_options(parts.query, known)
    return url


def _check_options(query: str, known: Mapping[str, tuple[Callable[[str], bool], str]]) -> None:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise UsageError(f"REDIS_URL: expected NAME=VALUE behind the ?; {_ENCODE}") from None
    for name, value in pairs:
        if name not in known:
            more = " (ssl_* goes with rediss://)" if name in _TLS_OPTIONS else ""
            raise UsageError(
                f"REDIS_URL has an unknown option{more}; known: {', '.join(sorted(known))}"
            )
        fits, expected = known[name]
        if not fits(value):
            raise UsageError(f"REDIS_URL: {name} must be {expected}")
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise UsageError("REDIS_URL has an option twice")
