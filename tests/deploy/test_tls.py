"""TLS to PostgreSQL and Redis, with throw-away certificates.

The embedded servers are built without TLS, so these are the system's; skipped where there are none.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from jangteo.cli import health, init
from jangteo.stack import embedded, run_as
from jangteo.stack.ports import HOST, free_port
from shop import postgres
from shop import settings as shop_settings
from shop.errors import UnreachableError
from shop.redis import cache
from shop.settings import PostgresSettings
from tests.support.certificates import Certificates, make
from tests.support.waiting import wait_until

SYSTEM = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
PASSWORD = "only-for-this-test"


class SystemPostgres(embedded.EmbeddedPostgres):
    """Debian's newest PostgreSQL, which refuses connections without TLS."""

    bin = SYSTEM[-1] if SYSTEM else Path()

    def __init__(self, data_dir: Path, files: Certificates) -> None:
        super().__init__(data_dir, durable=False)
        self._files = files

    @property
    def env(self) -> dict[str, str]:
        return {**super().env, "POSTGRES_SSLMODE": "require"}

    def _wal_compression(self) -> str:
        return "pglz"

    def _prepare(self) -> None:
        super()._prepare()
        for file in (self._files.certificate, self._files.key):
            copied = Path(shutil.copy(file, self.home / file.name))
            run_as.give(copied, self.identity)
        rules = self.cluster / "pg_hba.conf"
        rules.write_text("hostssl all all all scram-sha-256\n", encoding="utf-8")

    def _argv(self, port: int) -> list[str]:
        given = {
            "ssl": "on",
            "ssl_cert_file": self.home / self._files.certificate.name,
            "ssl_key_file": self.home / self._files.key.name,
        }
        return super()._argv(port) + [w for n, v in given.items() for w in ("-c", f"{n}={v}")]


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make(tmp_path_factory.mktemp("tls") / "ours")


@pytest.fixture(scope="module")
def another(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Certificates of an authority that signed none of our servers' certificates."""
    return make(tmp_path_factory.mktemp("tls") / "another")


@pytest.fixture(scope="module")
def server(
    ours: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SystemPostgres]:
    if not SYSTEM:
        pytest.skip("no PostgreSQL with TLS in /usr/lib/postgresql")
    made = SystemPostgres(tmp_path_factory.mktemp("postgres"), ours)
    try:
        made.start()
        yield made
    finally:
        made.stop()


def where(server: SystemPostgres, **more: str) -> PostgresSettings:
    return shop_settings.load({**server.env, **more}, use_stack=False).postgres


def test_postgres_is_verified_in_full(server: SystemPostgres, ours: Certificates) -> None:
    verified = where(
        server,
        POSTGRES_HOST="localhost",
        POSTGRES_SSLMODE="verify-full",
        POSTGRES_SSLROOTCERT=str(ours.authority),
    )
    assert "applied" in init.init_schema(verified)
    with postgres.connect(verified, "test") as conn:
        row = conn.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()
        assert row == (True,)


def test_another_authority_and_no_tls_are_refused(
    server: SystemPostgres, another: Certificates
) -> None:
    root = str(another.authority)
    wrong = where(server, POSTGRES_SSLMODE="verify-full", POSTGRES_SSLROOTCERT=root)
    with pytest.raises(UnreachableError, match="certificate verify failed"):
        init.init_schema(wrong)
    with pytest.raises(UnreachableError, match=r"no pg_hba\.conf entry"):
        init.init_schema(where(server, POSTGRES_SSLMODE="disable"))


def test_another_name_than_the_certificates_is_refused(
    server: SystemPostgres, ours: Certificates
) -> None:
    root = str(ours.authority)
    elsewhere = where(
        server, POSTGRES_HOST="127.0.0.2", POSTGRES_SSLMODE="verify-full", POSTGRES_SSLROOTCERT=root
    )
    given = {**elsewhere.conninfo(), "hostaddr": HOST}
    with pytest.raises(psycopg.OperationalError, match="does not match"):
        psycopg.connect(**given)  # type: ignore[arg-type]  # a dict of several types


@pytest.fixture(scope="module")
def redis_url(ours: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis that accepts only TLS."""
    program = shutil.which("redis-server", path="/usr/bin:/usr/local/bin")
    if not program:
        pytest.skip("no redis-server with TLS in /usr/bin")
    port = free_port()
    argv = [
        program, "--port", "0", "--tls-port", str(port), "--bind", HOST, "--save", "",
        "--requirepass", PASSWORD, "--tls-auth-clients", "no",
        "--tls-cert-file", str(ours.certificate), "--tls-key-file", str(ours.key),
        "--tls-ca-cert-file", str(ours.authority),
    ]  # fmt: skip
    log = tmp_path_factory.mktemp("redis") / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(argv, stdout=out, stderr=subprocess.STDOUT)
    try:
        url = f"rediss://:{PASSWORD}@localhost:{port}/0"
        wait_for_redis(f"{url}?ssl_ca_certs={ours.authority}", process, log)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def wait_for_redis(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    def answers() -> bool:
        assert process.poll() is None, log.read_text(errors="replace")[-2000:]
        with contextlib.suppress(redis.RedisError), cache.client(url) as client:
            return bool(client.ping())
        return False

    wait_until(answers, lambda: log.read_text(errors="replace")[-2000:])


def test_redis_is_verified(redis_url: str, ours: Certificates, another: Certificates) -> None:
    url = f"{redis_url}?ssl_ca_certs={ours.authority}"
    assert health.check(["nobody"], {"REDIS_URL": url}) == "no heartbeat of nobody"
    text = health.check(["nobody"], {"REDIS_URL": f"{redis_url}?ssl_ca_certs={another.authority}"})
    assert "certificate verify failed" in text
    assert PASSWORD not in text


def test_redis_without_tls_is_refused(redis_url: str) -> None:
    text = health.check(["nobody"], {"REDIS_URL": redis_url.replace("rediss:", "redis:")})
    assert text.startswith("Redis does not answer")
