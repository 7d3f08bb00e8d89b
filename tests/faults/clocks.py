"""Wall clocks of single processes that a test sets, forward and back, while they run."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

DAY_S = 86_400


def can_be_moved() -> bool:
    """Tell whether there is a C compiler for the library that moves a clock."""
    return (shutil.which("cc") or shutil.which("gcc")) is not None


class WallClock:
    """The wall clock of the processes that get `env`; starts out right.

    Args:
        directory: for the library and the file that holds the offset.
    """

    def __init__(self, directory: Path, name: str = "clock") -> None:
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            pytest.skip("needs a C compiler: the clock is moved by a preloaded library")
        library = directory / "clock_shim.so"
        if not library.exists():
            source = Path(__file__).with_name("clock_shim.c")
            subprocess.run(
                [compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"],
                check=True,
            )
        self._file = directory / f"{name}.offset"
        self.set(0)
        self.env = {"LD_PRELOAD": str(library), "CLOCK_SHIM_FILE": str(self._file)}

    def set(self, seconds: int) -> None:
        """Step the clock to that number of seconds ahead of the true time."""
        with self._file.open("r+b" if self._file.exists() else "w+b") as file:
            file.write(struct.pack("l", seconds))
