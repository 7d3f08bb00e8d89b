"""Runs the compose file with a real engine, under a project name of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shop import settings as shop_settings
from shop.ingest_progress import ProgressReader
from shop.settings import Settings
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
STANDINS = Path(__file__).parent / "standins"
PROJECT = "jangteo-test"
# Ports other than those of a stack that runs with the defaults.
POSTGRES_PORT, REDIS_PORT, PROMETHEUS_PORT = "15432", "16379", "19090"
SETTINGS = {
    "POSTGRES_HOST_PORT": POSTGRES_PORT,
    "REDIS_HOST_PORT": REDIS_PORT,
    "PROMETHEUS_HOST_PORT": PROMETHEUS_PORT,
    "JANGTEO_TAG": "test",
    "SHOP_SPEED": "5",
    "SEED_USERS": "3000",
    "SEED_PRODUCTS": "1500",
}
KEEP = bool(os.environ.get("COMPOSE_KEEP"))
"""For work on these tests: the stack keeps running, and the next run uses it as it is."""


def settings() -> Settings:
    """The environment for commands on this machine, which use the published ports."""
    env = {
        "KAFKA_BOOTSTRAP_SERVERS": "localhost:9092,localhost:9093,localhost:9094",
        "POSTGRES_HOST": "127.0.0.1",
        "POSTGRES_PORT": POSTGRES_PORT,
        "REDIS_URL": f"redis://127.0.0.1:{REDIS_PORT}/0",
    }
    return shop_settings.load(env, use_stack=False)


def missing() -> str:
    """Return why the stack cannot run here, in one line; empty if it can."""
    docker = shutil.which("docker")
    if not docker:
        return "no `docker` here"
    if subprocess.run([docker, "info"], capture_output=True, check=False).returncode:
        return "no Docker engine answers"
    if subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        return "no `docker compose` here"
    return ""


def docker(*words: str, check: bool = True) -> str:
    """Return the output of a docker command; if it fails, raise with the end of its output."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise AssertionError(f"docker {' '.join(words)}: {done.stderr[-2000:]}")
    return done.stdout + (done.stderr if words[0] == "logs" else "")


def _paused(name: str) -> bool:
    """Try to pause a container; return whether it is paused."""
    docker("pause", name, check=False)
    return docker("inspect", "--format", "{{.State.Paused}}", name).strip() == "true"


class ComposeStack:
    """All services. With COMPOSE_STANDINS=1, missing images are built instead of pulled."""

    def __init__(self) -> None:
        self.standins = os.environ.get("COMPOSE_STANDINS") == "1"
        files = [DEPLOY / "docker-compose.yml", *([STANDINS / "compose.yml"] * self.standins)]
        kept = {k: v for k, v in os.environ.items() if re.match("PATH$|HOME$|DOCKER_", k)}
        self.env = {
            **kept,
            **SETTINGS,
            "COMPOSE_PROJECT_NAME": PROJECT,
            "COMPOSE_FILE": os.pathsep.join(map(str, files)),
            "COMPOSE_ENV_FILES": os.devnull,
        }
        """The environment with which the guides' commands, typed in `deploy/`, use this stack."""
        self.config: dict[str, Any] = json.loads(self.compose("config", "--format", "json"))

    def compose(self, *words: str, timeout: float = 600) -> str:
        done = subprocess.run(
            ["docker", "compose", *words], cwd=DEPLOY, env=self.env,
            capture_output=True, text=True, check=False, timeout=timeout,
        )  # fmt: skip
        if done.returncode:
            raise AssertionError(f"docker compose {' '.join(words)}: {done.stderr[-4000:]}")
        return done.stdout

    @property
    def services(self) -> set[str]:
        """The names of the long-running services."""
        return set(self.config["services"]) - {"init"}

    @property
    def containers(self) -> set[str]:
        return {s["container_name"] for s in self.config["services"].values()}

    def up(self) -> None:
        if KEEP and self.state():
            return
        if taken := self.containers & set(docker("ps", "-a", "--format", "{{.Names}}").split()):
            raise AssertionError(f"containers of these names are here already: {', '.join(taken)}")
        if self.standins:
            every = json.loads(self.compose("--profile", "*", "config", "--format", "json"))
            images = {s["image"] for s in every["services"].values()}
            # Of Grafana there is no package to make one of.
            named = sorted(i for i in images if not i.startswith(("jangteo", "grafana/")))
            subprocess.run(
                [str(STANDINS / "build.sh"), "python:3.11-slim-bookworm", *named], check=True
            )
        self.compose("build", "init", timeout=1200)
        self.compose("up", "-d", "--no-build")

    def down(self) -> None:
        self.compose("--profile", "*", "down", "-v", "--timeout", "30")

    def state(self) -> dict[str, str]:
        """Return the state of each service's container, such as ``running healthy``."""
        lines = self.compose("ps", "-a", "--format", "json").splitlines()
        rows = [json.loads(line) for line in lines if line.strip()]
        return {r["Service"]: f"{r['State']} {r['Health']}".strip() for r in rows}

    def all_healthy(self, more: Iterable[str] = ()) -> bool:
        state = self.state()
        return all(state.get(s) == "running healthy" for s in (*self.services, *more))

    def groups(self) -> dict[str, tuple[int, int]]:
        """Return the members and the lag of each topic's consumer group."""
        progress = ProgressReader(settings(), "test")
        try:
            seen = progress.look().topics
        finally:
            progress.close()
        return {
            name: (len(topic.members or ()), -1 if topic.lag is None else topic.lag)
            for name, topic in seen.items()
        }

    def settled(self) -> bool:
        return all(g == (3, 0) for g in self.groups().values())

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Pause the publishers: with them, an order or two are always in flight."""
        publishing = ("producer", "user_generator")
        try:
            for name in publishing:
                # On a busy machine Docker may not freeze all threads at once ("unable to freeze").
                wait_until(lambda name=name: _paused(name), lambda: docker("ps"), 60)
            yield
        finally:
            for name in publishing:
                docker("unpause", name, check=False)

    def leftovers(self) -> list[str]:
        """Return the containers, volumes and networks of this project."""
        label = f"label=com.docker.compose.project={PROJECT}"
        return [
            line
            for words in (["ps", "-a"], ["volume", "ls"], ["network", "ls"])
            for line in docker(*words, "-q", "--filter", label).split()
        ]
