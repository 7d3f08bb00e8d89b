"""Fetching Apache Kafka: every failure is one line, and the files in the cache are whole."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from jangteo.stack.kafka import fallback
from jangteo.stack.kafka import jars as kafka_jars
from jangteo.stack.kafka.jars import FetchError, Jar
from shop import kafka
from shop import settings as shop_settings
from shop.errors import UsageError
from tests.support import certificates
from tests.support.certificates import Certificates
from tests.support.waiting import wait_until

FILES = {f"part-{n}": bytes([n]) * (1_000 + 40_000 * n) for n in range(1, 5)}


def jar_of(artifact: str, content: bytes) -> Jar:
    digest = hashlib.sha256(content).hexdigest()
    return Jar("org.test", artifact, "1.0", len(content), digest)


PINNED = tuple(jar_of(artifact, content) for artifact, content in FILES.items())


class Repository:
    """A Maven repository on loopback that can misbehave.

    Attributes:
        files: what it has, by artifact.
        asked: how often each artifact was asked for.
        cut: artifacts whose connection breaks in the middle.
        cuts_once: the same, the first time alone.
        stalled: artifacts that come half and then wait for `go`.
    """

    def __init__(self) -> None:
        self.files = dict(FILES)
        self.asked: Counter[str] = Counter()
        self.cut: set[str] = set()
        self.cuts_once: set[str] = set()
        self.stalled: set[str] = set()
        self.half = threading.Event()
        self.go = threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/maven2"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        name = Path(handler.path).name
        artifact = name.removesuffix("-1.0.jar")
        content = self.files.get(artifact)
        if content is None or not name.endswith(".jar"):
            handler.send_error(404)
            return
        assert handler.path == f"/maven2/org/test/{artifact}/1.0/{name}"
        self.asked[artifact] += 1
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        half = len(content) // 2
        handler.wfile.write(content[:half])
        handler.wfile.flush()
        if artifact in self.cut or artifact in self.cuts_once:
            self.cuts_once.discard(artifact)
            return
        if artifact in self.stalled:
            self.half.set()
            self.go.wait(60)
        handler.wfile.write(content[half:])

    def encrypted(self, by: Certificates) -> str:
        """Speak TLS from now on; return the address."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(by.certificate, by.key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        return self.url.replace("http:", "https:")

    def close(self) -> None:
        self.go.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Repository]:
    made = Repository()
    monkeypatch.setattr(kafka_jars, "version", lambda: "9.9")
    monkeypatch.setattr(kafka_jars, "pinned", lambda: PINNED)
    monkeypatch.setenv("JANGTEO_MAVEN_REPOSITORY", made.url)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "캐시 1"))
    monkeypatch.delenv("JANGTEO_KAFKA_HOME", raising=False)
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    try:
        yield made
    finally:
        made.close()


def left_behind() -> list[str]:
    """Return what is in the cache besides the lock and whole jars."""
    root = kafka_jars.cache_root()
    whole = {jar.file for jar in PINNED if jar not in kafka_jars.absent(verify=True)}
    files = [p for p in root.rglob("*") if p.is_file() and p.name != ".lock"]
    folders = [p for p in root.iterdir() if p.is_dir() and p.name != "kafka-9.9"]
    return [str(p.relative_to(root)) for p in files if p.name not in whole] + [
        str(p.name) for p in folders
    ]


def fails(match: str) -> None:
    with pytest.raises(FetchError, match=match) as caught:
        kafka_jars.fetch()
    assert "\n" not in str(caught.value)
    assert left_behind() == []


def test_the_pinned_list_is_what_a_broker_needs() -> None:
    jars = kafka_jars.pinned()
    assert len({jar.file for jar in jars}) == len(jars) > 50
    assert all(len(jar.sha256) == 64 and jar.size > 0 for jar in jars)
    assert kafka_jars.version() in {jar.version for jar in jars if jar.artifact == "kafka-clients"}


