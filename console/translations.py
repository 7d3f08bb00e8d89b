"""The messages of the console: one entry each, with id, English and Korean.

A snapshot, a recording and the journal carry a message as its id and its values (`Message`); text
from outside, such as a line of a log or the error of a server, is a plain `str` and is shown as it
is in every language. English and Korean are made where a message is shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from console.labels import LABELS
from console.text import printable
from shop.errors import TROUBLES, Trouble

Lang = Literal["en", "ko"]
_LONGEST_JSON: Final = 4_000
"""Characters of a message in the journal: it cannot nest deeper than Python can follow."""
_WORD: Final = "word"
"""Id of a message that is one label."""


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message of the console: the id of its template, and the values of its places.

    >>> message = SILENT(name="orders")
    >>> str(message), render(message, "ko")
    ('orders is silent', 'orders 응답 없음')
    """

    id: str
    values: dict[str, str | int | float | Message] = {}

    def __str__(self) -> str:
        """Return it in English."""
        return render(self, "en")


Text = str | Message
"""Text from outside, or a message of the console."""
Value = str | int | float | Message


@dataclass(frozen=True)
class Template:
    """A message with named places for values, in both languages.

    Attributes:
        id: which recordings and the journal hold: it does not change.
        en: in English.
        ko: in Korean.
        one: in English where the value `count` is 1; empty: as with other numbers.
    """

    id: str
    en: str
    ko: str
    one: str = ""

    def __post_init__(self) -> None:
        """Register the template."""
        _TEMPLATES[self.id] = self

    def __call__(self, **values: object) -> Message:
        """Return a message; values are numbers, messages, or text from outside."""
        return Message(self.id, {name: _clean(value) for name, value in values.items()})


_TEMPLATES: Final[dict[str, Template]] = {}


def render(text: Text, lang: Lang) -> str:
    """Return a message in a language; text from outside as it is.

    >>> render("no answer", "ko"), render(NO_ANSWER(), "ko"), render(word("stale"), "ko")
    ('no answer', '응답 없음', '오래됨')
    """
    if isinstance(text, str):
        return text
    values = {k: render(v, lang) if isinstance(v, Message) else v for k, v in text.values.items()}
    if text.id == _WORD:
        return label(str(values.get("text", "")), lang)
    if (template := _TEMPLATES.get(text.id)) is not None:
        single = template.one if str(values.get("count")) == "1" else ""
        try:
            return (template.ko if lang == "ko" else single or template.en).format(**values)
        except (KeyError, IndexError):  # of another version of this program
            pass
    return " ".join([text.id, *(f"{k}={v}" for k, v in values.items())])


def word(text: str) -> Message:
    """Return a label or the name of a state, as a value of another message."""
    return Message(_WORD, {"text": printable(text)})


def label(text: str, lang: Lang) -> str:
    """Return a label in a language.

    >>> label("Cache", "ko"), label("no such label", "ko")
    ('캐시', 'no such label')
    """
    return LABELS.get(text, text) if lang == "ko" else text


def of_trouble(line: str) -> Text:
    """Return the message of a trouble that `shop` found.

    >>> render(of_trouble(Trouble("unheld", ids="0, 1")), "ko")
    '파티션 0, 1: 맡은 인제스트 없음'
    """
    if not isinstance(line, Trouble):
        return line
    values = {k: of_trouble(v) if isinstance(v, Trouble) else v for k, v in line.values.items()}
    return Message(f"trouble.{line.kind}", {k: _clean(v) for k, v in values.items()})


def is_unknown(trouble: Text) -> bool:
    """Return whether a trouble is that nothing is known of a topic.

    >>> is_unknown(of_trouble(Trouble("still_uncounted", ids="0", seconds="61")))
    True
    """
    return isinstance(trouble, Message) and trouble.id == "trouble.still_uncounted"


def from_json(data: str) -> Message | None:
    """Read a message that another console wrote; None if it is not one.

    >>> from_json('{"id": "silent", "values": {"name": "orders"}}') == SILENT(name="orders")
    True
    """
    if not data or len(data) > _LONGEST_JSON:
        return None
    try:
        return checked(msgspec.json.decode(data, type=Message))
    except (msgspec.DecodeError, RecursionError):
        return None


