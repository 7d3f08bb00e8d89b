"""SASL over TLS, and certificates of clients, to a real Apache Kafka; all made for the test."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from jangteo.cli import init
from jangteo.stack.kafka.cluster import Cluster
from jangteo.stack.ports import HOST, free_port
from shop import kafka
from shop import settings as shop_settings
from shop.errors import UnreachableError
from shop.postgres import Connection
from tests.support import python_process
from tests.support.certificates import Certificates, make
from tests.support.event_samples import message, user
from tests.support.ingest_processes import ROOT, Ingest, publish, wait_caught_up
from tests.support.waiting import wait_until

PASSWORD = "only-for-this-test"


@dataclass
class Secured:
    """A broker, and the settings with which a client can log in.

    Attributes:
        env: by SASL PLAIN.
        ways: each way in, this one among them.
    """

    env: dict[str, str]
    ways: dict[str, dict[str, str]]
    files: Certificates
    folder: Path


@pytest.fixture(scope="module")
def secured(apache_kafka: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """One broker: a listener that wants TLS and a password, and one that wants a certificate."""
    folder = tmp_path_factory.mktemp("secured")
    files = make(folder / "tls")
    both = folder / "server.pem"
    both.write_bytes(files.key.read_bytes() + files.certificate.read_bytes())
    planned = Cluster(folder / "kafka", 1)
    planned.record(running=False)
    (inside, controller), clients, mutual = planned.layout.ports[0], free_port(), free_port()
    login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
    scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    made = Cluster(
        folder / "kafka",
        1,
        properties={
            "listeners": f"BROKER://{HOST}:{inside},CONTROLLER://{HOST}:{controller},"
            f"CLIENTS://{HOST}:{clients},MUTUAL://{HOST}:{mutual}",
            "advertised.listeners": f"BROKER://{HOST}:{inside},CLIENTS://localhost:{clients},"
            f"MUTUAL://localhost:{mutual}",
            "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT,"
            "CLIENTS:SASL_SSL,MUTUAL:SSL",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(both),
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
            "listener.name.clients.plain.sasl.jaas.config": f'{login} user_shop="{PASSWORD}";',
            "listener.name.clients.scram-sha-512.sasl.jaas.config": scram,
            "listener.name.mutual.ssl.client.auth": "required",
            "listener.name.mutual.ssl.truststore.type": "PEM",
            "listener.name.mutual.ssl.truststore.location": str(files.authority),
        },
    )
    made.start()
    secret = folder / "password"
    secret.write_text(PASSWORD, encoding="utf-8")
    env = {
        "KAFKA_BOOTSTRAP_SERVERS": f"localhost:{clients}",
        "KAFKA_SECURITY_PROTOCOL": "sasl_ssl",
        "KAFKA_SASL_MECHANISM": "PLAIN",
        "KAFKA_SASL_USERNAME": "shop",
        "KAFKA_SASL_PASSWORD_FILE": str(secret),
        "KAFKA_SSL_CA_LOCATION": str(files.authority),
    }
    certificate = {
        "KAFKA_BOOTSTRAP_SERVERS": f"localhost:{mutual}",
        "KAFKA_SECURITY_PROTOCOL": "ssl",
        "KAFKA_SSL_CA_LOCATION": str(files.authority),
        "KAFKA_SSL_CERTIFICATE_LOCATION": str(files.certificate),
        "KAFKA_SSL_KEY_LOCATION": str(files.key),
    }
    ways = {
        "PLAIN": env,
        "SCRAM": {**env, "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512"},
        "certificate": certificate,
    }
    try:
        _add_user(f"{HOST}:{inside}")
        yield Secured(env, ways, files, folder)
    finally:
        made.kill()


def _add_user(bootstrap: str) -> None:
    """Give the user of SCRAM a password; those of PLAIN are in the broker's settings."""
    python_process.run(
        [
            *(sys.executable, "-m", "jangteo.stack.kafka.cluster", "tool", "kafka-configs"),
            *("--bootstrap-server", bootstrap, "--alter", "--entity-type", "users"),
            *("--entity-name", "shop", "--add-config", f"SCRAM-SHA-512=[password={PASSWORD}]"),
        ],
        cwd=ROOT, capture_output=True, check=True, timeout=120,
    )  # fmt: skip


@pytest.mark.parametrize("way", ["PLAIN", "SCRAM", "certificate"])
def test_the_ingest_works_over_tls(
    secured: Secured, way: str, env: dict[str, str], pg: Connection, tmp_path: Path
) -> None:
    given = {**env, **secured.ways[way]}
    settings = shop_settings.load(given, use_stack=False)
    client = kafka.admin(settings.kafka)
    if old := list(kafka.describe_topics(client)):
        for future in client.delete_topics(old).values():
            future.result()
        wait_until(lambda: not kafka.describe_topics(client), "the old topics are gone")
    assert "created" in init.init_topics(settings.kafka)
    publish(settings, "users", [message("users", user(i)) for i in range(1, 30)])
    with Ingest(given, tmp_path / "log") as ingest:
        wait_caught_up(settings, pg, ("users",))
        assert ingest.stop() == 0
        assert PASSWORD not in ingest.log()
    assert pg.execute("SELECT count(*) FROM users").fetchone() == (29,)


@pytest.mark.parametrize(
    "wrong", ["password", "password of SCRAM", "authority", "no TLS", "no certificate"]
)
def test_what_is_wrong_is_refused_in_one_line(secured: Secured, wrong: str) -> None:
    given = dict(secured.env)
    if wrong.startswith("password"):
        given = dict(secured.ways["SCRAM" if "SCRAM" in wrong else "PLAIN"])
        del given["KAFKA_SASL_PASSWORD_FILE"]
        given["KAFKA_SASL_PASSWORD"] = "another"
    elif wrong == "no certificate":
        kept = ("KAFKA_BOOTSTRAP_SERVERS", "KAFKA_SECURITY_PROTOCOL", "KAFKA_SSL_CA_LOCATION")
        given = {name: secured.ways["certificate"][name] for name in kept}
    elif wrong == "authority":
        other = make(secured.folder / "another")
        given["KAFKA_SSL_CA_LOCATION"] = str(other.authority)
    else:
        given["KAFKA_SECURITY_PROTOCOL"] = "plaintext"
    with pytest.raises(UnreachableError) as raised:
        kafka.create_topics(shop_settings.load(given, use_stack=False).kafka)
    assert "\n" not in str(raised.value)
    assert PASSWORD not in str(raised.value)
