"""Our own schema refuses nothing that decoding accepts."""

from __future__ import annotations

import pytest

from flows.batch import RawBatch
from shop.ids import EPOCH, MAX_ID
from shop.optional.fields import MAX_KRW
from shop.postgres import Connection
from tests.flows.ingesting import Ingesting
from tests.support.event_samples import (
    message,
    order,
    orders_batch,
    product,
    raw_batch,
    user,
)
from tests.support.waiting import wait_until

# -- our own schema refuses nothing that decoding lets through ---------------------------------

EXTREMES = [
    orders_batch([
        order(1, quantity=1, unit_price=0, discount=0, rev=32_767, user_id=1, product_id=1),
        order(MAX_ID, quantity=999, unit_price=MAX_KRW // 999, product_id=MAX_ID,
              payment_method="VIRTUAL_ACCOUNT", scenario="a" * 64),
        order(2, ordered_at=EPOCH, updated_at=EPOCH, status="REFUNDED"),
    ]),
    raw_batch("users", [
        message("users", user(1, birth_year=1900, name="\x01", email="\x7f",
                              city="\U0010ffff" * 200)),
        message("users", user(MAX_ID, birth_year=2100, name="\uffff", email="\u202e", city="\ufeff",
                              gender="M", created_at=EPOCH)),
    ]),
    raw_batch("products", [
        message("products", product(1, price=0, name="\\N", brand="\\.", category='"')),
        message("products", product(MAX_ID, price=MAX_KRW, name="\r\n" * 100)),
    ]),
]  # fmt: skip


@pytest.mark.parametrize("raw", EXTREMES, ids=lambda raw: raw.topic)
def test_the_edges_of_what_is_valid_are_stored(
    raw: RawBatch, ingesting: dict[str, Ingesting], pg: Connection
) -> None:
    member = ingesting[raw.topic]
    member.put(raw)
    wait_until(member.stored, "stored")
    counts = "SELECT stored, rejected FROM ingest_offsets WHERE topic = %s"
    assert pg.execute(counts, (raw.topic,)).fetchone() == (len(raw), 0)


OURS = {
    "orders": {
        "orders_pkey", "orders_status_check", "orders_numbers_check", "orders_amount_check",
    },
    "users": {"users_pkey", "users_gender_check", "users_birth_year_check"},
    "products": {
        "products_pkey", "products_price_check", "products_rev_check", "products_sale_status_check",
    },
    "user_spend_windows": {"user_spend_windows_pkey"},
    "ingest_offsets": {"ingest_offsets_pkey"},
    "rejected_messages": {"rejected_messages_pkey"},
}  # fmt: skip


def test_a_constraint_is_added_only_with_what_decoding_holds_it_against(pg: Connection) -> None:
    """Each of our constraints must follow from `shop.events`, or good messages wait for ever."""
    for table, names in OURS.items():
        rows = pg.execute(
            "SELECT conname FROM pg_constraint WHERE conrelid = %s::regclass AND contype <> 'n'",
            (table,),
        )
        assert {name for (name,) in rows} == names
