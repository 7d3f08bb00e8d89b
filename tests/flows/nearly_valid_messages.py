"""A grammar of nearly valid messages: every field, every kind of deviation, and no deviation."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from shop.events import SCHEMAS
from tests.support.event_samples import NOW, SAMPLE, Message, message, poison

TOPICS = sorted(SAMPLE)
FIELDS = {topic: ["v", *SCHEMAS[topic]] for topic in TOPICS}

NUMBERS = [
    "0", "1", "2", "7", "70", "-1", "-0", "+1", "01", "007", "1.0", "2.0", "7.0", "1.5", "1e0",
    "1e3", "1E0", "2e-1", "1e400", "0.1e1", "1.", ".5", "0x1", "1_000", "9007199254740991",
    "9007199254740992", "9223372036854775807", "9223372036854775808", "18446744073709551615",
    "18446744073709551616", "1" + "0" * 30, "1" * 5_000, "32767", "32768", "999", "1000", "1899",
    "1900", "2100", "2101", "1000000000000", "1000000000001", "true", "false", "null", "NaN",
    "Infinity", "-Infinity", '"1"', '"7"', '""', '"true"', "[]", "[1]", "{}", '{"a":1}', "", "1 2",
    "１", "1\u00a0", "--1", "1e", "- 1",
]  # fmt: skip
TEXTS = [
    "", "x", "이준", "e\u0301", "\u1112\u1161\u11ab", "a" * 200, "a" * 201, "가" * 200,
    "가" * 201, "😀" * 200, "😀" * 201, "e\u0301" * 100, "e\u0301" * 101,
    "\\u0000", "\\u0001", "\\/", '\\"',
    "\\\\", "\\\\u0000", "\\n", "\\t", "\\b\\f\\r", "\n", "\t", "\r", "\x00", "\x01", "\x1f",
    "\x7f",
    "\x85", "\u2028", "\ufeff", "\uffff", "\U0010ffff", "\\u00e9", "\\uD55C", "\\ud55c",
    "\\ud83d\\ude00", "\\ud83d", "\\ude00", "\\ude00\\ud83d", "\\u12", "\\x41", "\\", "\\U0001f600",
    "CARD", "card", "Card ", "PAID", "REFUNDED", "CANCELLED", "F", "M", "f", "black_friday",
    "Not A", "slug\\n", "-a", "a" * 64, "a" * 65, "null", "{}", '{"v":1}', "[[[", '":', ',"x":',
    "}\n{",
]  # fmt: skip
_TIME = NOW.strftime("%Y-%m-%dT%H:%M:%S")
TIMES = [
    f"{_TIME}Z", f"{_TIME}.5Z", f"{_TIME}.123456Z", f"{_TIME}.1234567Z", f"{_TIME}.9999999Z",
    f"{_TIME}.Z", f"{_TIME},5Z", f"{_TIME}z", f"{_TIME}+00:00", f"{_TIME}-00:00", f"{_TIME}+09:00",
    f"{_TIME}+0900", f"{_TIME}+09", f"{_TIME}+24:00", f"{_TIME}", f"{_TIME} Z", f" {_TIME}Z",
    f"{_TIME}Z ", f"+{_TIME}Z", f"-{_TIME}Z", f"{_TIME}Z\\n", _TIME.replace("T", " ") + "Z",
    _TIME.replace("T", "t") + "Z", "2026-3-4T05:06:07Z", "2026-03-4T05:06:07Z",
    "2026-03-04T5:06:07Z", "2026-03-04T05:6:07Z", "2026-03-04T05:06:7Z", "2026- 3-04T05:06:07Z",
    "2026-03-04T05:06:60Z", "2026-03-04T05:06:60.5Z", "2026-03-04T23:59:60Z",
    "2026-03-04T24:00:00Z",
    "2026-03-04T05:60:00Z", "2026-02-29T00:00:00Z", "2024-02-29T00:00:00Z", "2026-02-30T00:00:00Z",
    "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z", "2026-01-00T00:00:00Z", "2026-04-31T00:00:00Z",
    "２０２６-03-04T05:06:07Z", "2026−03−04T05:06:07Z", "26-03-04T05:06:07Z",
    "02026-03-04T05:06:07Z",
    "0000-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59Z",
    "9999-12-31T23:59:59-23:59", "2019-12-31T23:59:59Z", "2020-01-01T00:00:00Z",
    "2026-03-05T05:06:07.890123Z", "2026-03-05T05:06:07.890124Z", "1772600767", "yesterday", "",
]  # fmt: skip
SPACES = [" ", "\t", "\r", "\n", "\r\n", "\u00a0", "\ufeff", "\x0b", "\x00", "  "]
KEYS = [
    b"7", b"70", b"1", b"07", b" 7", b"7 ", b"7\n", b"+7", b"7.0", "７".encode(), b"", None,
    b"\xff", b"8", b'"7"', b"7" * 40, b"\x007",
]  # fmt: skip


def pairs(topic: str) -> list[tuple[str, str]]:
    """The members of a good message, as JSON text."""
    _, good = message(topic, SAMPLE[topic])
    assert good is not None
    text = good.decode()
    found = re.findall(r'"(\w+)":("(?:[^"\\]|\\.)*"|[^,}]+)', text)
    assert [name for name, _ in found] == FIELDS[topic]
    return found


PAIRS = {topic: pairs(topic) for topic in TOPICS}
GOOD = {topic: message(topic, SAMPLE[topic]) for topic in TOPICS}
POISON = [m for kind, m in poison(SAMPLE["orders"]).items() if kind != "oversize"]  # type: ignore[arg-type]  # the sample of orders is one


def a_value(rng: random.Random) -> str:
    pick = rng.randrange(3)
    if pick == 0:
        return rng.choice(NUMBERS)
    return f'"{rng.choice(TEXTS if pick == 1 else TIMES)}"'


def _likely_value(rng: random.Random, old: str) -> str:
    """A nearly valid value of the same kind."""
    if not old.startswith('"') and old != "null":
        return rng.choice(NUMBERS)
    if re.match(r'"\d{4}-', old):
        return f'"{rng.choice(TIMES)}"'
    return f'"{rng.choice(TEXTS)}"'


def _changed(rng: random.Random, members: list[tuple[str, str]]) -> list[tuple[str, str]]:
    at = rng.randrange(len(members))
    name, old = members[at]
    members[at] = (name, _likely_value(rng, old) if rng.random() < 0.8 else a_value(rng))
    return members


def _members(rng: random.Random, members: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Missing, given twice, unknown, renamed, in another order, a kept one moved."""
    at = rng.randrange(len(members))
    name, value = members[at]
    pick = rng.randrange(6)
    if pick == 0:
        del members[at]
    elif pick == 1:
        members.insert(rng.randrange(len(members) + 1), (name, rng.choice([value, a_value(rng)])))
    elif pick == 2:
        members.insert(at, (rng.choice(["x", "", "V", "\\u0076", f"{name} "]), a_value(rng)))
    elif pick == 3:
        members[at] = (
            rng.choice([name.upper(), f"\\u{ord(name[:1] or 'x'):04x}{name[1:]}", ""]),
            value,
        )
    elif pick == 4:
        rng.shuffle(members)
    else:
        depth = rng.choice([1, 50, 98, 99, 100, 101, 500, 2_000])
        closed = rng.choice([depth, depth, depth - 1])
        members.insert(at, ("x", rng.choice(["[", '{"a":']) * depth + "1" + "]" * closed))
    return members


