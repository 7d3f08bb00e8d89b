"""The output of `jangteo up`: a live status on a terminal, plain lines elsewhere."""

from __future__ import annotations

import abc
import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from console.translations import label
from jangteo.stack.observer import RecentOrder, ShopSample
from shop.clock import KST, utc_now
from shop.events import TOPICS
from shop.output import UnblockedOutput, escape, escape_in_lines
from shop.process_status import ProcessState, ProcessStatus

Lang = Literal["en", "ko"]
PLAIN_EVERY_S: Final = 5.0
_LIVE_PER_S: Final = 4
_STYLE: Final = {
    ProcessState.RUNNING.value: "green",
    ProcessState.BACKOFF.value: "red",
    ProcessState.STOPPING.value: "yellow",
    ProcessState.STOPPED.value: "dim",
}
_KOREAN: Final[Mapping[str, str]] = {
    "Jangteo  up {up}  speed {speed:g}": "장터  가동 {up}  속도 {speed:g}배",
    "  ends in {seconds:.0f} s": "  {seconds:.0f}초 뒤 종료",
    "waiting for the first order": "첫 주문을 기다리는 중",
    "processes  {running} of {all} running": "프로세스  {all}개 중 {running}개 실행 중",
    "none yet": "아직 없음",
    "pid": "PID",
    "up": "가동",
    "last exit": "마지막 종료",
    "published": "발행",
    "stored": "저장",
    "rejected": "거부",
    "rows in table": "테이블 행",
    "cache: waiting for its first refresh": "캐시: 첫 갱신을 기다리는 중",
    "away: {words}": "연결 안 됨: {words}",
    "stalled: {words}": "진행 없음: {words}",
    "logs in {folder}": "로그: {folder}",
    "Ctrl-C stops. In another terminal: {commands}": "Ctrl-C로 종료. 다른 터미널에서: {commands}",
}
"""The words of the live status that the console does not have."""


@dataclass(frozen=True)
class StatusView:
    """All that is shown. `ends_in`: seconds until the stack stops by itself; None: never."""

    data_dir: Path
    since: datetime
    speed: float
    lang: Lang
    ends_in: float | None
    servers: Sequence[str]
    statuses: Sequence[ProcessStatus]
    sample: ShopSample


class Screen(abc.ABC):
    """Where `jangteo up` writes text for people."""

    def __init__(self, console: ShopConsole) -> None:
        self._console = console

    def say(self, text: str) -> None:
        """Write one line; a closed terminal does not end the shop."""
        with contextlib.suppress(OSError):
            self._console.print(
                f"[{utc_now().astimezone(KST):%H:%M:%S} KST] {escape_in_lines(text)}",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )

    def finish(self) -> None:
        """Let others write to the terminal; what nobody reads is discarded."""
        self._console.finish()

    @abc.abstractmethod
    def show(self, view: Callable[[], StatusView]) -> None:
        """Show the status if it is time to; `view` is called only then."""

    @abc.abstractmethod
    def live(self) -> AbstractContextManager[object]:
        """Return the context in which `show` is called."""


