"""The console in a browser of this machine: one read-only console per visitor, on loopback."""

from __future__ import annotations

import argparse
import shlex
import socket
import sys
import tempfile
from pathlib import Path
from typing import Final

from shop.errors import ExitCode, UsageError
from shop.output import say
from shop.settings import Settings

HOST: Final = "127.0.0.1"
"""Nobody on another machine is let in; for those on this one see `console.web.visitors`."""
_FONT: Final = "https://fonts.googleapis.com"
"""The page's only way out; without the network the browser's own fonts do."""


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Serve until stopped.

    Raises:
        UsageError: if the extra is not installed, or the port is taken.
    """
    _ = settings.redis_url, settings.postgres, settings.kafka
    try:
        from aiohttp import web  # noqa: PLC0415  (an extra)
        from textual_serve.server import Server  # noqa: PLC0415  (only with --serve, an extra package)

        from console.web.visitors import Visitors  # noqa: PLC0415  (needs aiohttp)
    except ImportError:
        raise UsageError("--serve needs the extra: pip install 'jangteo[serve]'") from None

    class QuietServer(Server):
        def initialize_logging(self) -> None:
            """Nothing: its log shows values of local variables."""

        async def on_startup(self, app: web.Application) -> None:
            """Nothing: it would print the command, and an address without a token."""

        async def _make_app(self) -> web.Application:
            app = await super()._make_app()
            # Only now is it served: the first address can be opened as soon as it is read.
            visitors = Visitors(HOST, port, lambda url: say(url, to=sys.stderr))
            app.middlewares.append(visitors.guard)
            return app

    port = args.port or _free_port()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as e:
            raise UsageError(f"cannot serve on {HOST}:{port}: {e.strerror}") from None
    with tempfile.TemporaryDirectory(prefix="jangteo-console-") as folder:
        server = QuietServer(
            shlex.join(command_line(args)), host=HOST, port=port, title="Jangteo console"
        )
        server.templates_path = offline(Path(server.templates_path), Path(folder))
        say("the console, read-only, for one browser an address (Ctrl-C stops):", to=sys.stderr)
        server.serve()
    return ExitCode.OK


def command_line(args: argparse.Namespace) -> list[str]:
    """Return the command that each visitor gets."""
    words = [sys.executable, "-m", "console", "--served", "--lang", args.lang]
    if args.data_dir:
        words += ["--data-dir", str(args.data_dir)]
    if args.theme:
        words += ["--theme", args.theme]
    return [*words, "--ascii"] if args.ascii else words


def offline(templates: Path, folder: Path) -> Path:
    """Copy the page's template without what it would fetch from elsewhere."""
    for path in templates.iterdir():
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        text = "".join(lines)
        while (at := text.find(_FONT)) >= 0:
            start, end = text.rfind("<link", 0, at), text.find(">", at)
            text = text[:start] + text[end + 1 :]
        (folder / path.name).write_text(text, encoding="utf-8")
    return folder


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
