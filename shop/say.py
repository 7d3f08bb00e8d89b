"""What a command answers to a person or a script: the one place that prints."""

from __future__ import annotations

import sys
from typing import TextIO


def say(*words: object, end: str = "\n", to: TextIO | None = None) -> None:
    """Print words, a space between them, at once.

    Args:
        words: what to say.
        end: what follows.
        to: `sys.stdout` of this moment by default.

    Raises:
        BrokenPipeError: if nobody reads any more.
    """
    print(*words, end=end, file=to or sys.stdout, flush=True)
