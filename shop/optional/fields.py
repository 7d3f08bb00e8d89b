"""The types of events' fields: their bounds are the contract, and PostgreSQL's columns follow."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, TypeAlias

from msgspec import Meta

from shop.ids import MAX_ID

MAX_KRW: Final = 1_000_000_000_000
MAX_REV: Final = 32_767
"""The largest `smallint`."""

Id: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_ID)]
Revision: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_REV)]
Krw: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_KRW)]
Instant: TypeAlias = Annotated[datetime, Meta(tz=True)]
Text: TypeAlias = Annotated[str, Meta(min_length=1, max_length=200)]
Slug: TypeAlias = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}\Z")]
