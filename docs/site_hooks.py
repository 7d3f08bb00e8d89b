"""Hooks of the documentation site: pages of the repository's root, and links to its sources.

README, CONTRIBUTING, CHANGELOG and SECURITY lie in the root, where readers of a repository look
for them; the site shows them as pages. Links of pages to sources, which the site does not have,
become the name of the file.
"""

from __future__ import annotations

import posixpath
import re
import shutil
from pathlib import Path
from typing import Final

from mkdocs.config.defaults import MkDocsConfig

ROOT: Final = Path(__file__).parents[1]
FROM_ROOT: Final = {
    "README.md": "index.md",
    "README.ko.md": "index.ko.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "vulnerabilities.md",
}
"""File of the root -> page of the site."""
_LINK: Final = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
_FENCE: Final = re.compile(r"^```(\w+) [^\n]*$", re.MULTILINE)
"""A block of code with the name of the test that runs it, which the site does not know."""
_LANGUAGES: Final = re.compile(r"^\[(?:English|한국어)\]\(README(?:\.ko)?\.md\)\n+", re.MULTILINE)
"""The site has a switch for that."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Collect the pages in `build/pages`, with links that hold there, and build from it."""
    pages = ROOT / "build" / "pages"
    shutil.rmtree(pages, ignore_errors=True)
    shutil.copytree(ROOT / "docs", pages, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    for path in pages.rglob("*.md"):
        path.write_text(relinked(path.read_text(encoding="utf-8"), "docs"), encoding="utf-8")
    for name, page in FROM_ROOT.items():
        text = relinked((ROOT / name).read_text(encoding="utf-8"), "")
        (pages / page).write_text(text, encoding="utf-8")
    config.docs_dir = str(pages)
    return config


def relinked(text: str, folder: str) -> str:
    """Return a page whose links lead to pages of the site; others become text.

    >>> relinked("[a](docs/kafka.md#b) [c](shop/errors.py) [d](../README.md)", "")
    '[a](kafka.md#b) `c` [d](../README.md)'
    >>> relinked("[e](../README.ko.md) [f](kafka.md) [`g`](../deploy/x.yml)", "docs")
    '[e](index.ko.md) [f](kafka.md) `g`'
    """

    def link(match: re.Match[str]) -> str:
        mark, label, target = match.groups()
        path, hash_, anchor = target.partition("#")
        if "://" in target or not path:
            return match[0]
        there = posixpath.normpath(posixpath.join(folder, path))
        if there.startswith(".."):
            return match[0]
        inside = FROM_ROOT.get(there) or there.removeprefix("docs/") * there.startswith("docs/")
        if inside:
            return f"{mark}[{label}]({inside}{hash_}{anchor})"
        return label if label.startswith("`") else f"`{label}`"

    return _LINK.sub(link, _FENCE.sub(r"```\1", _LANGUAGES.sub("", text)))
