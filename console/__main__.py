"""`python -m console`."""

from __future__ import annotations

import gc
import sys

gc.disable()  # what is imported stays: looking through it for garbage is a tenth of the time

from console import cli  # noqa: E402  (see above)
from shop import command  # noqa: E402

gc.freeze()
gc.enable()

if __name__ == "__main__":
    sys.exit(
        command.main(cli.configure, cli.run, prog="python -m console", description=cli.__doc__)
    )