class PlainScreen(Screen):
    """One line every few seconds."""

    def __init__(self, console: ShopConsole) -> None:
        super().__init__(console)
        self._due = time.monotonic() + PLAIN_EVERY_S

    def live(self) -> AbstractContextManager[object]:
        """Nothing to set up."""
        return nullcontext()

    def show(self, view: Callable[[], StatusView]) -> None:
        """Print the status line if it is due."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + PLAIN_EVERY_S
        with contextlib.suppress(OSError):
            self._console.print(plain_line(view()), markup=False, highlight=False, soft_wrap=True)


class LiveScreen(Screen):
    """A status that is drawn in place, with the messages above it."""

    def __init__(self, console: ShopConsole) -> None:
        super().__init__(console)
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._due = 0.0

    def live(self) -> AbstractContextManager[object]:
        """Keep the status at the bottom of the terminal while this lasts."""
        return _unless_gone(self._live)

    def show(self, view: Callable[[], StatusView]) -> None:
        """Draw, at most four times a second."""
        if time.monotonic() < self._due or self._console.behind:
            return
        self._due = time.monotonic() + 1 / _LIVE_PER_S
        with contextlib.suppress(OSError):
            self._live.update(fitted(view(), self._console), refresh=True)


@contextlib.contextmanager
def _unless_gone(live: Live) -> Iterator[None]:
    """Start and stop drawing; a closed terminal does not end the shop."""
    with contextlib.suppress(OSError):
        live.start()
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            live.stop()


class ShopConsole(Console):
    """Writes to standard output, or standard error, without ever waiting for its reader."""

    def __init__(self, *, stderr: bool) -> None:
        self._output = UnblockedOutput(sys.stderr if stderr else sys.stdout)
        super().__init__(file=self._output)  # type: ignore[arg-type]  # it has what Rich uses

    @property
    def behind(self) -> bool:
        """Whether text is not read yet."""
        return self._output.behind

    def finish(self) -> None:
        """Let others write to the terminal; what nobody reads is discarded."""
        self._output.finish()


def make(console: ShopConsole, *, plain: bool) -> Screen:
    """Return the screen that fits the console."""
    return LiveScreen(console) if console.is_terminal and not plain else PlainScreen(console)


def pairs(numbers: Mapping[str, int]) -> str:
    """Write counts by name.

    >>> pairs({"users": 1000, "orders": 12})
    'users=1,000, orders=12'
    """
    return ", ".join(f"{name}={number:,}" for name, number in numbers.items()) or "none yet"


def plain_line(view: StatusView) -> str:
    """Return the status in one line; it begins with the cache monitor line."""
    sample = view.sample
    up = sum(s.state == ProcessState.RUNNING.value for s in view.statuses)
    parts = [sample.monitor or "starting"]
    if account := sample.account:
        parts += [
            f"published: {pairs(account.published)}",
            f"stored: {pairs(account.stored)}",
            f"rejected: {sum(account.rejected.values())}",
            f"lag: {sample.lag}",
        ]
    parts.append(f"processes: {up}/{len(view.statuses)}")
    parts += [f"away: {words}" for words in sample.away]
    parts += [f"stalled: {words}" for words in sample.stalls]
    return escape(" | ".join(parts))


def fitted(view: StatusView, console: Console) -> RenderableType:
    """Return the status as it fits the terminal: what does not fit is cut, at the end.

    There is the line about what to type next. With little room (24 rows, say) the processes that
    run take one line, then fewer orders are shown.
    """
    whole = render(view)
    for most in (None, 5, 3, 1):
        shown = whole if most is None else render(view, brief=True, most_orders=most)
        if len(console.render_lines(shown, pad=False)) <= console.height:
            return shown
    return shown


def render(
    view: StatusView, *, brief: bool = False, most_orders: int | None = None
) -> RenderableType:
    """Return the live status.

    Args:
        view: what is shown.
        brief: whether to list only the processes that do not run.
        most_orders: number of orders to show; None shows all.
    """
    sample, lang = view.sample, view.lang
    head = _text("Jangteo  up {up}  speed {speed:g}", lang, up=_span(view.since), speed=view.speed)
    if view.ends_in is not None:
        head += _text("  ends in {seconds:.0f} s", lang, seconds=max(0.0, view.ends_in))
    monitor = sample.monitor or _text("cache: waiting for its first refresh", lang)
    grades = pairs(sample.grades) if sample.grades else _text("none yet", lang)
    table = brief_processes if brief else processes
    lines: list[RenderableType] = [
        Text(head, style="bold"),
        Text(escape("   ".join(view.servers)), style="dim"),
        *orders(sample, lang)[:most_orders],
        *table(view.statuses, lang),
        flow(sample, lang),
        Text(escape(f"{label('grades', lang)}  {grades}")),
        Text(escape(monitor), style="cyan"),
        *(Text(escape(_text("away: {words}", lang, words=w)), style="red") for w in sample.away),
        *(
            Text(escape(_text("stalled: {words}", lang, words=w)), style="red")
            for w in sample.stalls
        ),
        Text(_text("logs in {folder}", lang, folder=view.data_dir / "logs"), style="dim"),
        Text(
            _text(
                "Ctrl-C stops. In another terminal: {commands}",
                lang,
                commands="jangteo console, jangteo topics tail orders, jangteo psql, "
                "jangteo doctor",
            ),
            style="dim",
        ),
    ]
    return Group(*lines)


def _text(text: str, lang: Lang, **values: object) -> str:
    """Return a text in a language, with its values."""
    shown = _KOREAN.get(text) or label(text, lang) if lang == "ko" else text
    return shown.format(**values)


def orders(sample: ShopSample, lang: Lang) -> list[Text]:
    """Return the newest orders as sentences, a line each."""
    if not sample.orders:
        return [Text(_text("waiting for the first order", lang), style="dim")]
    return [Text(f"  {escape(sentence(order, lang))}") for order in sample.orders]


def sentence(order: RecentOrder, lang: Lang = "en") -> str:
    """Return who bought what for how much, and when.

    >>> from datetime import timezone
    >>> at = datetime(2026, 11, 23, 2, 45, 35, tzinfo=timezone.utc)
    >>> order = RecentOrder(7, "김서연", 9, "산뜻한 면 셔츠", 2, 74_800, "PAID", at)
    >>> sentence(order)
    '11:45:35 KST  김서연 bought 2 x 산뜻한 면 셔츠 for 74,800 KRW'
    >>> sentence(order, "ko")
    '11:45:35 KST  김서연 님이 산뜻한 면 셔츠 2개를 74,800원에 구매'
    >>> sentence(order._replace(customer=None, product=None, quantity=1, status="REFUNDED"))
    '11:45:35 KST  customer 7 bought product 9 for 74,800 KRW, refunded'
    """
    at = f"{order.ordered_at.astimezone(KST):%H:%M:%S} KST"
    if lang == "ko":
        who = order.customer or f"고객 {order.user_id}"
        what = order.product or f"상품 {order.product_id}"
        after = {"PAID": "", "CANCELLED": ", 취소됨", "REFUNDED": ", 환불됨"}
        text = f"{who} 님이 {what} {order.quantity}개를 {order.amount:,}원에 구매"
        return f"{at}  {text}{after.get(order.status, '')}"
    who = order.customer or f"customer {order.user_id}"
    what = order.product or f"product {order.product_id}"
    many = f"{order.quantity} x " if order.quantity > 1 else ""
    after_en = "" if order.status == "PAID" else f", {order.status.lower()}"
    return f"{at}  {who} bought {many}{what} for {order.amount:,} KRW{after_en}"


def processes(statuses: Sequence[ProcessStatus], lang: Lang = "en") -> list[RenderableType]:
    """Return the table of processes."""
    table = Table(box=None, pad_edge=False)
    for column in ("process", "state", "pid", "restarts", "up", "last exit"):
        right = column in {"pid", "restarts"}
        table.add_column(_text(column, lang), justify="right" if right else "left")
    for status in statuses:
        table.add_row(
            Text(escape(status.name)),
            Text(label(status.state, lang), style=_STYLE.get(status.state, "")),
            str(status.pid or ""),
            str(status.restarts or ""),
            _span(status.up_since) if status.up_since else "",
            Text(escape(status.last_exit or "")),
        )
    return [table]


def brief_processes(statuses: Sequence[ProcessStatus], lang: Lang = "en") -> list[RenderableType]:
    """Return the number of processes that run, and the table of the others."""
    others = [s for s in statuses if s.state != ProcessState.RUNNING.value]
    counts = {"running": len(statuses) - len(others), "all": len(statuses)}
    count = Text(_text("processes  {running} of {all} running", lang, **counts))
    return [count, *(processes(others, lang) if others else ())]


def flow(sample: ShopSample, lang: Lang = "en") -> Table:
    """Return the table of published and stored messages and of rows."""
    table = Table(box=None, pad_edge=False)
    table.add_column(_text("topic", lang))
    for column in ("published", "stored", "rejected", "lag", "rows in table"):
        table.add_column(_text(column, lang), justify="right")
    account = sample.account
    for topic in account.published if account else TOPICS:
        counts = (
            [account.published, account.stored, account.rejected, account.lag]
            if account
            else [{}, {}, {}, {}]
        )
        numbers = [*(c.get(topic) for c in counts), sample.rows.get(topic)]
        table.add_row(topic, *("" if n is None else f"{n:,}" for n in numbers))
    return table


def _span(since: datetime) -> str:
    seconds = max(0, int((utc_now() - since).total_seconds()))
    hours, rest = divmod(seconds, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"
