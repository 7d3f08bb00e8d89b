"""Conditions on a message: what is understood, and that nothing else is."""

from __future__ import annotations

import pytest

from shop.errors import UsageError
from shop.messages import expression


@pytest.mark.parametrize(
    ("text", "met"),
    [
        ("amount > 10000", True),
        ("amount>10_000 and status == 'PAID'", True),
        ("not (status == 'PAID')", False),
        ("status in ('PAID', 'REFUNDED')", True),
        ("status not in ['PAID']", False),
        ("1000 < amount <= 20000", True),
        ("amount == -20000 or amount == 20000.0", True),
        ("scenario == null", True),
        ("scenario is None", True),
        ("ok == true and not wrong", True),
        ("user.city == '서울'", True),
        ("user.name.first == 'x'", False),
        ("nothing", False),
        ("nothing > 5", False),
        ("amount > 'a'", False),
        ("'PA' in status", True),
        ("5 in amount", False),
        ("amount", True),
    ],
)
def test_conditions(text: str, met: bool) -> None:
    fields = {
        "amount": 20_000, "status": "PAID", "scenario": None, "ok": True, "wrong": False,
        "user": {"city": "서울"},
    }  # fmt: skip
    assert expression.parse(text)(fields) is met


@pytest.mark.parametrize(
    "text",
    [
        "", "amount =", "amount = 5", "a && b", "__import__('os').system('true')", "amount + 1 > 2",
        "a[0]", "lambda: 1", "[x for x in y]", "f'{a}'", "(a := 5)", "a if b else c", "-status",
        "not", "a\x00b", "(" * 500 + ")" * 500, "x" * 5000, "- " * 900 + "1", "b'x'", "1j", "...",
        "not " * 480 + "a and b.c.d(", "9" * 5000,
    ],
)  # fmt: skip
def test_what_is_no_condition_is_one_line(text: str) -> None:
    with pytest.raises(UsageError, match=r"not a condition|not understood|are read") as caught:
        expression.parse(text)
    assert "\n" not in str(caught.value)
