"""The cache, opened: its keys, their entries, and what an entry is about."""

from __future__ import annotations

from pathlib import Path

import msgspec
import redis

from console.lookups import cache_rows
from console.lookups.details import Detail, DetailRow, Ref
from console.lookups.lookup import Lookup
from console.tui.objects.detail_screen import DetailScreen
from shop.clock import utc_now
from shop.redis import cache
from shop.redis.cache import CachedProduct, CachedUser, CacheMeta
from shop.settings import Settings
from tests.console import console_samples as samples
from tests.console.console_samples import StillFeed
from tests.console.driving import app_of, settle
from tests.console.objects.reading import whole

USER = CachedUser(
    user_id=5, purchaser=True, gender="F", birth_year=1990, city="Seoul", grade="GOLD",
    created_at=None, last_ordered_at=None, order_count=7, total_spent=1_234_567,
)  # fmt: skip
PRODUCT = CachedProduct(
    product_id=6, popular=True, name="cup", category="kitchen", brand=None, price=15_000,
    created_at=None, order_count=3,
)  # fmt: skip


def rows(settings: Settings, kind: str, key: str) -> dict[str, DetailRow]:
    found = whole(Lookup(settings, samples.fine()), kind, key)
    return {r.label: r for r in found}


def test_a_key_leads_to_its_entries_and_an_entry_to_its_customer(
    settings: Settings, redis_client: redis.Redis
) -> None:
    cache.swap(
        redis_client, [USER], [PRODUCT],
        lambda version, _: CacheMeta(version=version, refreshed_at=utc_now()),
    )  # fmt: skip
    key = rows(settings, "key", cache.USERS)
    assert key["type"].text == "hash"
    assert str(key["TTL"].text) == "until the next refresh"
    assert "refresh #1" in str(key["refreshed"].text)
    assert "grade=GOLD" in str(key["5"].text)
    assert key["5"].ref == Ref("entry", f"{cache.USERS}/5")

    entry = rows(settings, "entry", f"{cache.USERS}/5")
    assert entry["key"].ref == Ref("key", cache.USERS)
    assert entry["customer"].ref == Ref("customer", "5")
    assert str(entry["total_spent"].text) == "1,234,567 KRW"
    assert rows(settings, "entry", f"{cache.PRODUCTS}/6")["product"].ref == Ref("product", "6")
    assert rows(settings, "key", cache.META)["version"].text == "1"
    assert rows(settings, "customer", "5")[cache.USERS].ref == Ref("entry", f"{cache.USERS}/5")


def test_what_is_not_in_the_cache_or_not_from_its_worker_is_shown(
    settings: Settings, redis_client: redis.Redis
) -> None:
    assert rows(settings, "entry", f"{cache.USERS}/9")[cache.USERS].wrong
    redis_client.hset(cache.USERS, "9", "not JSON \x1b[31m")
    entry = rows(settings, "entry", f"{cache.USERS}/9")
    assert entry[cache.USERS].wrong
    assert "\x1b" not in str(entry[cache.USERS].text)
    assert "not JSON" in str(rows(settings, "key", cache.USERS)["9"].text)
    assert [r.label for r in Lookup(settings, samples.fine()).open(Ref("entry", "x")).rows]


def test_a_refresh_shows_what_it_replaced() -> None:
    found = samples.fine().redis.value
    assert found is not None
    newest = found.refreshes[-1]
    shown = {r.label: r for r in cache_rows.refresh_rows(found, cache_rows.refresh_key(newest))}
    assert shown["version"].text == f"#{newest.version}"
    assert shown["users"].ref == Ref("key", cache.USERS)
    assert not list(cache_rows.refresh_rows(None, "#1"))


async def test_rows_of_the_cache_tab_open(tmp_path: Path) -> None:
    app = app_of(StillFeed(samples.fine()), tmp_path)
    opened: list[Ref] = []

    def look_up(ref: Ref) -> Detail:
        opened.append(ref)
        return Detail(ref, (DetailRow("key", ref.key),))

    app._look_up = look_up  # type: ignore[method-assign]  # what a look-up finds is given
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("3")
        await settle(pilot)
        await pilot.press("enter")
        await settle(pilot)
        assert isinstance(app.screen, DetailScreen)
        assert app.screen.ref == Ref("key", cache.USERS)
        await pilot.press("escape", "tab", "enter")
        await settle(pilot)
        assert isinstance(app.screen, DetailScreen)
        assert app.screen.ref.kind == "refresh"


def test_an_entry_is_of_the_fields_that_the_worker_writes() -> None:
    written = msgspec.json.encode(USER).decode()
    assert cache_rows._summary(written) == "grade=GOLD  purchaser=true  order_count=7"
