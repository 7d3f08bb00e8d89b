"""How things look: glyphs, words, charts as text. Pure; knows no widget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from console.model import Lag
from console.reading import State
from console.verdict import Health, Phase

OK: Final = "$success"
WARN: Final = "$warning"
BAD: Final = "bold $error"
DIM: Final = "$dim"
BOLD: Final = "bold"
ACCENT: Final = "$accent"
BAR: Final = "$primary"


@dataclass(frozen=True)
class Glyphs:
    """Characters; each is one cell wide, and none has an emoji form."""

    ok: str
    warn: str
    bad: str
    unknown: str
    full: str
    empty: str
    rule: str
    dash: str
    more: str
    spark: str
    """From nothing to full."""
    rising: str
    falling: str


FINE: Final = Glyphs("●", "▲", "■", "○", "█", "·", "─", "—", "…", " ▁▂▃▄▅▆▇█", "▲", "▼")
ASCII: Final = Glyphs("*", "!", "X", "?", "#", ".", "-", "-", ".", " .:-=+*#@", "^", "v")

KOREAN: Final = {
    # titles
    "Flow": "흐름",
    "Partitions": "파티션",
    "Cache": "캐시",
    "Redis": "Redis",
    "Refreshes": "캐시 갱신 이력",
    "Grades": "등급",
    "Processes": "프로세스",
    "Events": "이벤트",
    "Groups": "컨슈머 그룹",
    "Top spenders": "최근 지출 상위",
    "Grade changes": "등급 변경",
    "Dead letters": "거부된 메시지",
    "By reason": "사유별",
    "Message": "메시지",
    "Help": "도움말",
    "Actions": "동작",
    # tabs
    "Overview": "개요",
    "Kafka": "Kafka",
    "Customers": "고객",
    "Log": "로그",
    "Procs": "프로세스",
    "DLQ": "DLQ",
    # states
    "all ok": "모두 정상",
    "ok": "정상",
    "stale": "지연",
    "down": "끊김",
    "loading": "연결 중",
    "degraded": "주의",
    "unreachable": "연결 불가",
    "unknown": "모름",
    "warn": "주의",
    "stall": "멈춤",
    "stop": "중단",
    "rewind": "되감김",
    "lost": "유실",
    "running": "실행",
    "waiting": "대기",
    "refreshing": "갱신 중",
    "overdue": "지연됨",
    "failed": "실패",
    "stopped": "정지",
    "backoff": "재시작 대기",
    "restarting": "재시작 중",
    "grading": "산정 중",
    "silent": "응답 없음",
    "gone": "사라짐",
    "paused": "일시정지",
    "PAUSED": "일시정지",
    "READ-ONLY": "읽기 전용",
    "REPLAY": "재생",
    "rec": "녹화",
    "off": "끔",
    # labels
    "in": "유입",
    "out": "처리",
    "lag": "지연",
    "drain": "소진",
    "memory": "메모리",
    "ops": "초당 명령",
    "hit": "적중",
    "ever": "전체",
    "evicted": "제거",
    "clients": "접속",
    "users": "고객",
    "products": "상품",
    "replaced": "교체",
    "duration": "소요",
    "orders": "주문",
    "spend": "매출",
    "customers": "고객",
    "last run": "최근 산정",
    "changed": "변경",
    "members": "멤버",
    "restarts": "재시작",
    "beat": "응답",
    "up": "가동",
    "open": "미처리",
    "total": "합계",
    "reset": "초기화",
    "since": "부터",
    "connecting": "연결 중",
    "try": "시도",
    "next in": "다음",
    "none": "없음",
    "last minutes": "최근 분",
    "scenarios": "시나리오",
    "filter": "필터",
}


@dataclass(frozen=True)
class Look:
    """Language and glyphs."""

    lang: Literal["en", "ko"] = "en"
    ascii: bool = False

    @property
    def glyphs(self) -> Glyphs:
        """The characters to draw with."""
        return ASCII if self.ascii else FINE

    def __call__(self, word: str) -> str:
        """Return a word in the chosen language.

        >>> Look("ko")("Cache"), Look("en")("Cache"), Look("ko")("no such word")
        ('캐시', 'Cache', 'no such word')
        """
        return KOREAN.get(word, word) if self.lang == "ko" else word


def style_of_state(state: State) -> str:
    """Return the style of a reading's state."""
    return {State.OK: OK, State.STALE: WARN, State.DOWN: BAD}.get(state, DIM)


def style_of_lag(lag: Lag) -> str:
    """Return the style of a verdict."""
    return {Lag.OK: OK, Lag.WARN: WARN, Lag.UNKNOWN: DIM}.get(lag, BAD)


def style_of_health(health: Health) -> str:
    """Return the style of the whole."""
    return {Health.OK: OK, Health.DEGRADED: WARN, Health.UNREACHABLE: BAD}.get(health, DIM)


def style_of_phase(phase: Phase) -> str:
    """Return the style of the cache's countdown."""
    styles = {Phase.WAITING: OK, Phase.REFRESHING: ACCENT, Phase.OVERDUE: WARN, Phase.FAILED: BAD}
    return styles.get(phase, DIM)


def mark(style: str, glyphs: Glyphs) -> str:
    """Return the glyph that says the same as a style, for those who see no colours."""
    return {OK: glyphs.ok, ACCENT: glyphs.ok, WARN: glyphs.warn, BAD: glyphs.bad}.get(
        style, glyphs.unknown
    )


def bar(share: float, cells: int, glyphs: Glyphs) -> str:
    """Draw a share from 0 to 1.

    >>> bar(0.5, 4, ASCII), bar(-1, 2, ASCII), bar(7, 2, ASCII)
    ('##..', '..', '##')
    """
    filled = min(cells, max(0, round(share * cells)))
    return glyphs.full * filled + glyphs.empty * (cells - filled)


def spark(points: Sequence[float | None], cells: int, rows: int, glyphs: Glyphs) -> list[str]:
    """Draw a series as columns that stand on zero; what is unknown is left out.

    Args:
        points: oldest first; the newest is drawn to the right.
        cells: width.
        rows: height.
        glyphs: to draw with.

    Returns:
        The lines, from the top.

    >>> spark([0, 1, 2, 4, None], 6, 1, ASCII)
    ['  :=@ ']
    >>> spark([4, 8], 2, 2, ASCII)
    [' @', '@@']
    """
    shown = list(points[-cells:]) if cells > 0 else []
    highest = max((p for p in shown if p is not None), default=0.0)
    steps = len(glyphs.spark) - 1
    lines = []
    for row in range(rows - 1, -1, -1):
        line = " " * (cells - len(shown))
        for point in shown:
            level = 0.0 if not point or not highest else point / highest * rows * steps
            here = min(steps, max(0, math.ceil(level) - row * steps))
            line += glyphs.spark[here]
        lines.append(line)
    return lines
