"""The option ``--with``, which switches optional topics on."""

from __future__ import annotations

import argparse

from shop.optional.registry import SWITCHES, topics_of


def switches(text: str) -> tuple[str, ...]:
    """Return the topics that words bring, for argparse.

    >>> switches("shipments, shipments")
    ('shipments',)

    Raises:
        argparse.ArgumentTypeError: if a word is not one of `SWITCHES`.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    wrong = [word for word in words if word not in SWITCHES]
    if wrong or not words:
        shown = repr(wrong[0] if wrong else text)
        raise argparse.ArgumentTypeError(f"{shown}: expected some of {', '.join(SWITCHES)}")
    return topics_of(words)


def add_with(parser: argparse.ArgumentParser, what: str) -> None:
    """Add the option; its value is a tuple of names of topics.

    Args:
        parser: of a command.
        what: what the command does with them, an imperative for the help.
    """
    parser.add_argument(
        "--with", dest="topics", type=switches, default=(),
        metavar="WORD[,WORD]",
        help=f"{what}: {', '.join(SWITCHES)} (docs/optional-topics.md)",
    )  # fmt: skip