def checked(message: Message) -> Message:
    """Return a message whose values can be shown on a terminal."""
    values = {
        k: checked(v) if isinstance(v, Message) else _clean(v) for k, v in message.values.items()
    }
    return Message(printable(message.id), values)


def _clean(value: object) -> Value:
    return value if isinstance(value, int | float | Message) else printable(str(value))


# What is not well
NO_ANSWER = Template("no_answer", "no answer", "응답 없음")
NO_ANSWER_FOR = Template("no_answer_for", "no answer for {seconds} s", "{seconds}초 동안 응답 없음")
IS_SLOW = Template("is_slow", "{name} is slow: {seconds} s", "{name} 느림: {seconds}초")
BUT_STORES = Template(
    "but_stores",
    "but {name} reports that it stores {rate}/s",
    "그러나 {name}은(는) 초당 {rate}건 저장 중이라고 보고함",
)
WAS = Template("was", "{state} (was {before} {age} ago)", "{state} ({age} 전에는 {before})")
SCENARIO_RUNS = Template(
    "scenario_runs", "{name} runs until {until} (Seoul)", "{name}: {until}까지 실행 (서울)"
)
SCENARIO_STOPPED = Template("scenario_stopped", "{name} stopped", "{name} 중지됨")
COUNTED = Template("counted", "{count} {what}", "{what} {count}건")
BOTH = Template("both", "{first}, {second}", "{first}, {second}")
STATE_SINCE = Template("state_since", "{state} since {at} KST", "{at} KST부터 {state}")
TRY = Template("try", "try {count}", "{count}번째 시도")
NEXT_IN = Template("next_in", "next in {seconds}s", "{seconds}초 뒤 다시 시도")
AGO = Template("ago", "({age} ago)", "({age} 전)")
HANDLED = Template("handled", "{line} (handled by the ingest)", "{line} (인제스트가 처리함)")
HEAT_SCALE = Template(
    "heat_scale",
    "{none} 0   {shades} up to {highest}, logarithmic",
    "{none} 0   {shades} 최대 {highest}, 로그 눈금",
)
MORE = Template("more", "{count} more", "{count}개 더")
PAGE = Template(
    "page",
    "{shown} shown, {scanned} looked at, {kept} in the topic",
    "{shown}건 표시, {scanned}건 확인, 보관 중 {kept}건",
)
NO_TOPIC = Template("no_topic", "there is no such topic", "그런 토픽이 없음")
SILENT = Template("silent", "{name} is silent", "{name} 응답 없음")
IS_DOWN = Template("is_down", "{name} is down ({how})", "{name} 중단됨 ({how})")
BROKERS_AWAY = Template("brokers_away", "brokers away: {ids}", "없는 브로커: {ids}")
OUT_OF_SYNC = Template(
    "out_of_sync", "partitions out of sync: {count}", "동기화되지 않은 파티션: {count}개"
)
BELOW_MIN = Template(
    "below_min",
    "partitions that take nothing, below min ISR: {count}",
    "최소 ISR 미달로 쓸 수 없는 파티션: {count}개",
)
CACHE_OVERDUE = Template(
    "cache_overdue", "cache overdue by {seconds} s", "캐시 갱신 {seconds}초 지연"
)
CACHE_FAILED = Template("cache_failed", "cache refresh failed: {error}", "캐시 갱신 실패: {error}")
CLOCKS = Template(
    "clocks",
    "this machine's clock and that of {name} differ by {seconds} s",
    "이 장비와 {name}의 시계가 {seconds}초 다름",
)
# What changed
AWAY = Template("away", "does not answer: {error}", "응답 없음: {error}")
BACK = Template("back", "answers again, after {duration}", "{duration} 만에 다시 응답")
BROKERS_BACK = Template("brokers_back", "brokers back: {ids}", "돌아온 브로커: {ids}")
BELOW_MIN_OVER = Template(
    "below_min_over", "all partitions take messages again", "모든 파티션에 다시 쓸 수 있음"
)
LAG = Template("lag", "lag {messages}: {verdict}", "랙 {messages}건: {verdict}")
DEFECT = Template("defect", "defect of the console: {error}", "콘솔 결함: {error}")
LAG_OVER = Template("lag_over", "lag in order again", "랙 해소")
RESTARTED = Template("restarted", "was started again (pid {pid})", "재시작됨 (pid {pid})")
RESTARTED_AFTER = Template(
    "restarted_after", "was started again after {how} (pid {pid})", "{how} 뒤 재시작됨 (pid {pid})"
)
NEW_VERSION = Template("new_version", "runs version {version} now", "이제 버전 {version} 실행")
ENDED = Template("ended", "ended: {how}", "종료됨: {how}")
SCENARIO_BEGAN = Template("scenario_began", "{name} began", "{name} 시작")
SCENARIO_ENDED = Template("scenario_ended", "{name} ended", "{name} 종료")
GRADED = Template(
    "graded",
    "customers were graded: {upgraded} up, {downgraded} down",
    "고객 등급 산정: 상승 {upgraded}명, 하락 {downgraded}명",
)
REFRESH_FAILED = Template("refresh_failed", "refresh failed: {error}", "갱신 실패: {error}")
REFRESH_OVERDUE = Template("refresh_overdue", "refresh is overdue", "갱신 지연")
REFRESHED = Template("refreshed", "refreshed again", "다시 갱신됨")
IN_ORDER = Template("in_order", "in order again: {text}", "해소됨: {text}")
NOT_DELIVERED = Template(
    "not_delivered",
    "a notification was not delivered by {way}: {error}",
    "알림을 {way}(으)로 보내지 못함: {error}",
)
SKIPPED = Template("skipped", "{bytes} bytes of log skipped", "로그 {bytes}바이트 건너뜀")
# Results of actions
ACTED = Template(
    "acted", "{action}: {outcome}, {result} ({who})", "{action}: {outcome}, {result} ({who})"
)
CAME_TO = Template("came_to", "{action}: {outcome}, {result}", "{action}: {outcome}, {result}")
ASKED = Template("asked", "asked for", "요청함")
PAUSED = Template("paused", "paused", "일시정지")
RESUMED = Template("resumed", "resumed", "다시 시작함")
RATE = Template("rate", "{factor} times its own rate", "기본 속도의 {factor}배")
VERSION = Template(
    "version",
    "version {version}, {replaced} replaced, {seconds} s",
    "버전 {version}, {replaced}개 교체, {seconds}초",
)
RUN_ENDED = Template("run_ended", "run ended at {at}", "{at}에 산정 끝남")
NEW_PID = Template("new_pid", "started again, pid {pid}", "다시 시작됨, pid {pid}")
NOT_SEEN = Template(
    "not_seen", "asked for, but within {seconds} s {what}", "요청했으나 {seconds}초 안에 {what}"
)
NO_REFRESH = Template(
    "no_refresh",
    "no refresh was seen; does the cache worker run?",
    "갱신이 보이지 않음. 캐시 워커가 실행 중인지 확인하십시오",
)
NO_RUN = Template(
    "no_run",
    "no run was seen; does the grader run?",
    "산정이 보이지 않음. 등급 프로세스가 실행 중인지 확인하십시오",
)
NOT_BACK = Template("not_back", "it is not back", "돌아오지 않음")
THE_REFRESH_FAILED = Template(
    "the_refresh_failed", "the refresh failed: {error}", "갱신 실패: {error}"
)
NO_REDIS = Template(
    "no_redis",
    "cannot reach Redis, where it would be asked for: {error}",
    "요청을 적을 Redis에 연결할 수 없음: {error}",
)
READ_ONLY = Template("read_only", "read-only", "읽기 전용이라 할 수 없음")
A_RECORDING = Template("a_recording", "this is a recording", "녹화 재생 중에는 할 수 없음")
THE_PAST = Template(
    "the_past",
    "this is the past of the shop; 0 returns to now",
    "과거 화면에서는 할 수 없음. 0을 누르면 현재로 돌아감",
)
# What cannot be done
NO_ACTION = Template(
    "no_action", "no action {name}; known: {known}", "{name} 동작 없음. 가능한 것: {known}"
)
EXPECTED = Template("expected", "expected: {usage}", "올바른 형식: {usage}")
NO_SUCH = Template(
    "no_such", "no {kind} {name}; known: {known}", "{kind} {name} 없음. 가능한 것: {known}"
)
CANNOT_USE = Template(
    "cannot_use", "{action}: cannot use {text}", "{action}: {text} 사용할 수 없음"
)
BAD_RATE = Template(
    "bad_rate",
    "rate {text}: expected a number above 0, up to {most}; to stop, generator.pause",
    "속도 {text}: 0보다 크고 {most} 이하인 수를 입력하십시오. 멈추려면 generator.pause",
)
A_SERVER = Template(
    "a_server",
    "{name} is a server: it is not restarted from here",
    "{name}: 서버는 여기서 재시작하지 않음",
)
NOT_SUPERVISED = Template(
    "not_supervised",
    "no supervised process {name}; known: {known}",
    "{name}: 관리 중인 프로세스가 아님. 가능한 것: {known}",
)
RUNS_ELSEWHERE = Template(
    "runs_elsewhere",
    "{name} runs, but `jangteo up` does not supervise it; known: {known}",
    "{name}: 실행 중이지만 `jangteo up`이 관리하지 않음. 가능한 것: {known}",
)
NONE_SUPERVISED = Template("none_supervised", "none on this machine", "이 장비에는 없음")
RECORD_FAILED = Template(
    "record_failed", "cannot record to {path}: {error}", "{path}에 녹화할 수 없음: {error}"
)
OF_STATE = Template("of_state", "{name} {state}: {error}", "{name} {state}: {error}")
OF = Template("of", "{name}: {error}", "{name}: {error}")
MINUTES = Template("minutes", "{count} min", "{count}분")
SPENT = Template("spent", "{count}min {spend}", "{count}분 {spend}")
TAKINGS = Template(
    "takings", "{count} orders, {spend}", "주문 {count}건, {spend}", one="{count} order, {spend}"
)
TYPE_TO_DO = Template("type_to_do", "type {wanted} to do it", "실행하려면 {wanted} 입력")
TYPE_OR_ESCAPE = Template("type_or_escape", "type {wanted}, or Escape", "{wanted} 입력, 취소는 Esc")
TOO_SMALL = Template(
    "too_small",
    "The console needs 80x24; this terminal is {width}x{height}.",
    "콘솔은 80x24 이상이 필요합니다. 지금은 {width}x{height}입니다.",
)

