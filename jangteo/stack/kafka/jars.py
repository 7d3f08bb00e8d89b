"""Apache Kafka as jars: fetched once into a cache, verified, used offline from then on.

What is fetched, its version, size and SHA-256 are in `deploy/kafka/jars.txt` alone.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import logging
import os
import shutil
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jangteo.stack.server import package_dir
from shop.errors import JangteoError, UsageError
from shop.settings import KAFKA_HOME, MAVEN_REPOSITORY

_AT_ONCE: Final = 6  # downloads: four times as fast as one after the other; more gain nothing
_TIMEOUT_S: Final = 30  # of a connection that sends nothing
_ATTEMPTS: Final = 3  # of a file whose connection breaks: without it a shop would lack Kafka
_PARTIAL: Final = ".fetching-"

TOOLS: Final[Mapping[str, str]] = {
    "kafka-topics": "org.apache.kafka.tools.TopicCommand",
    "kafka-consumer-groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "kafka-configs": "kafka.admin.ConfigCommand",
    "kafka-console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "kafka-console-producer": "org.apache.kafka.tools.ConsoleProducer",
    "kafka-get-offsets": "org.apache.kafka.tools.GetOffsetShell",
    "kafka-metadata-quorum": "org.apache.kafka.tools.MetadataQuorumCommand",
    "kafka-reassign-partitions": "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
}
"""Class of each of Kafka's own commands, by the command's usual name."""


class FetchError(JangteoError):
    """Apache Kafka cannot be fetched: no network, no space, or files that fail verification."""


@dataclass(frozen=True)
class Jar:
    """One pinned file."""

    group: str
    artifact: str
    version: str
    size: int
    """Bytes."""
    sha256: str

    @property
    def file(self) -> str:
        """Name of the file."""
        return f"{self.artifact}-{self.version}.jar"


@functools.lru_cache
def pinned() -> tuple[Jar, ...]:
    """Return the pinned jars, sorted by coordinates.

    Raises:
        UsageError: if this installation has no list.
    """
    packaged = Path(__file__).with_name("_kafka") / "jars.txt"
    path = packaged if packaged.is_file() else Path(__file__).parents[3] / "deploy/kafka/jars.txt"
    if not path.is_file():
        raise UsageError(
            f"{path} is missing: run from a checkout, or set {KAFKA_HOME} to an unpacked "
            "Apache Kafka"
        )
    lines = path.read_text(encoding="ascii").splitlines()
    return tuple(read_line(line) for line in lines if line and not line.startswith("#"))


def read_line(line: str) -> Jar:
    """Read a line of the list.

    >>> read_line("org.slf4j:slf4j-api:1.7.36 41125 d3ef575e").file
    'slf4j-api-1.7.36.jar'
    """
    coordinates, size, sha256 = line.split()
    group, artifact, version = coordinates.split(":")
    return Jar(group, artifact, version, int(size), sha256)


def version() -> str:
    """Return the version of Kafka that the list names."""
    return next(jar.version for jar in pinned() if jar.artifact == "kafka_2.13")


def installed_version() -> str:
    """Return the version of the Kafka that runs here; another one with JANGTEO_KAFKA_HOME.

    Raises:
        UsageError: if the jars are not there.
    """
    name = next(jar.stem for jar in jars() if jar.name.startswith("kafka_"))
    return name.partition("-")[2]


def cache_root(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the directory of everything that is fetched or made once per user."""
    return Path(environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser().absolute() / "jangteo"


def home(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the directory that has, or will have, the jars in `libs/`.

    >>> home({"JANGTEO_KAFKA_HOME": "/opt/kafka"}).as_posix()
    '/opt/kafka'
    """
    if given := environ.get(KAFKA_HOME):
        return Path(given).absolute()
    return cache_root(environ) / f"kafka-{version()}"


def jars() -> list[Path]:
    """Return the jars, in a fixed order.

    Raises:
        UsageError: if they are not there.
    """
    libs = home() / "libs"
    if os.environ.get(KAFKA_HOME):
        found = sorted(libs.glob("*.jar"))
        if not any(jar.name.startswith("kafka_") for jar in found):
            raise UsageError(f"{KAFKA_HOME}={home()}: there are no Kafka jars in its libs/")
        return found
    if absent():
        raise UsageError(
            f"Apache Kafka {version()} is not in {home()}: run `jangteo servers prepare`"
        )
    return [libs / jar.file for jar in pinned()]


def absent(*, verify: bool = False) -> list[Jar]:
    """Return the jars that are missing from the cache or incomplete.

    Args:
        verify: compare checksums too (0.1 s), not only sizes.
    """
    libs = home() / "libs"
    return [jar for jar in pinned() if not _is_whole(libs / jar.file, jar, verify=verify)]


def _is_whole(path: Path, jar: Jar, *, verify: bool) -> bool:
    try:
        return path.stat().st_size == jar.size and not (verify and _sha256(path) != jar.sha256)
    except OSError:
        return False


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def fetch(advance: Callable[[int], None] = lambda _: None, *, verify: bool = False) -> Path:
    """Fetch what the cache lacks; return the directory of the jars.

    Each file is downloaded under a temporary name, compared with its checksum, and renamed. After
    any interruption the files in the cache are whole, and the next call fetches the rest. Two
    processes that fetch at once take turns.

    Args:
        advance: called with the number of bytes received, from several threads.
        verify: compare the checksums of what is there already too.

    Raises:
        UsageError: if JANGTEO_KAFKA_HOME names a directory without jars.
        FetchError: if a file cannot be fetched or is not the pinned one.
    """
    libs = home() / "libs"
    if os.environ.get(KAFKA_HOME):
        jars()
        return libs
    if not absent(verify=verify):
        return libs
    try:
        libs.mkdir(parents=True, exist_ok=True)
        with locked(cache_root()):
            for left in cache_root().glob(f"{_PARTIAL}*"):  # a kill in the middle left it
                shutil.rmtree(left, ignore_errors=True)
            with (
                tempfile.TemporaryDirectory(dir=cache_root(), prefix=_PARTIAL) as name,
                _trusting_the_system(),
            ):
                _download_all(absent(verify=verify), Path(name), libs, advance)
    except OSError as e:
        raise FetchError(
            f"cannot store Apache Kafka in {home()}: {e.strerror or e}; free some space, or set "
            "XDG_CACHE_HOME to a directory that can be written (47 MB)"
        ) from None
    return libs


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the cache: one process at a time fetches or trains."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _download_all(
    wanted: Sequence[Jar], partial: Path, libs: Path, advance: Callable[[int], None]
) -> None:
    package_dir("jgo")  # raises: names what to install
    logging.getLogger("jgo").setLevel(
        logging.ERROR
    )  # it warns of a checksum that we check ourselves
    stop = threading.Event()

    def count(size: int) -> None:
        if stop.is_set():
            raise FetchError("interrupted")
        advance(size)

    pool = ThreadPoolExecutor(_AT_ONCE)
    # The largest first: the small ones fill the gaps at the end.
    begun = [
        pool.submit(_download, jar, partial / jar.file, libs, count)
        for jar in sorted(wanted, key=lambda jar: -jar.size)
    ]
    try:
        for done in as_completed(begun):
            done.result()
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


@contextmanager
def _trusting_the_system() -> Iterator[None]:
    """Let `requests` accept the authorities that the system accepts, as pip does.

    Its own list lacks those that a company adds to its machines: behind a proxy that opens TLS pip
    installed everything, and no jar could be fetched.
    """
    package_dir("truststore")  # raises: names what to install
    import truststore  # noqa: PLC0415  (only to fetch)

    truststore.inject_into_ssl()
    try:
        yield
    finally:
        truststore.extract_from_ssl()


def _download(jar: Jar, partial: Path, libs: Path, advance: Callable[[int], None]) -> None:
    # jgo and its packages take 0.4 s and 33 MB: only where a file is missing.
    import requests  # noqa: PLC0415  (0.4 s, only to fetch)
    from jgo.maven import MavenContext, PythonResolver  # noqa: PLC0415  (0.4 s, only to fetch)

    @contextmanager
    def progress(_name: str, _size: int) -> Iterator[Callable[[int], None]]:
        yield advance

    mirror = os.environ.get(MAVEN_REPOSITORY, "").rstrip("/")
    context = MavenContext(
        resolver=PythonResolver(progress_callback=progress),
        repo_cache=partial,
        remote_repos={"mirror": mirror} if mirror else None,
        timeout=_TIMEOUT_S,
    )
    component = context.project(jar.group, jar.artifact).at_version(jar.version)
    for left in reversed(range(_ATTEMPTS)):
        try:
            path = component.artifact().resolve()
            break
        except (requests.RequestException, RuntimeError) as e:
            if left and isinstance(e, requests.RequestException) and not _is_lasting(e):
                shutil.rmtree(partial, ignore_errors=True)  # jgo takes half a file for a whole one
                continue
            raise FetchError(
                f"cannot download {jar.file}: {_why(e)}, set {MAVEN_REPOSITORY} to a mirror, or "
                f"{KAFKA_HOME} to an unpacked Apache Kafka"
            ) from None
    if not _is_whole(path, jar, verify=True):
        raise FetchError(
            f"{jar.file} as downloaded is not the pinned file (its SHA-256 differs) and was "
            f"removed; a proxy or a mirror may have changed it: set {MAVEN_REPOSITORY}"
        )
    path.replace(libs / jar.file)


def _innermost(error: BaseException) -> BaseException:
    while inner := error.__cause__ or error.__context__:
        error = inner
    return error


def _is_lasting(error: BaseException) -> bool:
    """Return whether a second attempt at once would fail, too."""
    return isinstance(_innermost(error), ssl.SSLCertVerificationError | ConnectionRefusedError)


def _why(error: BaseException) -> str:
    """Return the innermost reason, and the first thing to do about it.

    The outer reasons repeat addresses and classes.
    """
    error = _innermost(error)
    if isinstance(error, RuntimeError):
        return "the repository does not have it; run again later"
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the certificate of the server is not trusted here ({error.verify_message}); if a "
            "proxy signs it, set SSL_CERT_FILE to the proxy's authority"
        )
    reason = getattr(error, "strerror", None) or str(error).splitlines()[0][:200]
    return f"{reason or type(error).__name__}; run again with a network"
