"""The environment as typed settings; with none set, the running `jangteo up` is found.

Every variable is documented in `deploy/.env.example`. The servers come from one source: from the
environment, where it names any of them, else from the stack file of a running `jangteo up`; never
from both, which would feed one shop's events into the database of another. In production they
come from the environment alone. A password may be in a file instead, named by the variable with
`_FILE` appended (the convention of the official images).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeVar, cast

from shop import grading_policy
from shop.errors import UnreachableError, UsageError
from shop.events import TOPICS
from shop.settings import passwords, redis_url
from shop.settings.stack_file import find_stack
from shop.settings.stack_servers import why_not, with_stack

DbType = Literal["local", "production"]

EMBEDDED_PORTS: Final = {
    "kafka": "JANGTEO_KAFKA_PORT",
    "postgres": "JANGTEO_POSTGRES_PORT",
    "redis": "JANGTEO_REDIS_PORT",
}
"""Who says the port of each embedded server."""
KAFKA_HOME: Final = "JANGTEO_KAFKA_HOME"
"""Names a directory whose `libs/` holds Kafka's jars; an unpacked Apache Kafka is one too."""
JAVA_HOME: Final = "JANGTEO_JAVA_HOME"
"""Names a Java runtime."""
MAVEN_REPOSITORY: Final = "JANGTEO_MAVEN_REPOSITORY"
"""Names the URL of a mirror of Maven Central."""
LOGINS: Final = {
    "ingest": "POSTGRES_INGEST_PASSWORD",
    "generator": "POSTGRES_GENERATOR_PASSWORD",
    "grader": "POSTGRES_GRADER_PASSWORD",
    "console": "POSTGRES_CONSOLE_PASSWORD",
}
"""The kinds of process that log in to PostgreSQL, and who says the password of each one's login."""
_SECRETS: Final = ("POSTGRES_PASSWORD", *LOGINS.values(), "KAFKA_SASL_PASSWORD", "REDIS_URL")
_YEAR_S: Final = 366 * 86_400  # longer is a slip of the keyboard; waiting for ever is a crash

Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class ServersOrigin:
    """Why the servers do not come from a running stack.

    Attributes:
        why_not: why the one that was found is not used; empty if it is, or none was found.
        doubts: files that were found and not believed, with the reason.
    """

    why_not: str = ""
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class PostgresSettings:
    """Where PostgreSQL is and who we are there."""

    host: str
    port: int
    db: str
    user: str
    password: str = field(repr=False)
    sslmode: str
    sslrootcert: str | None

    @property
    def where(self) -> str:
        """Address for messages, without credentials."""
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
    """Where Kafka is; `client` is handed to librdkafka as it is."""

    bootstrap_servers: str
    client: Mapping[str, str] = field(repr=False)
    partitions: int
    replication: int | None
    """None: 3 where there are 3 brokers, else 1."""

    @property
    def where(self) -> str:
        """Address for messages."""
        return f"Kafka at {self.bootstrap_servers}"


