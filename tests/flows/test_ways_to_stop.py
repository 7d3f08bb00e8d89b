"""Every error that ends the ingest has its entry in the troubleshooting guide."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
ANYTHING = {"Error", "Exception"}  # psycopg's and Python's: known by the words, not by the type


def ends() -> tuple[set[str], set[str]]:
    """Return the types and messages of all errors that `shutdown.fail` gets."""
    types: set[str] = set()
    words: set[str] = set()
    for path in (ROOT / "flows").rglob("*.py"):
        for handler in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(handler, ast.ExceptHandler) or handler.type is None:
                continue
            calls = [
                n for n in ast.walk(handler)
                if isinstance(n, ast.Call) and ast.unparse(n.func) == "shutdown.fail"
            ]  # fmt: skip
            for call in calls:
                (what,) = [k.value for k in call.keywords if k.arg == "what"]
                words.add(ast.literal_eval(what))
                caught = handler.type
                every = caught.elts if isinstance(caught, ast.Tuple) else [caught]
                types |= {ast.unparse(one).rpartition(".")[2] for one in every}
    return types - ANYTHING, words


def test_every_way_to_stop_has_a_way_out() -> None:
    types, words = ends()
    assert {"LostOffsetsError", "OffsetGapError"} <= types
    assert all(w.startswith("ingest stopped") for w in words)
    rows = [line for line in GUIDE.splitlines() if line.startswith("|")]
    for name in types:
        assert any(row.startswith(f"| `{name}` |") for row in rows), name
    for text in words - {"ingest stopped"}:
        said = text.removeprefix("ingest stopped: ").partition(";")[0]
        assert any(f'"{said}"' in row for row in rows), said
