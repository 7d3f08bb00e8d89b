"""The README's table of measured claims, written from the report between two markers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias

from benchmarks.common import Result
from benchmarks.reporting.charts import number
from benchmarks.reporting.pages import replaced
from benchmarks.reporting.run import Entry, Report

Lang: TypeAlias = Literal["en", "ko"]
PAGES: Final[Mapping[Lang, str]] = {"en": "README.md", "ko": "README.ko.md"}
BEGIN: Final = "<!-- measured: written by `python -m benchmarks readme` -->"


@dataclass(frozen=True)
class Claim:
    """A row of the table.

    Attributes:
        benchmark: its name in the report.
        claim: what is claimed.
        shown_by: what shows it, with a link.
        measured: the figures, with placeholders `{name}` for the value of a result and `{name_of}`
            for its ratio in per cent.
        results: name of a placeholder -> how the result's name begins.
    """

    benchmark: str
    claim: Mapping[Lang, str]
    shown_by: Mapping[Lang, str]
    measured: Mapping[Lang, str]
    results: Mapping[str, str] = field(default_factory=dict)


CLAIMS: Final = (
    Claim(
        "ingest",
        {"en": "the ingest is near the speed of COPY", "ko": "적재 속도가 COPY에 가깝습니다"},
        {
            "en": "[the same orders by COPY and by other tools](docs/throughput.md)",
            "ko": "[같은 주문을 COPY와 다른 도구로 적재](docs/throughput.md)",
        },
        {
            "en": "{all} orders/s, {all_of} of COPY; orders alone {lean}, {lean_of}",
            "ko": "초당 주문 {all}건, COPY의 {all_of}; 주문만 적재하면 {lean}건, {lean_of}",
        },
        {"all": "flows.ingest, full path, batch", "lean": "flows.ingest, orders only"},
    ),
    Claim(
        "kafka",
        {
            "en": "an outage of PostgreSQL loses no order, and an order is a row within a second",
            "ko": "PostgreSQL이 멈춰도 주문을 잃지 않고, 주문은 1초 안에 행이 됩니다",
        },
        {
            "en": "[the same orders with Kafka and without]"
            "(docs/throughput.md#with-kafka-and-without)",
            "ko": "[Kafka를 거칠 때와 거치지 않을 때](docs/throughput.md#with-kafka-and-without)",
        },
        {
            "en": "{lost} lost with Kafka, {direct} without; order to row at 1,000/s: p99 {row} ms",
            "ko": "유실: Kafka를 거치면 {lost}건, 거치지 않으면 {direct}건; 초당 1,000건일 때 "
            "주문에서 행까지 p99 {row} ms",
        },
        {
            "lost": "outage, lost, Kafka", "direct": "outage, lost, ",
            "row": "order to row p99, 1,000/s, Kafka",
        },
    ),
    Claim(
        "backfill",
        {"en": "a quarter of history takes a minute", "ko": "한 분기 치 이력을 1분 안에 씁니다"},
        {
            "en": "[the same rows by COPY](docs/history.md#measured)",
            "ko": "[같은 행을 COPY로 적재](docs/history.md#measured)",
        },
        {
            "en": "{orders} orders in {seconds} s, {rate_of} of COPY",
            "ko": "주문 {orders}건을 {seconds}초에, COPY의 {rate_of}",
        },
        {"orders": "backfill: orders", "seconds": "backfill: seconds", "rate": "backfill"},
    ),
    Claim(
        "realism",
        {"en": "customers behave like customers", "ko": "고객이 실제 고객처럼 행동합니다"},
        {
            "en": "[statistics against published ones](docs/realism.md#measured)",
            "ko": "[공개된 통계와 비교](docs/realism.md#measured)",
        },
        {
            "en": "{met} statistics of a year of history within their targets, {met_of} of all",
            "ko": "1년 이력의 통계 {met}개가 목표 범위 안, 전체의 {met_of}",
        },
        {"met": "statistics within their targets"},
    ),
    Claim(
        "grading",
        {
            "en": "all customers are graded faster than by one SQL statement",
            "ko": "SQL 문 하나보다 빠르게 모든 고객의 등급을 매깁니다",
        },
        {
            "en": "[full and incremental runs](docs/grading.md#measured)",
            "ko": "[전체 실행과 증분 실행](docs/grading.md#measured)",
        },
        {
            "en": "{full} s instead of {sql} s; {ours} s for what changed",
            "ko": "{sql}초 대신 {full}초, 변경분만이면 {ours}초",
        },
        {
            "ours": "Jangteo, incremental", "full": "Jangteo, full run",
            "sql": "one SQL statement",
        },
    ),
    Claim(
        "cache",
        {
            "en": "the cache spares PostgreSQL the generators' queries",
            "ko": "캐시가 PostgreSQL에 갈 생성기의 쿼리를 줄입니다",
        },
        {
            "en": "[statements counted with and without it](docs/database.md#what-the-cache-saves)",
            "ko": "[캐시가 있을 때와 없을 때 센 쿼리 수](docs/database.md#what-the-cache-saves)",
        },
        {
            "en": "{fewer} % fewer at 10 orders/s, {slow} % at the shop's own pace; "
            "a refresh takes {refresh} ms",
            "ko": "쿼리 감소: 초당 주문 10건일 때 {fewer} %, 기본 속도일 때 {slow} %; "
            "갱신 한 번에 {refresh} ms",
        },
        {
            "fewer": "fewer queries, customer and product by key, 10 orders/s, 10,000",
            "slow": "fewer queries, customer and product by key, 0.25 orders/s, 10,000",
            "refresh": "a refresh, 10,000",
        },
    ),
    Claim(
        "console",
        {"en": "the console is light", "ko": "콘솔이 가볍습니다"},
        {
            "en": "[kaskade and dolphie next to it](docs/console.md#what-it-costs)",
            "ko": "[kaskade, dolphie와 비교](docs/console.md#what-it-costs)",
        },
        {
            "en": "first paint in {paint} s, {cpu} % of a core",
            "ko": "첫 화면까지 {paint}초, 코어 하나의 {cpu} %",
        },
        {"paint": "ordinary: first paint", "cpu": "live: CPU"},
    ),
    Claim(
        "idle",
        {
            "en": "an idle shop leaves the machine alone",
            "ko": "유휴 쇼핑몰은 CPU를 거의 쓰지 않습니다",
        },
        {
            "en": "[CPU of every process](docs/throughput.md#an-idle-shop)",
            "ko": "[프로세스별 CPU](docs/throughput.md#an-idle-shop)",
        },
        {
            "en": "{all} % of a core in all processes together",
            "ko": "모든 프로세스를 합해 코어 하나의 {all} %",
        },
        {"all": "all processes"},
    ),
)  # fmt: skip
"""In the order of the table; a benchmark without figures in the report has no row."""

_HEAD: Final[Mapping[Lang, str]] = {
    "en": "| claim | shown by | measured |\n|---|---|---|",
    "ko": "| 주장 | 근거 | 측정값 |\n|---|---|---|",
}
_FOOT: Final[Mapping[Lang, str]] = {
    "en": "Measured {days} ({scales} scale) on {machines}, which broker, PostgreSQL and program "
    "share; load average before the runs {load}. [The report](benchmarks/report/report.md) has all "
    "figures, and which goals were missed.",
    "ko": "{days}에 브로커, PostgreSQL, 프로그램이 함께 쓰는 {machines}에서 측정했습니다"
    "({scales} 규모, 실행 전 load average {load}). "
    "[보고서](benchmarks/report/report.md)에 모든 수치와 달성하지 못한 목표가 있습니다.",
}


def block(report: Report, lang: Lang) -> str:
    """Return the table with its date and machine, without the markers."""
    used: list[Entry] = []
    rows = [_HEAD[lang]]
    for claim in CLAIMS:
        entry = report.get(claim.benchmark)
        if entry is None or (figures := _figures(claim, entry)) is None:
            continue
        used.append(entry)
        rows.append(
            f"| {claim.claim[lang]} | {claim.shown_by[lang]} | "
            f"{claim.measured[lang].format_map(figures)} |"
        )
    if not used:
        return ""
    to = {"en": " to ", "ko": "~"}[lang]
    foot = _FOOT[lang].format(
        days=_span((entry.at[:10] for entry in used), to),
        scales=", ".join(dict.fromkeys(entry.scale for entry in used)),
        machines="; ".join(dict.fromkeys(entry.machine for entry in used)),
        load=_span((f"{entry.load[0]:.1f}" for entry in used), to),
    )
    return "\n".join([*rows, "", foot])


def write(report: Report, root: Path) -> Iterator[Path]:
    """Write the table into each page; yield the pages that it changed.

    Args:
        report: where the figures are from.
        root: folder of the pages.
    """
    for lang, name in PAGES.items():
        path = root / name
        page = path.read_text(encoding="utf-8")
        new = replaced(page, BEGIN, block(report, lang))
        if new != page:
            path.write_text(new, encoding="utf-8")
            yield path


def _figures(claim: Claim, entry: Entry) -> dict[str, str] | None:
    """Return the texts of a claim's placeholders; None if the report lacks one."""
    texts = {}
    for name, prefix in claim.results.items():
        try:
            result = entry.find(prefix)
        except KeyError:
            return None
        texts[name] = number(result.value)
        texts[f"{name}_of"] = _percent(result)
    return texts


def _percent(result: Result) -> str:
    return "" if result.ratio is None else f"{100 * result.ratio:.0f} %"


def _span(values: Iterable[str], to: str) -> str:
    """Return the least and the greatest of texts, once if they are the same.

    >>> _span(["2026-11-29", "2026-11-29"], " to "), _span(["10.1", "0.4", "1.0"], " to ")
    ('2026-11-29', '0.4 to 10.1')
    """
    found = sorted(values, key=lambda text: (len(text), text))
    return found[0] if found[0] == found[-1] else f"{found[0]}{to}{found[-1]}"