def test_what_is_fetched_is_used_without_a_network(repository: Repository) -> None:
    came: list[int] = []
    libs = kafka_jars.fetch(came.append)
    assert {p.name: p.read_bytes() for p in libs.iterdir()} == {
        jar.file: FILES[jar.artifact] for jar in PINNED
    }
    assert sum(came) == sum(map(len, FILES.values()))
    assert left_behind() == []
    repository.close()
    assert kafka_jars.fetch(verify=True) == libs
    assert kafka_jars.jars() == sorted(libs.iterdir())
    assert set(repository.asked.values()) == {1}


def test_another_file_than_the_pinned_one_is_not_kept(repository: Repository) -> None:
    repository.files["part-2"] = bytes(len(FILES["part-2"]))
    fails(r"part-2-1\.0\.jar as downloaded is not the pinned file")
    repository.files["part-2"] = FILES["part-2"]
    kafka_jars.fetch()
    assert not kafka_jars.absent(verify=True)


def test_a_connection_that_breaks_leaves_nothing_half_made(repository: Repository) -> None:
    repository.cut.add("part-3")
    fails(r"cannot download part-3-1\.0\.jar: .*JANGTEO_MAVEN_REPOSITORY")
    assert repository.asked["part-3"] == 3, "tried again"
    repository.cut.clear()
    kafka_jars.fetch()
    assert not kafka_jars.absent(verify=True)


def test_a_connection_that_breaks_once_is_made_again(repository: Repository) -> None:
    repository.cuts_once.add("part-3")
    kafka_jars.fetch()
    assert not kafka_jars.absent(verify=True)
    assert repository.asked["part-3"] == 2


def test_a_file_that_the_repository_lacks(repository: Repository) -> None:
    del repository.files["part-1"]
    fails(r"cannot download part-1-1\.0\.jar: the repository does not have it")