@dataclass(frozen=True)
class Settings:
    """Everything that the environment may say. Durations are in seconds."""

    data_dir: Path
    env: Mapping[str, str] = field(repr=False)
    source: ServersOrigin = field(repr=False)
    """Why no running stack is used."""
    db_type: DbType
    allow_invented_data: bool
    """Whether made-up customers and orders may be written and published in production."""
    cache_refresh_interval: float
    cache_batch_size: int
    grade_interval: float
    ingest_topics: tuple[str, ...]
    ingest_batch_size: int
    """Messages that one batch takes at most."""
    ingest_max_rejects: int
    """Rejected messages that the table may hold before the ingest stops loudly; 0: no limit."""
    ingest_stall_after: float
    """For how long a partition with messages may not advance before health turns red."""
    spend_window: int
    speed: float
    seed: int
    arrivals: Literal["seed", "poisson"]
    """The law of arrivals: even gaps all day, or a Poisson process with the shop's hours."""
    lang: Literal["en", "ko"]
    metrics_host: str
    metrics_port: int
    """Of the process's own HTTP endpoint; 0: any free port."""
    log_level: str
    log_format: Literal["logfmt", "json"]

    @property
    def postgres(self) -> PostgresSettings:
        """PostgreSQL's settings.

        Raises:
            UsageError: if they are missing, or are defaults in production mode.
        """
        env = self.env
        self._require("POSTGRES_HOST", "PostgreSQL")
        settings = PostgresSettings(
            host=env["POSTGRES_HOST"],
            port=_number(env, "POSTGRES_PORT", 5432, int, low=1, high=65_535),
            db=env.get("POSTGRES_DB", "sesac_db"),
            user=env.get("POSTGRES_USER", "postgres"),
            password=env.get("POSTGRES_PASSWORD", "password"),
            sslmode=_choice(
                env,
                "POSTGRES_SSLMODE",
                "prefer",
                ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
            ),
            sslrootcert=env.get("POSTGRES_SSLROOTCERT"),
        )
        self._refuse_default("POSTGRES_PASSWORD", settings.password, settings.user)
        return settings

    @property
    def login_passwords(self) -> dict[str, str]:
        """The password of each kind of process, for whoever makes their logins.

        Raises:
            UsageError: if one is a default in production mode.
        """
        found = {kind: self.env.get(name) or "password" for kind, name in LOGINS.items()}
        for kind, password in found.items():
            self._refuse_default(LOGINS[kind], password, f"shop_{kind}")
        return found

    @property
    def kafka(self) -> KafkaSettings:
        """Kafka's settings.

        Raises:
            UsageError: if they are missing.
        """
        env = self.env
        self._require("KAFKA_BOOTSTRAP_SERVERS", "Kafka")
        client = {
            name.removeprefix("KAFKA_").lower().replace("_", "."): value
            for name, value in env.items()
            if name == "KAFKA_SECURITY_PROTOCOL" or name.startswith(("KAFKA_SASL_", "KAFKA_SSL_"))
            if not name.endswith("_FILE")
        }
        if passwords.kafka_needs_one(client):
            self._refuse_default(
                "KAFKA_SASL_PASSWORD",
                client.get("sasl.password", ""),
                client.get("sasl.username", ""),
            )
        return KafkaSettings(
            bootstrap_servers=env["KAFKA_BOOTSTRAP_SERVERS"],
            client=client,
            partitions=_number(env, "KAFKA_PARTITIONS", 12, int, low=1, high=10_000),
            replication=_number(env, "KAFKA_REPLICATION", 0, int, low=0, high=10) or None,
        )

    @property
    def redis_url(self) -> str:
        """Redis's URL.

        Raises:
            UsageError: if it is missing or cannot be used; see `shop.settings.redis_url`.
        """
        self._require("REDIS_URL", "Redis")
        url = redis_url.check(self.env["REDIS_URL"])
        if (credentials := passwords.of_redis(url)) is not None:
            self._refuse_default("REDIS_URL", *credentials, what="password in REDIS_URL")
        return url

    @property
    def grade_policy(self) -> grading_policy.GradePolicy:
        """The grades, and the months whose spend counts.

        Raises:
            UsageError: if the file that GRADE_POLICY names is none or cannot be meant.
        """
        return grading_policy.load(self.env.get("GRADE_POLICY", "").strip())

    def refuse_in_production(self, what: str, flag: str, *, allowed: bool) -> None:
        """Refuse a destructive command in production mode unless its flag was given.

        Raises:
            UsageError: names the flag.
        """
        if self.db_type == "production" and not allowed:
            raise UsageError(f"DB_TYPE=production refuses to {what}; add {flag} if you mean it")

    def refuse_invented(self, what: str, *, allowed: bool) -> None:
        """Refuse to make up data in production mode unless the flag or the variable allows it.

        Args:
            what: completes "refuses to".
            allowed: whether --yes-production was given.

        Raises:
            UsageError: names flag and variable.
        """
        if self.db_type == "production" and not (allowed or self.allow_invented_data):
            raise UsageError(
                f"DB_TYPE=production refuses to {what}; add --yes-production, or set "
                "ALLOW_INVENTED_DATA=yes, if you mean it"
            )

    def _refuse_default(self, name: str, password: str, user: str, *, what: str = "") -> None:
        if self.db_type == "production" and passwords.is_default(password, user):
            raise UsageError(
                f"DB_TYPE=production refuses a missing or default {what or name}: "
                f"set {name}, or {name}_FILE to a file that holds it"
            )

    def _require(self, name: str, server: str) -> None:
        if self.env.get(name):
            return
        if self.db_type == "production":
            raise UsageError(
                f"no {server}: DB_TYPE=production takes servers from the environment alone, and "
                f"{name} is not set"
            )
        if self.source.why_not:  # a setting is wrong, where below a shop is not running
            raise UsageError(f"no {server}: {name} is not set, and {self.source.why_not}")
        doubts = "".join(f" (not believed: {doubt})" for doubt in self.source.doubts[:2])
        raise UnreachableError(
            f"no {server}: {name} is not set and no running stack was found at "
            f"{self.data_dir} or above{doubts}; start one with `jangteo up`, or set {name}"
        )


