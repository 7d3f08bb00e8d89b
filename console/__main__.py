"""`python -m console`."""

from __future__ import annotations

import sys

from console import cli
from shop import command

if __name__ == "__main__":
    sys.exit(
        command.main(cli.configure, cli.run, prog="python -m console", description=cli.__doc__)
    )
