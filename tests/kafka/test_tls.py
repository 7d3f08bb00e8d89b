"""SASL over TLS to a real Apache Kafka, with throw-away certificates."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "deploy"))

from certificates import Certificates, make
from processes import Ingest, publish, wait_caught_up
from samples import message, user

from shop import init, kafka
from shop import settings as shop_settings
from shop.errors import UnreachableError
from shop.kafka_cluster import Cluster
from shop.postgres import Connection
from shop.server import HOST, free_port

PASSWORD = "only-for-this-test"


@dataclass
class Secured:
    """A broker, and what a client must be told."""

    env: dict[str, str]
    files: Certificates
    folder: Path


@pytest.fixture(scope="module")
def secured(jars: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """One broker with a listener for clients that wants TLS and a password."""
    if not shutil.which("openssl"):
        pytest.skip("no `openssl` here")
    folder = tmp_path_factory.mktemp("secured")
    files = make(folder / "tls")
    both = folder / "server.pem"
    both.write_bytes(files.key.read_bytes() + files.certificate.read_bytes())
    planned = Cluster(folder / "kafka", 1)
    planned.record(running=False)
    (inside, controller), clients = planned.layout.ports[0], free_port()
    login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
    made = Cluster(
        folder / "kafka",
        1,
        properties={
            "listeners": f"BROKER://{HOST}:{inside},CONTROLLER://{HOST}:{controller},"
            f"CLIENTS://{HOST}:{clients}",
            "advertised.listeners": f"BROKER://{HOST}:{inside},CLIENTS://localhost:{clients}",
            "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT,"
            "CLIENTS:SASL_SSL",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(both),
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.clients.plain.sasl.jaas.config": f'{login} user_shop="{PASSWORD}";',
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
    try:
        yield Secured(env, files, folder)
    finally:
        made.kill()


def test_the_ingest_works_over_sasl_and_tls(
    secured: Secured, env: dict[str, str], pg: Connection, tmp_path: Path
) -> None:
    given = {**env, **secured.env}
    settings = shop_settings.load(given, use_stack=False)
    assert "created" in init.init_topics(settings.kafka)
    publish(settings, "users", [message("users", user(i)) for i in range(1, 30)])
    with Ingest(given, tmp_path / "log") as ingest:
        wait_caught_up(settings, pg, ("users",))
        assert ingest.stop() == 0
        assert PASSWORD not in ingest.log()
    assert pg.execute("SELECT count(*) FROM users").fetchone() == (29,)


@pytest.mark.parametrize("wrong", ["password", "authority", "no TLS"])
def test_what_is_wrong_is_refused_in_one_line(secured: Secured, wrong: str) -> None:
    given = dict(secured.env)
    if wrong == "password":
        del given["KAFKA_SASL_PASSWORD_FILE"]
        given["KAFKA_SASL_PASSWORD"] = "another"
    elif wrong == "authority":
        other = make(secured.folder / "another")
        given["KAFKA_SSL_CA_LOCATION"] = str(other.authority)
    else:
        given["KAFKA_SECURITY_PROTOCOL"] = "plaintext"
    with pytest.raises(UnreachableError) as told:
        kafka.create_topics(shop_settings.load(given, use_stack=False).kafka)
    assert "\n" not in str(told.value)
    assert PASSWORD not in str(told.value)
