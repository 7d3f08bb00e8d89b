"""Expands a query as Grafana does before PostgreSQL sees it, by its documentation."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime

from shop.clock import UTC

_EVERY = {
    "scenario": "DISTINCT scenario FROM sales_by_hour",
    "category": "DISTINCT category FROM sales_by_category",
    "grade": "unnest(ARRAY['BRONZE', 'SILVER', 'GOLD', 'VIP', 'VVIP'])",
}
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
# A macro's arguments end at the first closing parenthesis: Grafana does not nest them.
_VARIABLE = re.compile(r"\$\{(\w+):sqlstring\}")
_MACRO = re.compile(r"\$(__\w+)\(([^)]*)\)")


def expand(
    query: str,
    since: datetime,
    until: datetime,
    interval: str = "1m",
    chosen: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """Fill in the variables of the page, then the macros of the PostgreSQL data source.

    Args:
        chosen: the values of the page's filters, by name; one that is not there has the column's
            own value, as all are chosen.
    """
    chosen = chosen or {}
    query = query.replace("$target", chosen.get("target", ["5"])[0])

    def values(match: re.Match[str]) -> str:
        if match[1] not in chosen:
            return f"SELECT {_EVERY[match[1]]}"
        return ",".join("'" + v.replace("'", "''") + "'" for v in chosen[match[1]])

    query = _VARIABLE.sub(values, query)
    query = query.replace("$__interval_ms", str(_seconds(interval) * 1000))
    query = query.replace("$__interval", interval)
    low, high = (t.astimezone(UTC).strftime("'%Y-%m-%dT%H:%M:%SZ'") for t in (since, until))

    def macro(match: re.Match[str]) -> str:
        name, arguments = match[1], [a.strip() for a in match[2].split(",")]
        if name == "__timeFilter":
            return f"{arguments[0]} BETWEEN {low} AND {high}"
        if name == "__timeFrom":
            return low
        if name == "__timeTo":
            return high
        if name == "__timeGroup":
            seconds = _seconds(arguments[1].strip("'\""))
            return f"floor(extract(epoch from {arguments[0]})/{seconds})*{seconds}"
        raise AssertionError(f"no macro of Grafana's that is known here: {match[0]}")

    expanded = _MACRO.sub(macro, query)
    assert "$" not in expanded, expanded
    return expanded


def _seconds(interval: str) -> int:
    return int(interval[:-1]) * _SECONDS[interval[-1]]
