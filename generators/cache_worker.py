"""`python -m generators.cache_worker`: see `generators.cache.worker`."""

from __future__ import annotations

import sys

from generators.cache import worker
from shop import command

if __name__ == "__main__":
    sys.exit(
        command.main(
            worker.configure,
            worker.run,
            prog="python -m generators.cache_worker",
            description=worker.__doc__,
        )
    )
