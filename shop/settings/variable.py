"""One environment variable: its type, bounds, default and meaning, and who reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar, overload

from shop.errors import UsageError

Reader = Literal["ingest", "generator", "cache", "grader", "console", "up"]
"""A kind of process."""
Value = TypeVar("Value")
Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Kind(Generic[Value]):
    """A type of value.

    Attributes:
        expects: completes "expected", in messages and in the docs.
        parse: raises ValueError for text that is not such a value.
        verbatim: whether spaces count and an empty value is a value.
    """

    expects: str
    parse: Callable[[str], Value]
    verbatim: bool = False


class _HasEnv(Protocol):
    @property
    def env(self) -> Mapping[str, str]: ...


@dataclass(frozen=True)
class Variable(Generic[Value]):
    """One environment variable; as an attribute of a class with `env`, it is its value there.

    Attributes:
        name: of the variable.
        kind: its type and bounds.
        default: as written in the environment; empty if there is none.
        meaning: whole sentences, for the docs and the example.
        readers: the kinds of process that read it; empty: every command.
        secret: whether NAME_FILE may name a file that holds the value.
        example: what the example sets; empty if it leaves the variable out.
    """

    name: str
    kind: Kind[Value]
    default: str
    meaning: str
    readers: tuple[Reader, ...] = ()
    secret: bool = False
    example: str = ""

    def read(self, env: Mapping[str, str]) -> Value:
        """Return the value, or the default.

        Raises:
            UsageError: names the variable, its value and what is expected.
        """
        text = env.get(self.name, self.default if self.kind.verbatim else "")
        if not self.kind.verbatim:
            text = text.strip() or self.default
        try:
            return self.kind.parse(text)
        except ValueError:
            raise UsageError(f"{self.name}={text!r}: expected {self.kind.expects}") from None

    def given(self, env: Mapping[str, str]) -> bool:
        """Return whether the environment sets it to anything but spaces."""
        return bool(env.get(self.name, "").strip())

    @overload
    def __get__(self, instance: None, owner: type) -> Variable[Value]: ...
    @overload
    def __get__(self, instance: _HasEnv, owner: type) -> Value: ...
    def __get__(self, instance: _HasEnv | None, owner: type) -> Variable[Value] | Value:
        """Return the value in the environment of an instance."""
        return self if instance is None else self.read(instance.env)


def number(kind: type[Number], low: float, high: float = float("inf")) -> Kind[Number]:
    """Return the type of a number within bounds."""

    def parse(text: str) -> Number:
        value = kind(text)
        if not low <= value <= high:
            raise ValueError(text)
        return value

    what = "a whole number" if kind is int else "a number"
    bounds = f"from {low:g} to {high:g}" if high != float("inf") else f"of at least {low:g}"
    return Kind(f"{what} {bounds}", parse)


def one_of(*choices: str) -> Kind[str]:
    """Return the type of a word among several."""

    def parse(text: str) -> str:
        if (chosen := text.lower()) not in choices:
            raise ValueError(text)
        return chosen

    return Kind(f"one of {', '.join(choices)}", parse)
