"""Fields of messages whose bytes no contract allows."""

from __future__ import annotations

from typing import Any

import pytest

from shop.messages import message_lines


class Foreign:
    """A message as Kafka's client returns it."""

    def __init__(self, payload: bytes) -> None:
        self._payload = payload

    def value(self) -> bytes:
        return self._payload

    def key(self) -> bytes:
        return b"\xc7"

    def timestamp(self) -> tuple[int, int]:
        return 1, 1_000

    def headers(self) -> None:
        return None

    def topic(self) -> str:
        return "orders"

    def partition(self) -> int:
        return 3

    def offset(self) -> int:
        return 17


@pytest.mark.parametrize("payload", [b"\xc7{}", b'{"a": "\xc7"}', b"[" * 3_000, b""])
def test_what_is_not_json_has_the_fields_of_its_place(payload: bytes) -> None:
    message: Any = Foreign(payload)
    assert message_lines.fields(message)["offset"] == 17
    assert '"offset":17' in message_lines.as_json(message)
