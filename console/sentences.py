"""The sentences that the console makes, in both languages: each is written here and nowhere else.

A snapshot, a recording, the journal and `--json` hold them in English, whoever looks at them later.
Korean is made when a screen shows one, by finding out which sentence it is: also of another
console's action, or of a recording of last week.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Sentence:
    """A sentence with named places for values, in both languages.

    >>> Sentence("{name} is silent", "{name} 응답 없음")(name="orders")
    'orders is silent'
    """

    en: str
    ko: str

    def __call__(self, **values: object) -> str:
        """Return it in English."""
        return self.en.format(**values)

    @functools.cached_property
    def pattern(self) -> re.Pattern[str]:
        """What finds the values in an English text."""
        parts = re.split(r"\{(\w+)\}", self.en)
        made = [re.escape(p) if i % 2 == 0 else f"(?P<{p}>.+?)" for i, p in enumerate(parts)]
        return re.compile("".join(made), re.DOTALL)


# What is not well
NO_ANSWER = Sentence("no answer", "응답 없음")
NO_ANSWER_FOR = Sentence("no answer for {seconds} s", "{seconds}초 동안 응답 없음")
NO_TOPIC = Sentence("there is no such topic", "그런 토픽이 없음")
SILENT = Sentence("{name} is silent", "{name} 응답 없음")
IS_DOWN = Sentence("{name} is down ({how})", "{name} 중단됨 ({how})")
BROKERS_AWAY = Sentence("brokers away: {ids}", "없는 브로커: {ids}")
OUT_OF_SYNC = Sentence("partitions out of sync: {count}", "동기화되지 않은 파티션: {count}개")
BELOW_MIN = Sentence(
    "partitions that take nothing, below min ISR: {count}",
    "최소 ISR 미달로 쓸 수 없는 파티션: {count}개",
)
CACHE_OVERDUE = Sentence("cache overdue by {seconds} s", "캐시 갱신 {seconds}초 지연")
CACHE_FAILED = Sentence("cache refresh failed: {error}", "캐시 갱신 실패: {error}")
CLOCKS = Sentence(
    "this machine's clock and that of {name} differ by {seconds} s",
    "이 장비와 {name}의 시계가 {seconds}초 다름",
)
# What changed
AWAY = Sentence("does not answer: {error}", "응답 없음: {error}")
BACK = Sentence("answers again, after {duration}", "{duration} 만에 다시 응답")
BROKERS_BACK = Sentence("brokers back: {ids}", "돌아온 브로커: {ids}")
BELOW_MIN_OVER = Sentence("all partitions take messages again", "모든 파티션에 다시 쓸 수 있음")
LAG = Sentence("lag {messages}: {verdict}", "지연 {messages}건: {verdict}")
LAG_OVER = Sentence("lag in order again", "지연 해소")
RESTARTED = Sentence("was started again (pid {pid})", "재시작됨 (pid {pid})")
RESTARTED_AFTER = Sentence(
    "was started again after {how} (pid {pid})", "{how} 뒤 재시작됨 (pid {pid})"
)
REFRESH_FAILED = Sentence("refresh failed: {error}", "갱신 실패: {error}")
REFRESH_OVERDUE = Sentence("refresh is overdue", "갱신 지연")
REFRESHED = Sentence("refreshed again", "다시 갱신됨")
SKIPPED = Sentence("{bytes} bytes of log skipped", "로그 {bytes}바이트 건너뜀")
# What an action came to
ACTED = Sentence("{action}: {outcome}, {result} ({who})", "{action}: {outcome}, {result} ({who})")
CAME_TO = Sentence("{action}: {outcome}, {result}", "{action}: {outcome}, {result}")
ASKED = Sentence("asked for", "요청함")
PAUSED = Sentence("paused", "일시정지")
RESUMED = Sentence("resumed", "다시 시작함")
RATE = Sentence("{factor} times its own rate", "기본 속도의 {factor}배")
VERSION = Sentence(
    "version {version}, {replaced} replaced, {seconds} s",
    "버전 {version}, {replaced}개 교체, {seconds}초",
)
RUN_ENDED = Sentence("run ended at {at}", "{at}에 산정 끝남")
NEW_PID = Sentence("started again, pid {pid}", "다시 시작됨, pid {pid}")
NOT_SEEN = Sentence(
    "asked for, but within {seconds} s {what}", "요청했으나 {seconds}초 안에 {what}"
)
NO_REFRESH = Sentence(
    "no refresh was seen; does the cache worker run?",
    "갱신이 보이지 않음. 캐시 워커가 실행 중인지 확인하십시오",
)
NO_RUN = Sentence(
    "no run was seen; does the grader run?",
    "산정이 보이지 않음. 등급 프로세스가 실행 중인지 확인하십시오",
)
NOT_BACK = Sentence("it is not back", "돌아오지 않음")
THE_REFRESH_FAILED = Sentence("the refresh failed: {error}", "갱신 실패: {error}")
NO_REDIS = Sentence(
    "cannot reach Redis, where it would be asked for: {error}",
    "요청을 적을 Redis에 연결할 수 없음: {error}",
)
READ_ONLY = Sentence("read-only", "읽기 전용이라 할 수 없음")
A_RECORDING = Sentence("this is a recording", "녹화 재생 중에는 할 수 없음")
SCENARIO_RUNS = Sentence("{name} runs until {until} (Seoul)", "{name} 실행 중, {until} (서울)까지")
SCENARIO_STOPPED = Sentence("{name} stopped", "{name} 중지됨")
# What cannot be done
NO_ACTION = Sentence("no action {name}; known: {known}", "{name} 동작 없음. 가능한 것: {known}")
EXPECTED = Sentence("expected: {usage}", "올바른 형식: {usage}")
NO_SUCH = Sentence("no {kind} {name}; known: {known}", "{kind} {name} 없음. 가능한 것: {known}")
CANNOT_USE = Sentence("{action}: cannot use {text}", "{action}: {text} 사용할 수 없음")
BAD_RATE = Sentence(
    "rate {text}: expected a number above 0, up to {most}; to stop, generator.pause",
    "속도 {text}: 0보다 크고 {most} 이하인 수를 입력하십시오. 멈추려면 generator.pause",
)
A_SERVER = Sentence(
    "{name} is a server: it is not restarted from here",
    "{name}: 서버는 여기서 재시작하지 않음",
)
RECORD_FAILED = Sentence("cannot record into {path}: {error}", "{path}에 녹화할 수 없음: {error}")
# Why a topic does not advance; English of `shop.ingest_progress` and `shop.postgres.blockers`
FOREIGN = Sentence(
    "{member} at {host} is in {group}, is not an ingest of this shop, and has {what}",
    "{host}의 {member}: {group} 멤버지만 이 상점의 인제스트가 아님, {what}",
)
REMOVED = Sentence(
    "{count} offsets of partitions {ids} were removed before they were read ({command})",
    "파티션 {ids}: 오프셋 {count}개가 읽기 전에 삭제됨 ({command})",
)
UNHELD = Sentence("no ingest has partitions {ids}", "파티션 {ids}: 맡은 인제스트 없음")
STILL = Sentence(
    "partitions {ids} have not advanced for {seconds} s, with {count} offsets to apply",
    "파티션 {ids}: {seconds}초 동안 진행 없음, 적용할 오프셋 {count}개",
)
BLOCKED = Sentence(
    "{ingest} has waited {seconds} s for a lock that pid {pid} ({who}, in its transaction for "
    "{lasts} s) holds: {query}",
    "{ingest}: {seconds}초째 잠금 대기, 보유 pid {pid} ({who}, 트랜잭션 {lasts}초째): {query}",
)
STANDBY = Sentence(
    "PostgreSQL is a standby: it takes no writes until it is promoted",
    "PostgreSQL이 스탠바이 상태: 승격될 때까지 쓸 수 없음",
)
READ_ONLY_DATABASE = Sentence(
    "the database is read-only ({setting})", "데이터베이스가 읽기 전용 상태 ({setting})"
)
WAITS = Sentence("{ingest} waits: {error}", "{ingest} 대기 중: {error}")
HAS = Sentence("partitions {ids}", "파티션 {ids} 보유")
MORE = Sentence("{first} and {count} more", "{first} 외 {count}개")
# Whatever is said of something: the last that is tried
OF_STATE = Sentence("{name} {state}: {error}", "{name} {state}: {error}")
OF = Sentence("{name}: {error}", "{name}: {error}")

ALL: Final = tuple(s for s in list(globals().values()) if isinstance(s, Sentence))
"""In the order in which they are tried."""
_READINGS: Final = ("grades", "letters", "processes")
"""Readings that are named by a word, not after a server."""
_TOLD: Final = {"state", "verdict", "error", "outcome", "result", "what", "kind", "ids"}
"""Values that are words or sentences of ours; all others are names and numbers."""


def _fits(sentence: Sentence, found: re.Match[str]) -> bool:
    """Tell whether the values are such as the vaguest sentences have."""
    if sentence is OF_STATE:
        return found["state"] in ("stale", "down")
    if sentence in (ACTED, CAME_TO):
        return found["outcome"] in ("done", "refused", "failed")
    if sentence in (HAS, MORE):
        return found[1][:1].isdigit()
    values = found.groupdict()
    # What stands before a colon is the group that has the trouble: `OF` takes it off.
    return not any(": " in values.get(name, "") for name in ("member", "ingest", "count"))


def in_korean(text: str, word: Callable[[str], str]) -> str:
    """Return one of our sentences in Korean; a text that is none of them as it is.

    Args:
        text: in English.
        word: says a single word in Korean.

    >>> in_korean("orders_group: warn", {"warn": "주의"}.get)
    'orders_group: 주의'
    >>> in_korean("redis stale: no answer for 2 s", {"stale": "지연"}.get)
    'redis 지연: 2초 동안 응답 없음'
    >>> in_korean("Local: Broker transport failure", lambda w: w)
    'Local: Broker transport failure'
    """
    if (said := word(text) or text) != text:
        return said
    for sentence in ALL:
        found = sentence.pattern.fullmatch(text)
        if found and _fits(sentence, found):
            values = found.groupdict()
            told = {name: in_korean(values[name], word) for name in _TOLD & values.keys()}
            if values.get("name") in _READINGS:
                told["name"] = word(values["name"]) or values["name"]
            return sentence.ko.format(**{**values, **told})
    return text
