"""What `jangteo up` refuses is one line and an exit code."""

from __future__ import annotations

import socket

import pytest

from tests.support.up_process import UpProcess, gone

pytestmark = pytest.mark.timeout(900)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--speed", "0"], "expected a number above 0"),
        (["--speed", "fast"], "invalid number value: 'fast'"),
        (["--for", "-1"], "expected a number above 0"),
        (["--users", "-1"], "expected a whole number of at least 0"),
        (["--kafka-port", "65536"], "JANGTEO_KAFKA_PORT='65536': expected a whole number from 0"),
        (["--redis-port", "x"], "invalid whole number value: 'x'"),
        (
            ["--redis-port", "4711", "--postgres-port", "4711"],
            "cannot have the same port: postgres 4711, redis 4711",
        ),
        (["--no-such-option"], "unrecognized arguments: --no-such-option"),
        (["--kafka", "nonsense"], "expected HOST:PORT"),
        (["--postgres", "mysql://me:hunter2@db/shop"], "expected postgresql://"),
        (["--redis", "http://:hunter2@cache"], "REDIS_URL must begin with redis://"),
        (["--continue", "--speed", "2"], "--continue follows the clock"),
    ],
)
def test_bad_options_are_one_line_and_exit_2(shop: UpProcess, args: list[str], words: str) -> None:
    done = shop.run(*args)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "hunter2" not in done.stderr
    assert not (shop.data_dir / "postgres").exists(), "nothing was started"


def test_without_a_history_there_is_nothing_to_go_on_with(shop: UpProcess) -> None:
    done = shop.run("--continue")
    assert done.returncode == 2, done.stderr
    assert "there is no finished history" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert gone(shop.pids())


def test_a_port_that_is_taken_is_one_line_and_exit_2(shop: UpProcess) -> None:
    with socket.create_server(("127.0.0.1", 0)) as squatter:
        port = squatter.getsockname()[1]
        done = shop.run("--postgres-port", str(port))
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert f"another program uses port {port}" in line
    assert "--postgres-port" in line


def test_a_given_server_that_is_away_is_one_line_and_exit_3(shop: UpProcess) -> None:
    done = shop.run("--postgres", "postgresql://me:hunter2@127.0.0.1:1/shop")
    assert done.returncode == 3
    assert "cannot reach PostgreSQL at 127.0.0.1:1/shop" in done.stderr
    assert "hunter2" not in done.stderr + done.stdout
    assert gone(shop.pids())


def test_a_data_directory_that_cannot_be_is_one_line_and_exit_2(shop: UpProcess) -> None:
    shop.data_dir.write_text("a file")
    done = shop.run()
    assert done.returncode == 2
    assert "cannot use" in done.stderr
    assert len(done.stderr.splitlines()) == 1
