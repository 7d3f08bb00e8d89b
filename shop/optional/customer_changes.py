"""Changes of customers: sign-up, moves, new names, consent to marketing, closed accounts."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias, get_args

from shop.optional.fields import Id, Instant, Revision, Text
from shop.optional.topic import OptionalEvent, OptionalTopic

ChangeKind: TypeAlias = Literal["SIGNED_UP", "MOVED", "RENAMED", "CONSENT", "CLOSED"]
Consent: TypeAlias = Literal["GRANTED", "WITHDRAWN"]

CHANGE_KINDS: Final[tuple[str, ...]] = get_args(ChangeKind)


class CustomerChange(OptionalEvent, frozen=True, kw_only=True, gc=False):
    """The full state of a customer from a change on. Key: `user_id`.

    `rev` counts the changes of a customer from 1, the sign-up. CLOSED is the last one and a request
    for deletion: it carries no name, no city and no consent, and what is stored of the customer is
    erased with it.
    """

    v: Literal[1]
    change_id: Id
    user_id: Id
    rev: Revision
    kind: ChangeKind
    name: Text | None
    city: Text | None
    marketing_consent: Consent | None
    updated_at: Instant


_DAY_MS: Final = 86_400_000

CUSTOMER_CHANGES: Final = OptionalTopic(
    name="customer_changes",
    event=CustomerChange,
    id_field="change_id",
    key_field="user_id",
    switch="changes",
    revised=False,
    purpose="customers who sign up, move, change their name or consent, or close their account",
    narrow={"rev": "smallint"},
    derived=("users_history", "product_prices"),
    erased="name",
    config={
        # The newest state of each customer stays; a closed account's is empty, and replaces all
        # others within a month, which is the time that the GDPR gives.
        "cleanup.policy": "compact",
        "min.compaction.lag.ms": str(7 * _DAY_MS),
        "max.compaction.lag.ms": str(28 * _DAY_MS),
        "segment.ms": str(_DAY_MS),
    },
)