# What keeps a topic from advancing: found, and written in English, by `shop`
_TROUBLES: Final[Mapping[str, str]] = {
    "foreign": "{host}의 {member}: {group} 멤버지만 이 상점의 인제스트가 아님, {what}",
    "holds": "파티션 {ids} 보유",
    "holds_none": "아직 없음",
    "removed": "파티션 {ids}: 오프셋 {count}개가 읽기 전에 삭제됨 ({command})",
    "unheld": "파티션 {ids}: 맡은 인제스트 없음",
    "still": "파티션 {ids}: {seconds}초 동안 진행 없음, 적용할 오프셋 {count}개",
    "still_uncounted": "파티션 {ids}: {seconds}초 동안 진행 여부 모름, PostgreSQL 응답 없음",
    "more": "{first} 외 {count}개",
    "blocked": "{ingest}: {seconds}초째 잠금 대기, "
    "보유 pid {pid} ({who}, 트랜잭션 {lasts}초째): {query}",
    "standby": "PostgreSQL이 스탠바이 상태: 승격될 때까지 쓸 수 없음",
    "read_only": "데이터베이스가 읽기 전용 상태 ({setting})",
    "waits": "{ingest} 대기 중: {error}",
}
for _kind, _korean in _TROUBLES.items():
    Template(f"trouble.{_kind}", TROUBLES[_kind], _korean)
