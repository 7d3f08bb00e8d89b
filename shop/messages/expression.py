"""Conditions on a message, as a person types them: `amount > 10000 and status == "PAID"`.

The text is parsed by Python's own parser and translated node by node into closures. Only the nodes
listed here are understood; nothing is ever evaluated as Python.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from shop.errors import UsageError

Fields: TypeAlias = Mapping[str, Any]
Value: TypeAlias = Callable[[Fields], Any]

LONGEST: Final = 2_000
"""Characters of an expression; nesting that Python's parser cannot take needs more."""
_WORDS: Final = {"true": True, "false": False, "null": None}
_COMPARE: Final[Mapping[type[ast.cmpop], Callable[[Any, Any], bool]]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
    ast.Is: lambda a, b: a is b,
    ast.IsNot: lambda a, b: a is not b,
}


def parse(text: str) -> Callable[[Fields], bool]:
    """Return a function that returns whether fields meet a condition.

    A missing field is null. Values of kinds that cannot be compared do not meet the condition.

    Args:
        text: comparisons (== != < <= > >= in, not in, is null) of fields, numbers, texts, lists,
            true, false and null, joined by and, or, not and parentheses; `a.b` is a field of an
            object.

    Raises:
        UsageError: if the text is not an expression; shows where.

    >>> paid = parse('amount > 10000 and status in ["PAID"] and not scenario')
    >>> paid({"amount": 20000, "status": "PAID", "scenario": None}), paid({"status": "PAID"})
    (True, False)
    >>> parse("__import__('os')")
    Traceback (most recent call last):
    shop.errors.UsageError: a call is not understood in "__import__('os')"; ...
    """
    if len(text) > LONGEST:
        raise UsageError(f"{len(text)} characters; at most {LONGEST} are read")
    try:
        tree = ast.parse(text.strip(), mode="eval")
        meets = _value(tree.body, text)
    except SyntaxError as e:
        place = f" at character {e.offset}" if e.offset else ""
        raise UsageError(f"not a condition{place}: {text!r}; {_hint(text)}") from None
    except (ValueError, RecursionError, MemoryError):  # a NUL character, or nested too deeply
        raise UsageError(f"not a condition: {text[:80]!r}; {_hint(text)}") from None
    return lambda fields: bool(meets(fields))


def _hint(text: str) -> str:
    if "&&" in text or "||" in text:
        return "write `and`, `or`"
    if "=" in text and not any(sign in text for sign in ("==", "!=", "<=", ">=")):
        return "write `==` for equal"
    return 'for example: amount > 10000 and status == "PAID"'


def _value(node: ast.expr, text: str) -> Value:
    """Translate one node."""
    if isinstance(node, ast.BoolOp):
        return _joined(node, [_value(part, text) for part in node.values])
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        inner = _value(node.operand, text)
        return lambda fields: not inner(fields)
    if isinstance(node, ast.Compare):
        return _comparison(node, text)
    if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        parts = [_value(part, text) for part in node.elts]
        return lambda fields: [part(fields) for part in parts]
    return _simple(node, text)


def _simple(node: ast.expr, text: str) -> Value:
    """Translate a field or a constant."""
    if isinstance(node, ast.Attribute):
        return _attribute(_value(node.value, text), node.attr)
    if isinstance(node, ast.Name) and node.id not in _WORDS:
        name = node.id
        return lambda fields: fields.get(name)
    constant = _WORDS[node.id] if isinstance(node, ast.Name) else _constant(node, text)
    return lambda _: constant


def _joined(node: ast.BoolOp, parts: list[Value]) -> Value:
    every = all if isinstance(node.op, ast.And) else any
    return lambda fields: every(part(fields) for part in parts)


def _attribute(of: Value, name: str) -> Value:
    def value(fields: Fields) -> Any:
        found = of(fields)
        return found.get(name) if isinstance(found, Mapping) else None

    return value


def _comparison(node: ast.Compare, text: str) -> Value:
    values = [_value(part, text) for part in (node.left, *node.comparators)]
    compare = [_COMPARE[type(op)] for op in node.ops]

    def meets(fields: Fields) -> bool:
        known = [value(fields) for value in values]
        try:
            return all(c(a, b) for c, a, b in zip(compare, known, known[1:], strict=False))
        except TypeError:  # 5 < "a", 5 in 6
            return False

    return meets


def _constant(node: ast.expr, text: str) -> object:
    """Return a number (also a negative one) or a text."""
    sign = 1
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node, sign = node.operand, -1
    if isinstance(node, ast.Constant):
        if isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
            return sign * node.value
        if sign == 1 and isinstance(node.value, (str, bool, type(None))):
            return node.value
    kind = {ast.Call: "a call", ast.BinOp: "arithmetic", ast.Subscript: "an index"}
    what = kind.get(type(node), f"{type(node).__name__.lower()}")
    raise UsageError(f"{what} is not understood in {text!r}; {_hint(text)}")
