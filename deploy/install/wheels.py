"""Asks pip whether a wheel of every pinned dependency exists for each platform and Python.

    python deploy/install/wheels.py [NAME ...]

Without names it takes all of constraints.txt. Nothing is installed. Exits with 1 if a wheel is
missing; a package that has only a source distribution needs a compiler where it is installed.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CONSTRAINTS: Final = Path(__file__).parents[2] / "constraints.txt"
PYTHONS: Final = ("3.10", "3.11", "3.12")
PLATFORMS: Final = {
    "Linux x86-64": [f"manylinux_2_{n}_x86_64" for n in (31, 28, 27, 26, 24, 17, 12, 5)]
    + ["manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64"],
    "Linux aarch64": [f"manylinux_2_{n}_aarch64" for n in (31, 28, 27, 26, 24, 17)]
    + ["manylinux2014_aarch64"],
    "macOS x86-64": ["macosx_14_0_x86_64"],
    "macOS arm64": ["macosx_14_0_arm64"],
}
"""Tags that pip accepts: up to those of glibc 2.31, which Debian 11 and Ubuntu 20.04 have and
Bytewax's wheels ask for, and of macOS 14, for which pip takes older ones by itself."""
_MISSING: Final = re.compile(r"No matching distribution found for ([\w.-]+)")


def pinned(python: str, platform: str, text: str) -> list[Requirement]:
    """Return the requirements of a constraints file that hold for a Python and a platform."""
    system, machine = platform.split()
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": {"Linux": "linux", "macOS": "darwin"}[system],
        "platform_system": system.replace("macOS", "Darwin"),
        "platform_machine": machine.replace("x86-64", "x86_64"),
    }
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    found = [Requirement(line) for line in lines if line]
    return [r for r in found if r.marker is None or r.marker.evaluate(environment)]


def missing(wanted: Sequence[Requirement], python: str, tags: Sequence[str]) -> Iterator[str]:
    """Yield the requirements without a wheel; pip names one in each attempt.

    Raises:
        RuntimeError: if pip fails for another reason.
    """
    left = {canonicalize_name(r.name): f"{r.name}{r.specifier}" for r in wanted}
    with tempfile.TemporaryDirectory() as directory:
        common = ["install", "--dry-run", "--no-deps", "--only-binary", ":all:", "--quiet"]
        where = ["--ignore-installed", "--target", directory, "--disable-pip-version-check"]
        of = ["--implementation", "cp", "--python-version", python]
        of += [word for tag in tags for word in ("--platform", tag)]
        while left:
            done = subprocess.run(
                [sys.executable, "-m", "pip", *common, *where, *of, *left.values()],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            if done.returncode == 0:
                return
            match = _MISSING.search(done.stderr)
            name = canonicalize_name(match[1]) if match else ""
            if name not in left:
                raise RuntimeError(f"pip failed: {done.stderr[-1000:]}")
            yield left.pop(name)


def main(names: Sequence[str]) -> int:
    """Print a line for each platform and Python; return 1 if a wheel is missing."""
    text, wrong = CONSTRAINTS.read_text(encoding="utf-8"), False
    chosen = {canonicalize_name(name) for name in names}
    for platform, tags in PLATFORMS.items():
        for python in PYTHONS:
            wanted = pinned(python, platform, text)
            if chosen:
                wanted = [r for r in wanted if canonicalize_name(r.name) in chosen]
            lacking = list(missing(wanted, python, tags))
            wrong |= bool(lacking)
            result = f"no wheel of {', '.join(lacking)}" if lacking else "a wheel of each"
            print(f"{platform}, Python {python}: {len(wanted)} packages, {result}", flush=True)
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
