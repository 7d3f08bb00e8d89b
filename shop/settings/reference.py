"""Write `deploy/.env.example` and the tables of docs/configuration.md from the variables.

Run `python -m shop.settings.reference` in a checkout after a change to `shop.settings.variables`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from shop.settings.variable import Variable
from shop.settings.variables import SECTIONS

_WIDTH: Final = 99
_HEAD: Final = """\
# Every variable that Jangteo reads; generated from shop/settings/variables.py.
# A line that is commented out shows the value that applies when the variable is not set.
# With a running `jangteo up`, none is needed: commands find its servers.
# Copy to deploy/.env and remove the # of what you change.
"""
BEGIN: Final = "<!-- begin: generated from shop/settings/variables.py -->"
END: Final = "<!-- end: generated -->"


def env_example() -> str:
    """Return the text of `deploy/.env.example`."""
    lines = [_HEAD.rstrip()]
    for title, section in SECTIONS.items():
        lines += ["", f"# --- {title} {'-' * (_WIDTH - len(title) - 7)}"]
        for variable in section:
            lines += _example(variable)
    return "\n".join(lines) + "\n"


def _example(variable: Variable[Any]) -> Iterator[str]:
    choices = variable.kind.expects if variable.kind.expects.startswith("one of") else ""
    about = f"{variable.meaning} {choices.capitalize()}{choices and '.'}".strip()
    yield from textwrap.wrap(
        about, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False
    )
    value = variable.example or variable.default
    yield f"{'' if variable.example else '#'}{variable.name}={value}"
    if variable.secret:
        yield "# Or a file that holds it."
        yield f"#{variable.name}_FILE="


def markdown() -> str:
    """Return the tables of docs/configuration.md."""
    lines = [BEGIN]
    for title, section in SECTIONS.items():
        lines += ["", f"## {title}", "", "| Variable | Default | Value | Read by | Meaning |"]
        lines += ["|---|---|---|---|---|"]
        for variable in section:
            names = f"`{variable.name}`" + f", `{variable.name}_FILE`" * variable.secret
            default = f"`{variable.default}`" if variable.default else ""
            cells = (names, default, variable.kind.expects, ", ".join(variable.readers) or "all",
                     variable.meaning)  # fmt: skip
            lines.append(f"| {' | '.join(cells)} |".replace("  ", " "))
    return "\n".join([*lines, "", END])


def with_tables(page: str) -> str:
    """Return a page with its generated part replaced."""
    before, _, rest = page.partition(BEGIN)
    return before + markdown() + rest.partition(END)[2]


def main() -> None:
    """Write both files."""
    root = Path(__file__).parents[2]
    (root / "deploy/.env.example").write_text(env_example(), encoding="utf-8")
    page = root / "docs/configuration.md"
    page.write_text(with_tables(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
