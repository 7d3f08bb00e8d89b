"""`python -m console`."""

from __future__ import annotations

import sys

from shop import command

if __name__ == "__main__":
    cli = command.load("console.cli")
    sys.exit(
        command.main(cli.configure, cli.run, prog="python -m console", description=cli.__doc__)
    )
