"""What is printed: no locale, full disk or closed pipe gives a traceback, and nothing from outside
moves a terminal's cursor."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shop import log
from shop.output import escape, escape_in_lines, say
from tests.support import python_process

COMMANDS = (["--help"], ["up", "--help"], ["scenario", "list"], ["generate", "orders", "--help"])
UNFIT = "\x00\x07\x1b[31m\x7f\x85\x9b31m\u202e\u2066\u2028\ufeff\ud800\U000e0041"


def shop(*words: str, **more: str) -> subprocess.CompletedProcess[bytes]:
    return python_process.run(
        [sys.executable, "-m", "jangteo", *words],
        env={**os.environ, **more}, capture_output=True, check=False, timeout=60,
    )  # fmt: skip


def sh(line: str) -> subprocess.CompletedProcess[str]:
    command = f"{sys.executable} -m jangteo"
    return subprocess.run(
        ["bash", "-c", line.format(command)], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    "env",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONIOENCODING": "cp949"},
        {"PYTHONIOENCODING": "ascii:strict", "PYTHONUTF8": "0"},
    ],
)
def test_an_encoding_without_the_characters_gets_escapes(env: dict[str, str]) -> None:
    text = (
        'import shop.output as s; s.prepare(); s.say(\'{"k": "\' + '
        + ascii("장터 é \U0001f600")
        + " + '\"}')"
    )
    done = subprocess.run(
        [sys.executable, "-c", text], env={**os.environ, **env}, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    encoding = env.get("PYTHONIOENCODING", "ascii").partition(":")[0]
    assert json.loads(done.stdout.decode(encoding)) == {"k": "장터 é \U0001f600"}, "JSON stays JSON"


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_is_one_line_and_exit_1(words: list[str], unbuffered: str) -> None:
    done = sh(f"PYTHONUNBUFFERED={unbuffered} {{}} {' '.join(words)} >/dev/full")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert "No space left on device" in done.stderr


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_closed_descriptors_and_pipes_are_no_fault(words: list[str]) -> None:
    command = "{} " + " ".join(words)
    assert sh(f"{command} >&-").stderr == ""
    assert sh(f"{command} >&- 2>&- <&-").returncode == 0
    done = sh(f"set -o pipefail; {command} | true")
    assert (done.returncode in (0, 141), done.stderr) == (True, "")


def test_a_closed_stdin_is_an_empty_one() -> None:
    done = sh("{} topics produce nothing <&-")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    text = (
        "import sys; from shop import output as say; say.prepare(); print(sys.stdin.buffer.read())"
    )
    found = subprocess.run(
        ["bash", "-c", f'{sys.executable} -c "{text}" <&-'], check=True, capture_output=True
    )
    assert found.stdout == b"b''\n"


def test_a_wrong_word_is_exit_2_wherever_the_line_about_it_goes() -> None:
    for where in ("2>/dev/full", "2>&-", "2>/dev/null"):
        assert sh(f"{{}} nonsense {where}").returncode == 2, where
        assert sh(f"{{}} up --nonsense {where}").returncode == 2, where


def test_a_closed_stdout_is_not_given_to_another_file(tmp_path: Path) -> None:
    target = tmp_path / "file"
    text = (
        "import sys, os; from shop import output as say; say.prepare();"
        f"f = open({str(target)!r}, 'w'); os.write(1, b'output'); say.say('more'); f.close()"
    )
    subprocess.run(
        ["bash", "-c", f'{sys.executable} -c "{text}" >&-'], check=True, capture_output=True
    )
    assert target.read_bytes() == b""


def test_control_characters_are_escaped_in_what_is_said_and_logged(
    capsys: pytest.CaptureFixture[str],
) -> None:
    say(f"a{UNFIT}b\n\tc")
    said = capsys.readouterr().out
    assert said.endswith("b\n\tc\n")
    assert set(said) & set(UNFIT) == set("[31m"), ascii(said)
    for fmt in ("logfmt", "json"):
        stream = io.StringIO()
        log.configure("test", fmt=fmt, stream=stream)
        log.get_logger().warning("event", error=f"a{UNFIT}\r\nb")
        line = stream.getvalue()
        assert line.count("\n") == 1
        assert not set(line[:-1]) & (set(UNFIT) - set("[31m") | {"\r", "\n"}), ascii(line)
        if fmt == "json":
            assert json.loads(line)["error"].startswith("a\x00\x07\x1b")


@given(st.text())
def test_what_is_escaped_is_one_line_that_can_be_printed(text: str) -> None:
    assert all(c not in UNFIT or c in "[31m" for c in escape(text))
    assert "\n" not in escape(text)
    escape_in_lines(text).encode()
    assert escape(escape(text)) == escape(text)


class _Disk(io.StringIO):
    """A stream that is full for a while."""

    full = False

    def write(self, text: str) -> int:
        if self.full:
            raise OSError(28, "No space left on device")
        return super().write(text)


@pytest.mark.parametrize("fmt", ["logfmt", "json"])
def test_a_log_on_a_full_disk_says_how_many_lines_it_lost(fmt: str) -> None:
    disk = _Disk()
    log.configure("test", fmt=fmt, stream=disk)
    disk.full = True
    for _ in range(3):
        log.get_logger().error("lost")
    disk.full = False
    log.get_logger().info("found")
    log.get_logger().info("found again")
    first, second, third = disk.getvalue().splitlines()
    assert "3" in first
    assert "found" in second
    assert "found again" in third