def test_an_authority_of_the_machine_is_trusted(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As pip and curl do it, behind a proxy that signs for every server."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    made = certificates.make(tmp_path / "proxy")
    monkeypatch.setenv("JANGTEO_MAVEN_REPOSITORY", repository.encrypted(made))
    fails(
        "the certificate of the server is not trusted here .*; if a proxy signs it, set "
        "SSL_CERT_FILE to the proxy's authority, set JANGTEO_MAVEN_REPOSITORY"
    )
    monkeypatch.setenv("SSL_CERT_FILE", str(made.authority))
    kafka_jars.fetch()
    assert not kafka_jars.absent(verify=True)
    assert ssl.SSLContext.__module__ == "ssl", "of this process as it was"


def test_no_network(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JANGTEO_MAVEN_REPOSITORY", "http://127.0.0.1:1/maven2")
    fails("Connection refused; run again with a network")


def test_a_file_that_was_damaged_later_is_fetched_again(repository: Repository) -> None:
    libs = kafka_jars.fetch()
    (libs / "part-1-1.0.jar").write_bytes(b"cut short")
    assert [jar.artifact for jar in kafka_jars.absent()] == ["part-1"]
    with pytest.raises(UsageError, match="run `jangteo servers prepare`"):
        kafka_jars.jars()
    kafka_jars.fetch()
    (libs / "part-2-1.0.jar").write_bytes(bytes(len(FILES["part-2"])))
    assert not kafka_jars.absent(), "the size is right"
    kafka_jars.fetch(verify=True)
    assert not kafka_jars.absent(verify=True)
    assert repository.asked == {"part-1": 2, "part-2": 2, "part-3": 1, "part-4": 1}


# A process of its own, which can be killed, limited, or be another user.
_FETCH = """
import json, os, resource, sys
from jangteo.stack.kafka import jars as kafka_jars
from shop.errors import JangteoError
pinned = tuple(kafka_jars.Jar(*fields) for fields in json.loads(sys.argv[1]))
kafka_jars.pinned = lambda: pinned
kafka_jars.version = lambda: "9.9"
import jgo.maven  # before it is another user
if sys.argv[2] == "full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
if sys.argv[2] == "closed" and os.geteuid() == 0:
    os.setuid(65534)
try:
    kafka_jars.fetch()
except JangteoError as e:
    sys.exit(str(e))
"""


def fetching(how: str = "") -> subprocess.Popen[str]:
    fields = [[j.group, j.artifact, j.version, j.size, j.sha256] for j in PINNED]
    return subprocess.Popen(
        [sys.executable, "-c", _FETCH, json.dumps(fields), how],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def said(process: subprocess.Popen[str]) -> str:
    _, stderr = process.communicate(timeout=60)
    return stderr


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_fetch_is_taken_up_again(repository: Repository, signum: int) -> None:
    repository.stalled.add("part-4")
    process = fetching()
    assert repository.half.wait(60)
    wait_until(lambda: len(kafka_jars.absent()) <= 1, "all but the stalled part")
    process.send_signal(signum)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(3)  # the rest may not come before the signal has been seen
    repository.go.set()
    said(process)
    assert process.returncode
    assert [jar.artifact for jar in kafka_jars.absent(verify=True)] == ["part-4"]
    kafka_jars.fetch()
    assert left_behind() == []
    assert repository.asked["part-1"] == 1, "what was whole is kept"
    assert not kafka_jars.absent(verify=True)


def test_two_that_fetch_at_once_take_turns(repository: Repository) -> None:
    repository.stalled.add("part-4")
    first = fetching()
    assert repository.half.wait(60)
    second = fetching()
    time.sleep(0.5)
    repository.go.set()
    assert said(first) == said(second) == ""
    assert first.returncode == second.returncode == 0
    assert set(repository.asked.values()) == {1}
    assert left_behind() == []


def test_a_full_disk_is_one_line(repository: Repository) -> None:
    process = fetching("full")
    words = said(process)
    assert process.returncode == 1
    assert "cannot store Apache Kafka in" in words
    assert "XDG_CACHE_HOME" in words
    assert len(words.splitlines()) == 1
    assert left_behind() == []


def test_a_cache_that_cannot_be_written_is_one_line(repository: Repository) -> None:
    root = kafka_jars.cache_root()
    root.mkdir(parents=True)
    root.chmod(0o555)
    try:
        process = fetching("closed")
        words = said(process)
    finally:
        root.chmod(0o755)
    assert process.returncode == 1
    assert "cannot store Apache Kafka in" in words
    assert "Permission denied" in words
    assert len(words.splitlines()) == 1


def test_a_home_without_jars_is_refused(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("JANGTEO_KAFKA_HOME", str(tmp_path))
    with pytest.raises(UsageError, match="there are no Kafka jars in its libs/"):
        kafka_jars.fetch()
    (tmp_path / "libs").mkdir()
    (tmp_path / "libs" / "kafka_2.13-4.0.0.jar").touch()
    assert kafka_jars.fetch() == tmp_path / "libs"
    assert not repository.asked


def test_without_the_jars_a_broker_in_memory_steps_in_and_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("JANGTEO_MAVEN_REPOSITORY", "http://127.0.0.1:1/maven2")
    monkeypatch.delenv("JANGTEO_KAFKA_HOME", raising=False)
    lines: list[str] = []
    kind = fallback.broker(lines.append)
    assert kind is fallback.InMemoryBroker
    assert "in-memory broker Tansu" in lines[-1]
    assert "Connection refused" in lines[-1]
    assert "messages that are unread when it stops are lost" in lines[-1]
    server = kind(tmp_path)
    try:
        server.start()
        settings = shop_settings.load(server.env, use_stack=False).kafka
        kafka.create_topics(settings)
        producer = kafka.producer(settings, "test")
        producer.produce("users", key=b"1", value=b"{}")
        assert producer.flush(20) == 0
        assert [m.value() for m in kafka.read(settings, "users")] == [b"{}"]
    finally:
        server.kill()
