"""Apache Kafka as jars: fetched once from Maven Central into a cache, run by the `java` there is.

What is fetched, and its version, stands in `deploy/kafka/pom.xml` alone.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from shop.errors import JangteoError, UsageError

HOME_VARIABLE: Final = "JANGTEO_KAFKA_HOME"
"""A directory whose `libs/` holds the jars; an unpacked Apache Kafka download is one too."""
OLDEST_JAVA: Final = 17  # the servers of Kafka 4 are compiled for it

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
"""Kafka's own commands by the names that everybody knows, and the class of each."""


def pom() -> Path:
    """Return the file that says what is fetched.

    Raises:
        UsageError: if this installation has none.
    """
    packaged = Path(__file__).with_name("_kafka") / "pom.xml"
    path = packaged if packaged.is_file() else Path(__file__).parents[1] / "deploy/kafka/pom.xml"
    if not path.is_file():
        raise UsageError(
            f"{path} is missing: run from a checkout, or set {HOME_VARIABLE} to an unpacked "
            "Apache Kafka"
        )
    return path


def version() -> str:
    """Return the version of Kafka that the pom names."""
    found = re.search(r"<kafka\.version>([\w.]+)<", pom().read_text(encoding="utf-8"))
    if not found:
        raise JangteoError(f"{pom()} names no <kafka.version>")
    return found[1]


def home(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the directory that has, or will have, the jars in `libs/`.

    >>> home({"JANGTEO_KAFKA_HOME": "/opt/kafka"}).as_posix()
    '/opt/kafka'
    """
    if given := environ.get(HOME_VARIABLE):
        return Path(given)
    cache = environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "jangteo" / f"kafka-{version()}"


def java() -> str:
    """Return the path of `java`.

    Raises:
        UsageError: if there is none, or it is too old.
    """
    under_home = os.environ.get("JAVA_HOME", "") + "/bin/java"
    found = under_home if os.access(under_home, os.X_OK) else shutil.which("java")
    if not found:
        raise UsageError(f"Apache Kafka needs Java {OLDEST_JAVA} or newer: there is no `java`")
    told = subprocess.run([found, "-version"], capture_output=True, text=True, check=False).stderr
    if major_version(told) < OLDEST_JAVA:
        first = next(iter(told.splitlines()), "it does not run")
        raise UsageError(f"Apache Kafka needs Java {OLDEST_JAVA} or newer; {found} says: {first}")
    return found


def major_version(told: str) -> int:
    """Read what `java -version` says; 0 if it says none.

    >>> major_version('openjdk version "17.0.15" 2025-04-15'), major_version('java version "1.8.0"')
    (17, 1)
    """
    match = re.search(r'version "(\d+)', told)
    return int(match[1]) if match else 0


def missing() -> str:
    """Say in one line why no Apache Kafka can run here; empty if one can."""
    try:
        java()
        has_jars = any(home().glob("libs/kafka_*.jar"))
    except UsageError as e:
        return str(e)
    if not has_jars and not shutil.which("mvn"):
        return f"Apache Kafka's jars are not in {home()}, and there is no Maven (`mvn`) to get them"
    return ""


def fetch() -> Path:
    """Return the directory of the jars, fetched by Maven the first time (45 MB).

    Raises:
        UsageError: if Maven is missing.
        JangteoError: if Maven fails; has its last words.
    """
    target = home()
    libs = target / "libs"
    if any(libs.glob("kafka_*.jar")):
        return libs
    if os.environ.get(HOME_VARIABLE):
        raise UsageError(f"{HOME_VARIABLE}={target}: there are no Kafka jars in its libs/")
    maven = shutil.which("mvn")
    if not maven:
        raise UsageError(missing())
    target.parent.mkdir(parents=True, exist_ok=True)
    # Beside its place: a download that was interrupted is never taken for a whole one.
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetching-") as name:
        fetched = Path(name) / "home"
        done = subprocess.run(
            [maven, "--quiet", "--batch-mode", "--file", str(pom()),
             "dependency:copy-dependencies", "-DincludeScope=runtime",
             f"-DoutputDirectory={fetched / 'libs'}"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            errors = [line for line in done.stdout.splitlines() if "[ERROR]" in line]
            words = next(iter(errors), done.stderr.strip() or f"exit {done.returncode}")
            raise JangteoError(f"Maven cannot get Apache Kafka {version()}: {words[:400]}")
        if not target.exists():  # somebody else may have been faster
            fetched.rename(target)
    return libs


def command_line(main: str, *arguments: str, options: Sequence[str] = ()) -> list[str]:
    """Return the command line of one of Kafka's classes.

    Args:
        main: the class.
        arguments: of the class.
        options: of the JVM.
    """
    return [java(), *options, "-cp", f"{fetch()}/*", main, *arguments]
