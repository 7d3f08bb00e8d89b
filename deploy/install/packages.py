"""Installs packages with pip and shows what it does: a line at once, then how far it is.

    python deploy/install/packages.py TITLE PIP-ARGUMENTS...

Runs before anything is installed: the standard library is all that it uses.
"""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections import deque
from typing import Final, TextIO

EVERY_S: Final = 10.0
"""Seconds between two lines where the output is not a terminal."""
_PIP: Final = ("-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off")
_FETCHED: Final = re.compile(r"\s*(?:Downloading|Using cached) (\S+) \(([\d.]+) (\w?B)\)")
_LOOKS_FOR: Final = re.compile(r"Collecting ([\w.-]+)")
_PREPARES: Final = re.compile(
    r"\s*(?:Installing build|Checking if build|Getting|Preparing) .*: started"
)
_MB: Final = {"B": 1e-6, "kB": 1e-3, "MB": 1.0, "GB": 1e3}
_CHANGES_S: Final = 0.3
_KEPT_LINES: Final = 15


class Progress:
    """What pip has done so far, read from the lines that it prints.

    Attributes:
        packages: number of packages that it has found.
        megabytes: what it has fetched, from the index or its cache.
        doing: what it does now.
    """

    def __init__(self) -> None:
        self.packages = 0
        self.megabytes = 0.0
        self.doing = "looking for packages"

    def take(self, line: str) -> None:
        """Take a line of pip's output."""
        if match := _FETCHED.match(line):
            self.megabytes += float(match[2]) * _MB.get(match[3], 0.0)
            self.doing = f"fetching {match[1].partition('-')[0]}"
        elif match := _LOOKS_FOR.match(line):
            self.packages += 1
            self.doing = f"looking for {match[1]}"
        elif _PREPARES.match(line):
            self.doing = "preparing the build tools"
        elif line.startswith("Installing collected packages: "):
            self.packages = line.count(",") + 1
            self.doing = "unpacking them"

    def __str__(self) -> str:
        """Return the state as part of a line: 31 packages, 214 MB, fetching polars."""
        return f"{_number(self.packages)}, {self.megabytes:.0f} MB, {self.doing}"


def _number(packages: int) -> str:
    return f"{packages} package{'s' * (packages != 1)}"


class Shown:
    """One line that is rewritten on a terminal, a line now and then elsewhere."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._terminal = out.isatty()
        self._began = self._last = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began

    def update(self, text: str) -> None:
        """Show what is done now."""
        now = time.monotonic()
        if not self._terminal and now - self._last < EVERY_S:
            return
        self._last = now
        line = f"  {self.seconds:3.0f} s: {text}"
        self._write(f"\r{line:.79}\x1b[K" if self._terminal else f"{line}\n")

    def line(self, text: str) -> None:
        """Write a whole line."""
        self._write(f"\r{text}\x1b[K\n" if self._terminal else f"{text}\n")

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


def main(argv: list[str]) -> int:
    """Install; return pip's exit code."""
    title, *arguments = argv
    shown = Shown(sys.stderr)
    shown.line(f"{title} (once, a minute or two) ...")
    progress, said = Progress(), deque[str](maxlen=_KEPT_LINES)
    ended = threading.Event()

    def show() -> None:
        while not ended.wait(_CHANGES_S):  # pip unpacks for a minute without printing a line
            shown.update(str(progress))

    shows = threading.Thread(target=show, daemon=True)
    shows.start()
    with subprocess.Popen(
        [sys.executable, *_PIP, *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
    ) as pip:  # fmt: skip
        for line in pip.stdout or ():
            said.append(line)
            progress.take(line)
    ended.set()
    shows.join()
    if pip.returncode:
        shown.line("pip failed; its last lines:")
        sys.stderr.writelines(said)
        return pip.returncode
    shown.line(f"installed {_number(progress.packages)} in {shown.seconds:.0f} s")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
