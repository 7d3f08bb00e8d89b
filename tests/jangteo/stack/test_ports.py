"""Ports of the embedded servers: the usual ones where they are free, then always the same."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from jangteo.stack.ports import Ports, PortTakenError, free_port
from shop.errors import UsageError
from shop.settings import embedded_ports


def choose(ports: Ports, *, former: int | None = None, move: bool = True) -> int:
    return ports.choose("redis", "Redis", former=former, move=move)


def test_the_usual_port_is_taken_where_it_is_free_and_kept(tmp_path: Path) -> None:
    usual = free_port()
    assert choose(Ports(tmp_path, first={"redis": usual})) == usual
    other = free_port()
    assert choose(Ports(tmp_path, first={"redis": other})) == usual, "chosen once"
    assert json.loads((tmp_path / "ports.json").read_text()) == {"redis": usual}


def test_a_usual_port_in_use_is_left_alone(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as squatter:
        usual = squatter.getsockname()[1]
        port = choose(Ports(tmp_path, first={"redis": usual}))
        assert port != usual
    assert choose(Ports(tmp_path, first={"redis": usual})) == port


def test_a_port_that_is_asked_for_is_kept_for_later_runs(tmp_path: Path) -> None:
    first = choose(Ports(tmp_path))
    wanted = free_port()
    assert wanted != first
    assert choose(Ports(tmp_path, asked={"redis": wanted})) == wanted
    assert choose(Ports(tmp_path)) == wanted
    with (
        socket.create_server(("127.0.0.1", wanted)),
        pytest.raises(PortTakenError, match=f"uses port {wanted}.*--redis-port"),
    ):
        choose(Ports(tmp_path, asked={"redis": wanted}))


def test_two_servers_never_get_one_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draws = iter([one := free_port(), one, other := free_port()])
    monkeypatch.setattr("secrets.choice", lambda _: next(draws))
    ports = Ports(tmp_path)
    first = ports.choose("kafka", "Kafka", former=None, move=True)
    second = ports.choose("kafka-controller", "Kafka", former=None, move=True)
    assert (first, second) == (one, other)


def test_a_port_that_the_file_names_twice_is_chosen_again(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "ports.json").write_text(json.dumps({"kafka": port, "redis": port}))
    ports = Ports(tmp_path)
    assert (
        len({ports.choose(name, name, former=None, move=True) for name in ("kafka", "redis")}) == 2
    )


def test_zero_asks_for_any_port_and_keeps_it(tmp_path: Path) -> None:
    usual = free_port()
    ports = Ports(tmp_path, asked={"redis": 0}, first={"redis": usual})
    port = choose(ports)
    assert port != usual
    assert choose(ports) == port


def test_a_kept_port_in_use_is_given_up_aloud(tmp_path: Path) -> None:
    said: list[str] = []
    ports = Ports(tmp_path, say=said.append)
    former = choose(ports)
    with socket.create_server(("127.0.0.1", former)):
        with pytest.raises(PortTakenError, match=f"another program took its port {former}"):
            choose(ports, former=former, move=False)
        moved = choose(Ports(tmp_path, say=said.append))
    assert moved != former
    (line,) = said
    assert f"another program uses its port {former}; it moves to {moved}" in line
    assert choose(Ports(tmp_path)) == moved, "it does not move back and forth"


@pytest.mark.parametrize("text", ["", "[]", '{"redis": "x"}', '{"redis": 70000}', "{"])
def test_a_file_that_is_not_ours_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "ports.json").write_text(text)
    with pytest.raises(UsageError, match="remove it to choose ports again") as caught:
        choose(Ports(tmp_path))
    assert "\n" not in str(caught.value)


def test_ports_of_the_environment() -> None:
    assert embedded_ports({"JANGTEO_REDIS_PORT": " 6400 ", "JANGTEO_KAFKA_PORT": ""}) == {
        "redis": 6400
    }
    assert embedded_ports({"JANGTEO_POSTGRES_PORT": "0", "JANGTEO_KAFKA_PORT": "0"}) == {
        "postgres": 0,
        "kafka": 0,
    }
    for value in ("-1", "65536", "x"):
        with pytest.raises(UsageError, match="JANGTEO_KAFKA_PORT"):
            embedded_ports({"JANGTEO_KAFKA_PORT": value})
