"""The keys: one table, from which bindings, help and the documentation are made."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from console.labels import LABELS
from shop.log import get_logger


@dataclass(frozen=True)
class Key:
    """What a key does.

    Attributes:
        id: by which it can be given another key.
        keys: as Textual names them, with commas between.
        shown: as the help writes it.
        action: of the app.
        en: what it does.
        ko: the same in Korean.
    """

    id: str
    keys: str
    shown: str
    action: str
    en: str
    ko: str


TABS: Final = (
    ("overview", "Overview"),
    ("kafka", "Kafka"),
    ("cache", "Cache"),
    ("customers", "Customers"),
    ("events", "Log"),
    ("processes", "Procs"),
    ("letters", "DLQ"),
    ("charts", "Charts"),
)

KEYS: Final = (
    *(
        Key(
            f"tab.{name}",
            str(n),
            str(n),
            f"tab('{name}')",
            f"show {title}",
            f"{LABELS.get(title, title)} 보기",
        )
        for n, (name, title) in enumerate(TABS, start=1)
    ),
    Key("help", "question_mark,f1", "?", "help", "this help", "도움말"),
    Key("palette", "colon,ctrl+p", ":", "command_palette", "commands", "명령 찾기"),
    Key("actions", "A", "A", "actions", "act on the shop", "동작 목록"),
    Key("filter", "slash", "/", "filter", "filter the list (!word: without)", "목록 필터"),
    Key("open", "enter", "Enter", "open", "open the row, or follow its ids", "항목 열기"),
    Key("follow", "f", "f", "follow", "follow an id: row, message, refusal, cache, log", "ID 추적"),
    Key("act.row", "a", "a", "act_on_row", "act on the row", "항목에 대한 동작"),
    Key("sort", "s", "s", "sort", "sort by the next column (or click on it)", "다음 열로 정렬"),
    Key("sort.reverse", "S", "S", "reverse", "sort the other way round", "역순 정렬"),
    Key("level", "L", "L", "level", "log: all, warnings, errors", "로그: 전체, 경고, 오류"),
    Key("changes", "c", "c", "changes", "log: changes and actions only", "로그: 변화와 동작만"),
    Key("pause", "p", "p", "freeze", "freeze the view; reading continues", "화면 고정"),
    Key("refresh", "r", "r", "refresh_now", "read everything now", "지금 새로 읽기"),
    Key("slower", "minus", "-", "interval(1)", "fewer snapshots", "간격 늘리기"),
    Key("faster", "plus,equals_sign", "+", "interval(-1)", "more snapshots", "간격 줄이기"),
    Key("maximise", "z", "z", "zoom", "show one panel alone, or all again", "패널 확대"),
    Key("copy", "y", "y", "copy", "copy the panel (OSC 52)", "패널 복사"),
    Key("export", "e", "e", "export", "write SVG, JSON and CSV files", "파일로 저장"),
    Key(
        "time.wider",
        "w",
        "w",
        "zoom_time(1)",
        "charts: longer, up to 48 h",
        "차트: 길게",
    ),
    Key("time.narrower", "W", "W", "zoom_time(-1)", "charts: shorter", "차트: 짧게"),
    Key(
        "time.back",
        "left_curly_bracket",
        "{",
        "scrub(-1)",
        "time: back by a quarter of the charts",
        "시간: 뒤로 (차트의 1/4)",
    ),
    Key(
        "time.on",
        "right_curly_bracket",
        "}",
        "scrub(1)",
        "time: forward by a quarter of the charts",
        "시간: 앞으로 (차트의 1/4)",
    ),
    Key("time.seek", "T", "T", "seek", "time: go to a time", "시간: 시각 지정"),
    Key(
        "time.events",
        "E",
        "E",
        "events",
        "time: list of events; Enter goes there",
        "시간: 이벤트 목록, Enter로 이동",
    ),
    Key("time.next", "n", "n", "jump(1)", "time: next event", "시간: 다음 이벤트"),
    Key("time.last", "N", "N", "jump(-1)", "time: previous event", "시간: 이전 이벤트"),
    Key("time.play", "space", "space", "play", "time: play or pause", "시간: 재생/멈춤"),
    Key(
        "time.step.back",
        "left_square_bracket",
        "[",
        "step(-1)",
        "time: one snapshot back",
        "시간: 한 단계 뒤로",
    ),
    Key(
        "time.step",
        "right_square_bracket",
        "]",
        "step(1)",
        "time: one snapshot forward",
        "시간: 한 단계 앞으로",
    ),
    Key(
        "time.slower",
        "less_than_sign",
        "<",
        "speed(-1)",
        "time: play slower, down to 0.5x",
        "시간: 느리게 재생 (0.5배까지)",
    ),
    Key(
        "time.faster",
        "greater_than_sign",
        ">",
        "speed(1)",
        "time: play faster, up to 100x",
        "시간: 빠르게 재생 (100배까지)",
    ),
    Key(
        "time.now",
        "0",
        "0",
        "now",
        "time: back to now; of a recording, to its end",
        "시간: 현재로 (녹화는 끝으로)",
    ),
    Key("reset", "C", "C", "reset_view", "clear the charts", "차트 초기화"),
    Key("record", "R", "R", "record", "recording on or off", "녹화 시작/중지"),
    Key("theme", "t", "t", "theme", "next theme", "다음 테마"),
    Key("down", "j", "j", "move(1)", "scroll down", "아래로"),
    Key("up", "k", "k", "move(-1)", "scroll up", "위로"),
    Key("top", "g", "g", "ends(-1)", "to the top", "맨 위로"),
    Key("bottom", "G", "G", "ends(1)", "to the bottom", "맨 아래로"),
    Key("quit", "q,ctrl+c", "q", "quit", "quit", "종료"),
)


VERBS: Final = {
    "generator.pause": "pause",
    "generator.resume": "resume",
    "generator.rate": "rate",
    "dlq.replay": "replay",
    "dlq.replay_one": "replay",
    "process.restart": "restart",
    "scenario.stop": "stop scenario",
}
"""How the footer calls what `a` offers on a row."""


TAB_HINTS: Final = {
    "overview": (": commands", "A act", "z one panel"),
    "events": ("L level", "c changes"),
    "charts": ("w W longer, shorter", "{ } back, forward", "T E time"),
}
"""What is of use on some tabs alone."""
TAB_KEYS: Final = {
    "overview": ("maximise", "pause", "refresh", "copy", "actions", "palette"),
    "events": ("level", "changes"),
    "charts": ("time.wider", "time.narrower", "time.back", "time.on", "reset"),
}
"""Keys that the help lists first, by tab; on a tab with lists those of the lists."""
LIST_KEYS: Final = ("open", "act.row", "sort", "sort.reverse", "filter", "down", "up")
PURPOSES: Final = {
    "overview": "What is wrong, then cache, lag, hits, grades, processes and the log.",
    "kafka": "Topics and partitions: Enter shows members, offsets and messages.",
    "cache": "Keys of the cache and its refreshes: Enter shows entries and fields.",
    "customers": "Grades, who spent most, who moved: Enter shows members or the customer.",
    "events": "The log of all processes, changes and actions: Enter shows all of a line.",
    "processes": "Processes and scenarios: Enter shows log, rate and restarts, or the effect.",
    "letters": "Rejected messages: Enter shows the fault, a edits one and replays it.",
    "charts": "The past of all figures on one time axis, with marks.",
}
"""What a tab is for, as the help says it."""


def row_actions(actions: Iterable[str], options: Callable[[str], str]) -> str:
    """Return the names of the actions that a row offers; empty if it offers none.

    >>> row_actions(["generator.pause", "generator.rate", "generator.rate"], str)
    'pause, rate'
    """
    return ", ".join(dict.fromkeys(options(VERBS[a]) for a in actions if a in VERBS))


def hint(
    tab: str, kind: str, actions: str, options: Callable[[str], str], *, replay: bool = False
) -> str:
    """Return the keys that matter most on a tab, and on the row under the cursor.

    Args:
        tab: the tab that is shown.
        kind: the kind of the thing under the cursor; empty: there is none.
        actions: the names of the actions that it offers, as `row_actions` returns them.
        options: returns a label in the chosen language.
        replay: whether a recording is shown.
    """
    own = ["Enter open"] if kind else []
    own += [f"a {actions}"] if actions and not replay else []
    own += TAB_HINTS.get(tab, ())
    own += ["[ ] step", "n N events"] if replay else []
    own += ["s sort", "/ filter"] if kind else []
    return "  ".join(map(options, (*own, "f follow", "? help", "q quit")))


def help_keys(tab: str) -> tuple[list[Key], list[Key]]:
    """Return the keys that act on what a tab shows, and all others."""
    first = TAB_KEYS.get(tab, ())
    if tab not in ("overview", "charts"):
        first = (*LIST_KEYS, *first)
    known = {k.id: k for k in KEYS}
    return [known[name] for name in first], [k for k in KEYS if k.id not in first]


def keymap() -> dict[str, str]:
    """Return the user's own keys, of `keys.json` in the configuration directory: id -> keys.

    What cannot be read, or names no key of the console, is left out and logged.
    """
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    path = Path(base) / "jangteo" / "keys.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as e:
        get_logger().warning("keys cannot be read", file=str(path), error=str(e))
        return {}
    known = {k.id for k in KEYS}
    chosen = {}
    for name, keys in found.items() if isinstance(found, dict) else ():
        if name in known and isinstance(keys, str):
            chosen[name] = keys
        else:
            get_logger().warning("no such key", file=str(path), id=str(name))
    return chosen


def as_markdown() -> str:
    """Return the table of the documentation."""
    rows = [f"| `{k.shown}` | {k.en} | `{k.id}` |" for k in KEYS]
    return "\n".join(["| key | what it does | id |", "|---|---|---|", *rows])
