"""The caret is under the fault, and nothing that is shown can control a terminal."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from flows.deadletters import fault_lines
from shop.events import Rejection, RejectReason, decode
from shop.messages import fault_location
from shop.messages.fault_location import Fault
from tests.support.event_samples import NOW, changed, order, poison, product

GOOD = poison(order())["null_key"][1] or b""


def rejection(topic: str, key: bytes | None, payload: bytes | None) -> Rejection:
    with pytest.raises(Rejection) as rejected:
        decode(topic, key, payload, now=NOW)
    return rejected.value


def fault_of(topic: str, key: bytes | None, payload: bytes) -> Fault | None:
    r = rejection(topic, key, payload)
    return fault_location.locate(r.reason.value, r.field, r.detail, payload)


@pytest.mark.parametrize(
    ("kind", "pointed"),
    [
        ("bad_encoding", "드".encode("euc-kr")[:1]),
        ("bad_encoding.surrogate", b"\\ud800"),
        ("bad_json", b""),
        ("bad_json.trailing", b"}"),
        ("bad_json.two", b"{"),
        ("bad_json.newline", b"{"),
        ("bad_json.garbage", b"\x00"),
        ("unknown_version", b"2"),
        ("unknown_version.missing", b"}"),
        ("missing_field", b"}"),
        ("wrong_type", b'"2"'),
        ("wrong_type.float", b"2.5"),
        ("wrong_type.null", b"null"),
        ("wrong_type.array", b"["),
        ("wrong_type.time", b'"yesterday"'),
        ("unknown_value", b'"GOLD"'),
        ("out_of_range", b"0"),
        ("out_of_range.slug_newline", b'"slug\\n"'),
        ("wrong_amount", b"1"),
        ("key_mismatch", b"7"),
    ],
)
def test_a_fault_is_pointed_at(kind: str, pointed: bytes) -> None:
    key, payload = poison(order())[kind]
    assert payload is not None
    fault = fault_of("orders", key, payload)
    assert fault is not None
    assert payload[fault.start : fault.end] == pointed
    if kind.startswith("bad_json.") and kind != "bad_json.garbage":
        assert fault.start >= len(GOOD)


def test_a_syntax_error_is_pointed_at_to_the_byte_behind_wide_letters() -> None:
    payload = '{"name": "머그컵", !}'.encode()
    fault = fault_of("products", b"1", payload)
    assert fault is not None
    assert payload[fault.start : fault.end] == b"!"


def test_what_has_no_place_has_no_fault() -> None:
    assert fault_location.locate("null_key", None, "no key", GOOD) is None
    assert fault_location.locate("bad_json", None, "nested too deeply", b"[" * 10) is None


def test_the_caret_is_under_the_fault_on_a_terminal() -> None:
    payload = changed(product(name="머그컵"), price="비쌈")
    fault = fault_of("products", b"70", payload)
    row, marks = list(fault_lines.lines(payload, fault, 1000))
    before = cell_len(row[: row.index('"비쌈"')])
    assert marks == " " * before + "^" * 6 + " price has the wrong type"


def test_long_rows_are_folded_and_the_caret_follows() -> None:
    key, payload = poison(order())["unknown_value"]
    shown = list(fault_lines.lines(payload or b"", fault_of("orders", key, payload or b""), 40))
    text = "".join(line for line in shown if "^" not in line)
    assert text == (payload or b"").decode()
    at = next(i for i, line in enumerate(shown) if "^" in line)
    column = shown[at].index("^")
    assert shown[at - 1][column:].startswith('"GOLD')


def test_of_a_huge_message_the_surroundings_are_shown() -> None:
    key, payload = poison(order())["oversize"]
    shown = list(fault_lines.lines(payload or b"", fault_of("orders", key, payload or b""), 100))
    assert len("".join(shown)) < 4 * fault_lines.AROUND
    assert shown[0].endswith("bytes before")
    assert any("bytes too many" in line for line in shown)


def test_bytes_that_are_no_text_are_dumped_with_the_fault_marked() -> None:
    payload = b'{"city": "' + "서울".encode("euc-kr") + b'"}' + b" " * 400
    fault = fault_location.locate("bad_encoding", None, "", payload)
    shown = list(fault_lines.lines(payload, fault, 80))
    assert shown[0].startswith("00000000  7b 22 63 69 74 79 22 3a 20 22 bc ad bf ef 22 7d  |")
    assert shown[1] == " " * (10 + 3 * 10) + "^^ not UTF-8: invalid start byte"
    assert shown[-1].endswith("bytes behind")


def test_a_fault_at_the_very_end_is_marked_behind_the_text() -> None:
    payload = b'{"v": 1'
    shown = list(fault_lines.lines(payload, fault_of("orders", b"1", payload), 80))
    assert shown == ['{"v": 1', "       ^ it ends here, too early"]


@given(
    st.binary(max_size=3_000),
    st.sampled_from([r.value for r in RejectReason]),
    st.sampled_from([None, "amount"]),
)
def test_anything_can_be_shown(payload: bytes, reason: str, field: str | None) -> None:
    fault = fault_location.locate(reason, field, "(byte 7)", payload)
    shown = list(fault_lines.lines(payload, fault, 60))
    assert all(line.isprintable() for line in shown)
    assert fault_lines.plain(payload).isprintable()


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.recursive(
            st.none() | st.integers() | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
            max_leaves=5,
        ),
        max_size=5,
    ),
    st.sampled_from([None, 1]),
)
def test_members_are_found(value: dict[str, object], indent: int | None) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    found = {name: json.loads(text[a:b]) for name, (a, b) in fault_location.members(text).items()}
    assert found == value
