"""What the shop knows of an optional topic; every program works from this, and names none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import msgspec

Column: TypeAlias = Literal["smallint", "integer"]
"""A whole number's type in PostgreSQL where it is not `bigint`."""


class OptionalEvent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The base of the events of optional topics.

    The first field is ``v: Literal[1]``, the second the identifier, which is the primary key of the
    table. The table has the columns of the event in any order, but `v`; and `ingested_at` and
    `changed_at`, both ``timestamptz NOT NULL DEFAULT now()``.
    """


@dataclass(frozen=True, slots=True)
class OptionalTopic:
    """A topic that the shop has if it is switched on, with the table of the same name.

    Attributes:
        name: of the topic and of its table.
        event: the contract of its messages.
        id_field: the primary key of the table.
        key_field: the field whose decimal digits are the message key.
        switch: the word of ``--with`` that brings it.
        revised: whether an id has revisions (the field `rev`), of which the highest wins; if not,
            the first event of an id counts.
        purpose: what it says, in one line for people.
        narrow: columns of whole numbers that are not bigint.
        derived: further tables that the ingest fills from it.
        time_field: when it happened: the event is published then.
        erased: a column that is null in rows whose content was erased; any event with the id of
            such a row counts as a copy of it.
        config: settings of the topic in Kafka, for when it is created.
    """

    name: str
    event: type[OptionalEvent]
    id_field: str
    key_field: str
    switch: str
    revised: bool
    purpose: str
    narrow: Mapping[str, Column] = field(default_factory=dict)
    derived: tuple[str, ...] = ()
    time_field: str = "updated_at"
    erased: str | None = None
    config: Mapping[str, str] = field(default_factory=dict)
