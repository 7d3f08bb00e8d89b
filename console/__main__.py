"""`python -m console`."""

from __future__ import annotations

import sys

from shop.cli import load

if __name__ == "__main__":
    cli = load("console.cli")
    from shop import command

    sys.exit(
        command.main(cli.configure, cli.run, prog="python -m console", description=cli.__doc__)
    )