def _text(rng: random.Random, members: Sequence[tuple[str, str]]) -> str:
    """The message as text, with a space or two where none need be."""
    parts = [f'"{name}":{value}' for name, value in members]
    text = "{" + ",".join(parts) + "}"
    if rng.random() < 0.15:
        marks = [m.start() + rng.randrange(2) for m in re.finditer(r"[{},:]", text)]
        at = rng.choice(marks)
        text = text[:at] + rng.choice([*SPACES, ",", "}", "{", "x"]) + text[at:]
    return text


def _bytes(rng: random.Random, data: bytes) -> bytes:
    """A byte changed, cut, doubled; another encoding; two in one."""
    at = rng.randrange(len(data)) if data else 0
    head, tail = data[:at], data[at:]
    odd = rng.choice([b"\n", b"\\", b'"', b"0", b" ", b"\xc3", b"\xed\xa0\x80"])
    behind = rng.choice([b"\n", b"\r\n", b" ", b"\x00", data, b"\n" + data, b",", b"1"])
    before = rng.choice([b"\xef\xbb\xbf", b"\n", b" ", b"[", b"\x1e"])
    encoding = rng.choice(["euc-kr", "utf-16", "latin-1"])
    return rng.choice([
        head,
        head + tail[1:],
        head + bytes([rng.randrange(256)]) + tail[1:],
        head + odd + tail,
        data + behind,
        before + data,
        data.decode(errors="replace").encode(encoding, "replace"),
        tail + head,
    ])  # fmt: skip


def one(rng: random.Random, topic: str) -> Message:
    """One message of the topic: good, or with one deviation, or a few."""
    key, good = GOOD[topic]
    pick = rng.random()
    if pick < 0.15:
        return key, good
    if pick < 0.2:
        return rng.choice(POISON)
    if pick < 0.25:
        return rng.choice(KEYS), good
    members = list(PAIRS[topic])
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        if members:
            members = (_changed if rng.random() < 0.75 else _members)(rng, members)
    data = _text(rng, members).encode()
    if rng.random() < 0.15:
        data = _bytes(rng, data)
    return (key if rng.random() < 0.95 else rng.choice(KEYS)), data


def batch(rng: random.Random, most: int) -> tuple[str, list[Message]]:
    """A topic and 1 to `most` messages of it; in a third of them nearly all are good."""
    topic = rng.choice(TOPICS)
    n = rng.randint(1, most)
    if rng.random() < 1 / 3:
        messages = [GOOD[topic]] * n
        for _ in range(rng.randint(0, 3)):
            messages[rng.randrange(n)] = one(rng, topic)
        return topic, messages
    return topic, [one(rng, topic) for _ in range(n)]
