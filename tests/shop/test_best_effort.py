"""Writers that only inform never end a process: a failure and its end are reported once each."""

from __future__ import annotations

import contextlib
import resource
import socket
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from console.recording.recorder import Recorder
from console.recording.recording import Recording
from console.snapshot.model import Snapshot
from jangteo.stack.supervisor import ProcessSpec, Supervisor
from shop import metrics_endpoint
from shop.best_effort import BestEffort
from shop.process_status import ProcessState, read_snapshot
from shop.settings import load
from tests.support.waiting import wait_until


@contextlib.contextmanager
def no_descriptors() -> Iterator[None]:
    """Nothing more can be opened; what is open stays."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    made = Supervisor(tmp_path / "data")
    yield made
    made.kill()


SLEEPER = ProcessSpec("sleeper", [sys.executable, "-c", "import time; time.sleep(60)"], {})


def test_each_of_two_reports_comes_once() -> None:
    said: list[str] = []
    writing = BestEffort("it", report=said.append)

    def fail() -> None:
        raise OSError(28, "No space left on device")

    assert [writing.attempt(w) for w in (fail, fail, lambda: None, lambda: None)] == [
        *(False, False, True, True)
    ]
    assert len(said) == 2
    assert "No space left on device" in said[0]


def test_a_data_directory_that_cannot_be_written_costs_status_and_log(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    (tmp_path / "data").write_text("in the way")
    supervisor.start(SLEEPER)
    for _ in range(3):
        supervisor.write_snapshot(force=True)
    said = supervisor.poll()
    assert len(said) == 1
    assert "cannot write processes.json" in said[0]
    assert [s.state for s in supervisor.snapshot()] == [ProcessState.RUNNING.value]
    (tmp_path / "data").unlink()
    supervisor.write_snapshot(force=True)
    assert [s.name for s in read_snapshot(tmp_path / "data")] == ["sleeper"]
    assert supervisor.poll() == ["processes.json can be written again"]


def test_a_process_that_cannot_be_started_is_tried_again(supervisor: Supervisor) -> None:
    supervisor.start(SLEEPER)  # what is imported late is there now
    supervisor.kill()
    with no_descriptors():
        supervisor.start(SLEEPER)
        said = supervisor.poll()
    assert any("cannot be started" in text for text in said)
    assert supervisor.snapshot()[0].state == ProcessState.BACKOFF.value
    wait_until(supervisor.poll, "a message")
    assert supervisor.snapshot()[0].state == ProcessState.RUNNING.value


def test_a_metrics_endpoint_out_of_descriptors_answers_later(tmp_path: Path) -> None:
    settings = load({"JANGTEO_DATA_DIR": str(tmp_path)}, use_stack=False)
    endpoint = metrics_endpoint.start("test", CollectorRegistry(), settings)
    assert endpoint is not None
    try:
        with socket.socket() as visitor:
            visitor.settimeout(30)
            with no_descriptors():
                visitor.connect(("127.0.0.1", endpoint.server.server_address[1]))
                visitor.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
                time.sleep(0.3)
            assert visitor.recv(100).startswith(b"HTTP/1.0 200")
    finally:
        endpoint.close()


def test_a_recording_on_a_full_disk_resumes(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "r.rec")

    def record(first: int, count: int) -> None:
        for i in range(first, first + count):
            recorder.write(Snapshot(sequence=i, at=datetime.fromtimestamp(i, timezone.utc)))

    record(1, 3)
    pages = recorder._db.execute("PRAGMA page_count").fetchone()[0]
    recorder._db.execute(f"PRAGMA max_page_count = {pages}")
    record(10, 500)
    recorder._db.execute("PRAGMA max_page_count = 1000000")
    record(1_000, 3)
    recorder.close()
    found = [at.timestamp() for at in Recording(tmp_path / "r.rec").times]
    assert found[:3] == [1, 2, 3]
    assert found[-3:] == [1_000, 1_001, 1_002]
    assert len(found) < 506, "the disk was full for a while"
    assert all(s is not None for s in Recording(tmp_path / "r.rec"))
