"""The environment as typed settings; with no server set, the running `jangteo up` is used.

The servers come from one source: from the environment, where it names any of them, else from the
stack file of a running `jangteo up`; never from both, which would feed one shop's events into the
database of another. In production they come from the environment alone. A password may be in a
file instead, named by the variable with `_FILE` appended (the convention of the official images).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, get_args

from shop import grading_policy
from shop.errors import UnreachableError, UsageError
from shop.settings import passwords, redis_url, variables
from shop.settings.servers import KafkaSettings, PostgresSettings
from shop.settings.stack_file import find_stack
from shop.settings.stack_servers import why_not, with_stack
from shop.settings.variable import Reader
from shop.settings.variables import VARIABLES

_ALL: Final = get_args(Reader)


@dataclass(frozen=True)
class ServersOrigin:
    """Why the servers do not come from a running stack.

    Attributes:
        why_not: why the one that was found is not used; empty if it is, or none was found.
        doubts: files that were found and not trusted, with the reason.
    """

    why_not: str = ""
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Settings:
    """The values of the environment. Durations are in seconds.

    A value is checked when it is read: a command fails because of the variables that it uses, not
    because of others. A process that reads some of them later calls `require` when it starts.

    Attributes:
        data_dir: where the embedded stack keeps its data.
        env: the variables, those of a running stack and of secret files included.
        source: why no running stack is used.
    """

    data_dir: Path
    env: Mapping[str, str] = field(repr=False)
    source: ServersOrigin = field(repr=False)

    db_type = variables.DB_TYPE
    cache_refresh_interval = variables.CACHE_REFRESH_INTERVAL
    cache_batch_size = variables.CACHE_BATCH_SIZE
    grade_interval = variables.GRADE_INTERVAL
    ingest_topics = variables.INGEST_TOPICS
    ingest_batch_size = variables.INGEST_BATCH_SIZE
    ingest_max_rejects = variables.INGEST_MAX_REJECTS
    ingest_stall_after = variables.INGEST_STALL_AFTER
    spend_window = variables.SPEND_WINDOW
    speed = variables.SHOP_SPEED
    seed = variables.SHOP_SEED
    arrivals = variables.SHOP_ARRIVALS
    metrics_host = variables.METRICS_HOST
    metrics_port = variables.METRICS_PORT
    log_level = variables.LOG_LEVEL
    log_format = variables.LOG_FORMAT
    notify = variables.CONSOLE_NOTIFY
    notify_command = variables.CONSOLE_NOTIFY_COMMAND
    notify_webhook = variables.CONSOLE_NOTIFY_WEBHOOK
    notify_on = variables.CONSOLE_NOTIFY_ON
    notify_after = variables.CONSOLE_NOTIFY_AFTER

    def require(self, *readers: Reader) -> None:
        """Check every variable that these kinds of process read; all variables without arguments.

        The servers are checked where they are used.

        Raises:
            UsageError: names the first wrong variable, its value and what is expected.
        """
        asked = set(readers or _ALL)
        for variable in VARIABLES:
            if variable.given(self.env) and (asked & set(variable.readers) or not variable.readers):
                variable.read(self.env)

    @property
    def lang(self) -> Literal["en", "ko"]:
        """The language of the console, by JANGTEO_LANG or else by the locale."""
        env = self.env
        if variables.JANGTEO_LANG.given(env):
            return variables.JANGTEO_LANG.read(env)
        locale = env.get("LC_ALL") or env.get("LC_MESSAGES") or env.get("LANG") or ""
        return "ko" if locale.lower().startswith("ko") else "en"

    @property
    def postgres(self) -> PostgresSettings:
        """PostgreSQL's settings.

        Raises:
            UsageError: if they are missing, or are defaults in production mode.
        """
        env = self.env
        self._require_server("POSTGRES_HOST", "PostgreSQL")
        settings = PostgresSettings(
            host=variables.POSTGRES_HOST.read(env),
            port=variables.POSTGRES_PORT.read(env),
            db=variables.POSTGRES_DB.read(env),
            user=variables.POSTGRES_USER.read(env),
            password=variables.POSTGRES_PASSWORD.read(env),
            sslmode=variables.POSTGRES_SSLMODE.read(env),
            sslrootcert=variables.POSTGRES_SSLROOTCERT.read(env) or None,
        )
        self._refuse_default("POSTGRES_PASSWORD", settings.password, settings.user)
        return settings

    @property
    def login_passwords(self) -> dict[str, str]:
        """The password of each kind of process, for the command that creates their logins.

        Raises:
            UsageError: names all that are defaults in production mode.
        """
        found = variables.login_passwords(self.env)
        wrong = []
        for kind, password in found.items():
            try:
                self._refuse_default(variables.LOGINS[kind], password, f"shop_{kind}")
            except UsageError as e:
                wrong.append(str(e))
        if wrong:
            raise UsageError("; ".join(wrong))
        return found

    @property
    def kafka(self) -> KafkaSettings:
        """Kafka's settings.

        Raises:
            UsageError: if they are missing, or the password is a default in production mode.
        """
        env = self.env
        self._require_server("KAFKA_BOOTSTRAP_SERVERS", "Kafka")
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
            bootstrap_servers=variables.KAFKA_BOOTSTRAP_SERVERS.read(env),
            client=client,
            partitions=variables.KAFKA_PARTITIONS.read(env),
            replication=variables.KAFKA_REPLICATION.read(env) or None,
        )

    @property
    def redis_url(self) -> str:
        """Redis's URL.

        Raises:
            UsageError: if it is missing or cannot be used; see `shop.settings.redis_url`.
        """
        self._require_server("REDIS_URL", "Redis")
        url = redis_url.check(variables.REDIS_URL.read(self.env))
        if (credentials := passwords.of_redis(url)) is not None:
            self._refuse_default("REDIS_URL", *credentials, what="password in REDIS_URL")
        return url

    @property
    def optional_redis_url(self) -> str | None:
        """Redis's URL, or None where no Redis is set.

        Raises:
            UsageError: if REDIS_URL is set and cannot be used.
        """
        return self.redis_url if self.env.get("REDIS_URL") else None

    @property
    def grade_policy(self) -> grading_policy.GradePolicy:
        """The grades, and the months whose spend counts.

        Raises:
            UsageError: if the file that GRADE_POLICY names is missing or not valid.
        """
        return grading_policy.load(variables.GRADE_POLICY.read(self.env))

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
        permitted = variables.ALLOW_INVENTED_DATA.read(self.env) == "yes"
        if self.db_type == "production" and not (allowed or permitted):
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

    def _require_server(self, name: str, server: str) -> None:
        production = self.db_type == "production"  # checks it, for every server
        if self.env.get(name):
            return
        if production:
            raise UsageError(
                f"no {server}: DB_TYPE=production takes servers from the environment alone, and "
                f"{name} is not set"
            )
        if self.source.why_not:  # a setting is wrong, where below a shop is not running
            raise UsageError(f"no {server}: {name} is not set, and {self.source.why_not}")
        doubts = "".join(f" (not trusted: {doubt})" for doubt in self.source.doubts[:2])
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
    """Find the settings; values are checked when they are read.

    Args:
        environ: variables; `os.environ` by default.
        data_dir: where the embedded stack keeps its data (default JANGTEO_DATA_DIR, `.jangteo`).
        use_stack: add the servers of a running `jangteo up`.

    Raises:
        UsageError: if a file that a `_FILE` variable names cannot be read.
    """
    environ = os.environ if environ is None else environ
    named = data_dir or (Path(d) if (d := environ.get("JANGTEO_DATA_DIR")) else None)
    doubts: list[str] = []
    stack = find_stack(named, doubts) if use_stack else None
    env = dict(environ)
    for variable in VARIABLES:
        if variable.secret and (path := env.get(f"{variable.name}_FILE")):
            env[variable.name] = passwords.from_file(f"{variable.name}_FILE", path)
    refused = why_not(env, stack) if stack else ""
    if stack and not refused:
        env = with_stack(env, stack.env)
    else:
        stack = None
    return Settings(
        data_dir=(
            stack.data_dir if stack else named or Path(variables.JANGTEO_DATA_DIR.default)
        ).absolute(),
        env=env,
        source=ServersOrigin(refused, tuple(doubts)),
    )
