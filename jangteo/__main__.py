"""`python -m jangteo`: the `jangteo` command."""

from __future__ import annotations

import sys

from jangteo.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
