"""A process's own HTTP endpoint: `/metrics` for Prometheus, `/livez`, `/healthz`, `/readyz`.

Its address is written to `<data_dir>/metrics/NAME-PID.json` in the format of Prometheus's
file-based service discovery, so that one `file_sd_configs` entry finds every process of a stack on
any port. Nothing here ever disturbs the process that it reports on.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, Final, TypeAlias
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from shop.boot_clock import process_started
from shop.log import get_logger
from shop.private_files import write_private
from shop.retry import first_line
from shop.settings import Settings

FOLDER: Final = "metrics"
_SLOW_CLIENT_S: Final = 5.0
_ACCEPT_PAUSE_S: Final = 0.1

Check: TypeAlias = Callable[[], "HealthAnswer"]


@dataclass(frozen=True)
class HealthAnswer:
    """The answer of a health check: 200 if it is well, 503 otherwise; `facts` as JSON."""

    well: bool
    facts: dict[str, Any]


def alive() -> HealthAnswer:
    """Return the health of a process about which nothing is known but that it answers."""
    return HealthAnswer(well=True, facts={"pid": os.getpid()})


@dataclass(frozen=True)
class Endpoint:
    """A running endpoint."""

    url: str
    server: ThreadingHTTPServer
    record: Path | None
    """The discovery file, if it could be written."""

    def close(self) -> None:
        """Stop answering, and remove the discovery file."""
        self.server.shutdown()
        self.server.server_close()
        self.withdraw()

    def withdraw(self) -> None:
        """Remove the discovery file; that of a killed process is removed by the next process."""
        if self.record is not None:
            with contextlib.suppress(OSError):
                self.record.unlink(missing_ok=True)


def start(
    name: str,
    registry: CollectorRegistry,
    settings: Settings,
    *,
    live: Check | None = None,
    healthy: Check = alive,
    ready: Check = alive,
) -> Endpoint | None:
    """Serve a registry from a thread; if that fails, log it and return None.

    If METRICS_PORT is taken, that is logged and a free port is used: several processes may have
    the same environment.

    Args:
        name: name of the process, such as ``ingest``.
        registry: the metrics that `/metrics` shows.
        settings: host, port and data directory.
        live: answers `/livez`: whether the process needs no restart; `healthy` if None.
        healthy: answers `/healthz`: whether the process does its work.
        ready: answers `/readyz`.
    """
    handler = type("Handler", (_Handler,), {
        "registry": registry,
        "checks": {"/livez": live or healthy, "/healthz": healthy, "/readyz": ready},
    })  # fmt: skip
    server = _listen(settings, handler)
    if server is None:
        return None
    host, port = settings.metrics_host, server.server_address[1]
    endpoint = Endpoint(f"http://{host}:{port}", server, _publish(name, settings, port))
    atexit.register(endpoint.withdraw)
    try:
        threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    except RuntimeError as e:  # no thread to be had
        get_logger().warning("metrics: not served", error=first_line(e))
        endpoint.withdraw()
        server.server_close()
        return None
    get_logger().info("metrics", url=f"{endpoint.url}/metrics")
    return endpoint


def _listen(settings: Settings, handler: type[_Handler]) -> ThreadingHTTPServer | None:
    ports = (settings.metrics_port, 0) if settings.metrics_port else (0,)
    for port in ports:
        try:
            return _Server((settings.metrics_host, port), handler)
        except OSError as e:
            then = "a free port is used" if port else "this process has no metrics endpoint"
            get_logger().warning("metrics: cannot listen", host=settings.metrics_host, port=port,
                                 error=first_line(e), then=then)  # fmt: skip
    return None


def _publish(name: str, settings: Settings, port: int) -> Path | None:
    """Write the discovery file, and remove those of processes that are gone."""
    folder = settings.data_dir / FOLDER
    path = folder / f"{name}-{os.getpid()}.json"
    record = [{
        "targets": [f"{settings.metrics_host}:{port}"],
        "labels": {"process": name, "pid": str(os.getpid())},
    }]  # fmt: skip
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for other in folder.glob("*-*.json"):
            pid = other.stem.rpartition("-")[2]
            if pid.isdigit() and process_started(int(pid)) is None:
                other.unlink(missing_ok=True)
        # Not private: Prometheus may run as another user, and there is no secret in it.
        write_private(path, json.dumps(record), mode=0o644)
    except OSError as e:  # a read-only file system only costs the discovery
        get_logger().info("metrics: not published", folder=str(folder), error=first_line(e))
        return None
    return path


class _Server(ThreadingHTTPServer):
    """Answers each request by itself; an error in one does not affect the others."""

    daemon_threads = True

    def get_request(self) -> tuple[socket.socket, Any]:
        try:
            return super().get_request()
        except OSError:  # out of descriptors: the listener stays readable, do not spin
            time.sleep(_ACCEPT_PAUSE_S)
            raise

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  (the signature is socketserver's)
        get_logger().debug("metrics: a request got no answer", error=str(sys.exc_info()[1]))


class _Handler(BaseHTTPRequestHandler):
    registry: ClassVar[CollectorRegistry]
    checks: ClassVar[dict[str, Check]]
    timeout = _SLOW_CLIENT_S
    server_version = "jangteo"
    sys_version = ""

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        check = self.checks.get(path)
        if check is not None:
            health = check()
            code = HTTPStatus.OK if health.well else HTTPStatus.SERVICE_UNAVAILABLE
            self._answer(code, "application/json", json.dumps(health.facts).encode() + b"\n")
        elif path == "/metrics":
            encode, content_type = choose_encoder(self.headers.get("Accept", ""))
            self._answer(HTTPStatus.OK, content_type, encode(self.registry))
        else:
            known = b"/metrics /livez /healthz /readyz\n"
            self._answer(HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", known)

    def _answer(self, code: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Log nothing: a request every few seconds is not an event."""
