"""`jangteo up` as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

from shop import boot_clock, postgres, process_status
from shop import settings as shop_settings
from shop.process_status import ProcessStatus
from shop.settings import EMBEDDED_PORTS, stack_file
from tests.support import python_process
from tests.support.outside_servers import outside
from tests.support.waiting import wait_until


class UpProcess:
    """A `jangteo up` in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.data_dir = directory / ".jangteo"
        self.out = directory / "out"
        self.env = {
            **outside(),
            "XDG_STATE_HOME": str(directory / "state"),
            "JANGTEO_LANG": "en",
            **dict.fromkeys(EMBEDDED_PORTS.values(), "0"),  # several shops at once
        }
        self._directory = directory
        self.process: subprocess.Popen[str] | None = None

    def command(self, *args: str) -> list[str]:
        return [sys.executable, "-m", "jangteo.stack.up", "--data-dir", str(self.data_dir), *args]

    def start(self, *args: str, to: int | None = None) -> subprocess.Popen[str]:
        """Start it; its output goes to a file, or to the descriptor `to`."""
        with self.out.open("a") as out:
            self.process = python_process.Popen(
                self.command(*args),
                env=self.env,
                cwd=self._directory,
                stdout=out if to is None else to,
                stderr=subprocess.STDOUT,
                text=True,
            )
        return self.process

    def run(self, *args: str, timeout: float = 400) -> subprocess.CompletedProcess[str]:
        return python_process.run(
            self.command(*args),
            env=self.env,
            cwd=self._directory,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def wait_for(self, condition: Callable[[], Any], timeout: float = 240) -> None:
        def seen() -> Any:
            if not (found := condition()):
                assert self.process
                assert self.process.poll() is None, self.said()
            return found

        wait_until(seen, self.said, timeout)

    def kill_and_see_it_back(self, name: str) -> None:
        """kill -9 one process of the shop; wait until it is back and orders come in again."""
        killed = self.statuses()[name].pid
        assert killed
        os.kill(killed, signal.SIGKILL)
        self.wait_for(lambda: self.statuses()[name].pid not in {None, killed})
        assert self.statuses()[name].restarts >= 1
        self.wait_for(lambda: self.orders() >= 0)
        reached = self.orders()
        self.wait_for(lambda: self.orders() > reached)

    def said(self) -> str:
        logs = sorted((self.data_dir / "logs").glob("*.log"))
        tails = [f"--- {log.name}\n{log.read_text(errors='replace')[-800:]}" for log in logs]
        return "\n".join([self.out.read_text() if self.out.exists() else "", *tails])

    def statuses(self) -> dict[str, ProcessStatus]:
        return {s.name: s for s in process_status.read_snapshot(self.data_dir)}

    def pids(self) -> list[int]:
        return [s.pid for s in self.statuses().values() if s.pid]

    def orders(self) -> int:
        return self.rows("orders")

    def rows(self, table: str) -> int:
        """The rows of a table; -1 if it cannot be asked yet."""
        try:
            with self.connect() as conn:
                row = conn.execute(f"SELECT count(*) FROM {table}").fetchone()
        except psycopg.Error:
            return -1
        return int(row[0]) if row else 0

    def connect(self) -> postgres.Connection:
        found = stack_file.read_stack(self.data_dir)
        if found is None:
            raise psycopg.OperationalError("no stack yet")
        settings = shop_settings.load(found.env, use_stack=False)
        return postgres.connect(settings.postgres, "test", autocommit=True)


def gone(pids: list[int]) -> bool:
    return not any(boot_clock.process_started(pid) for pid in pids)