def load(
    environ: Mapping[str, str] | None = None,
    *,
    data_dir: Path | None = None,
    use_stack: bool = True,
) -> Settings:
    """Read the settings.

    Args:
        environ: variables; `os.environ` by default.
        data_dir: where the embedded stack keeps its data (default JANGTEO_DATA_DIR, `.jangteo`).
        use_stack: fill in the servers of a running `jangteo up`.

    Raises:
        UsageError: names the variable, its value and what is expected.
    """
    environ = os.environ if environ is None else environ
    named = data_dir or (Path(d) if (d := environ.get("JANGTEO_DATA_DIR")) else None)
    doubts: list[str] = []
    stack = find_stack(named, doubts) if use_stack else None
    env = _with_files(dict(environ))
    refused = why_not(env, stack) if stack else ""
    if stack and not refused:
        env = with_stack(env, stack.env)
    else:
        stack = None
    return Settings(
        data_dir=(stack.data_dir if stack else named or Path(".jangteo")).absolute(),
        env=env,
        source=ServersOrigin(refused, tuple(doubts)),
        db_type=cast("DbType", _choice(env, "DB_TYPE", "local", ("local", "production"))),
        allow_invented_data=_choice(env, "ALLOW_INVENTED_DATA", "no", ("no", "yes")) == "yes",
        cache_refresh_interval=_number(
            env, "CACHE_REFRESH_INTERVAL", 50.0, float, low=0.1, high=_YEAR_S
        ),
        cache_batch_size=_number(env, "CACHE_BATCH_SIZE", 1000, int, low=10, high=1_000_000),
        grade_interval=_number(env, "GRADE_INTERVAL", 600.0, float, low=0.1, high=_YEAR_S),
        ingest_topics=_topics(env.get("INGEST_TOPICS", "")),
        ingest_batch_size=_number(env, "INGEST_BATCH_SIZE", 50_000, int, low=1, high=1_000_000),
        ingest_max_rejects=_number(env, "INGEST_MAX_REJECTS", 100_000, int, low=0),
        ingest_stall_after=_number(env, "INGEST_STALL_AFTER", 60.0, float, low=1, high=_YEAR_S),
        spend_window=_seconds(env, "SPEND_WINDOW", "5m"),
        speed=_number(env, "SHOP_SPEED", 1.0, float, low=0.001, high=100_000),
        seed=_number(env, "SHOP_SEED", 1, int, low=0, high=2**63 - 1),
        arrivals=cast(
            "Literal['seed', 'poisson']",
            _choice(env, "SHOP_ARRIVALS", "seed", ("seed", "poisson")),
        ),
        lang=cast("Literal['en', 'ko']", _lang(env)),
        metrics_host=env.get("METRICS_HOST", "").strip() or "127.0.0.1",
        metrics_port=_number(env, "METRICS_PORT", 0, int, low=0, high=65_535),
        log_level=_choice(env, "LOG_LEVEL", "info", ("debug", "info", "warning", "error")),
        log_format=cast(
            "Literal['logfmt', 'json']", _choice(env, "LOG_FORMAT", "logfmt", ("logfmt", "json"))
        ),
    )


def asked_ports(environ: Mapping[str, str]) -> dict[str, int]:
    """Return the ports that the embedded servers are to have, by name; 0: any free one.

    Raises:
        UsageError: if a port is not a number from 0 to 65535, or two servers have the same.
    """
    asked = {
        name: _number(environ, variable, 0, int, low=0, high=65_535)
        for name, variable in EMBEDDED_PORTS.items()
        if environ.get(variable, "").strip()
    }
    given = [port for port in asked.values() if port]
    if len(given) > len(set(given)):
        raise UsageError(f"two embedded servers cannot have the same port: {asked}")
    return asked


def _with_files(env: dict[str, str]) -> dict[str, str]:
    for name in _SECRETS:
        if path := env.get(f"{name}_FILE"):
            env[name] = passwords.from_file(f"{name}_FILE", path)
    return env


def _number(
    env: Mapping[str, str],
    name: str,
    default: Number,
    kind: type[Number],
    *,
    low: float,
    high: float = float("inf"),
) -> Number:
    text = env.get(name, "").strip()
    if not text:
        return default
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not low <= value <= high:
        what = "a whole number" if kind is int else "a number"
        bounds = f"from {low:g} to {high:g}" if high != float("inf") else f"of at least {low:g}"
        raise UsageError(f"{name}={text!r}: expected {what} {bounds}")
    return value


def _choice(env: Mapping[str, str], name: str, default: str, choices: tuple[str, ...]) -> str:
    value = env.get(name, "").strip().lower() or default
    if value not in choices:
        raise UsageError(f"{name}={env[name]!r}: expected one of {', '.join(choices)}")
    return value


def _topics(text: str) -> tuple[str, ...]:
    wanted = tuple(dict.fromkeys(t.strip() for t in text.split(",") if t.strip()))
    for topic in wanted:
        if topic not in TOPICS:
            raise UsageError(f"INGEST_TOPICS: no topic {topic!r}; known: {', '.join(TOPICS)}")
    return wanted or tuple(TOPICS)


def _seconds(env: Mapping[str, str], name: str, default: str) -> int:
    """Read a duration as whole seconds: 300, 300s, 5m or 1h; it must divide a day.

    >>> _seconds({"W": "5m"}, "W", "1h"), _seconds({}, "W", "1h")
    (300, 3600)
    """
    text = env.get(name, "").strip() or default
    match = re.fullmatch(r"(\d{1,6})\s*([smh]?)", text)
    seconds = int(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]] if match else 0
    if not seconds or 86_400 % seconds:
        raise UsageError(f"{name}={text!r}: expected a length that divides a day, e.g. 5m or 1h")
    return seconds


def _lang(env: Mapping[str, str]) -> str:
    if env.get("JANGTEO_LANG"):
        return _choice(env, "JANGTEO_LANG", "en", ("en", "ko"))
    locale = env.get("LC_ALL") or env.get("LC_MESSAGES") or env.get("LANG") or ""
    return "ko" if locale.lower().startswith("ko") else "en"
