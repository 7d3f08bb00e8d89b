"""Explain why a customer buys: the score of one customer, term by term, as of now."""

from __future__ import annotations

import argparse
import json
import math
import sys
from datetime import datetime
from typing import Any, Final

import numpy as np
import psycopg
import redis
from psycopg.rows import class_row

from generators.behaviour import order_events, propensity
from generators.behaviour.cache_segments import PURCHASER_SHARE
from generators.scenarios import control, timetable
from shop import client_errors, command, postgres
from shop.clock import utc_now
from shop.errors import ExitCode, JangteoError, UnreachableError
from shop.output import say
from shop.redis import cache
from shop.redis.cache import CachedUser
from shop.retry import first_line
from shop.settings import Settings

_USER: Final = (
    "SELECT user_id, last_ordered_at IS NOT NULL AS purchaser, gender, birth_year, city, grade,"
    " created_at, last_ordered_at, order_count, total_spent FROM users WHERE user_id = %s"
)


def explain(
    user: CachedUser, others: list[CachedUser], now: datetime, effects: timetable.ScenarioEffects
) -> dict[str, Any]:
    """Return the parts of one customer's score; `others` are the customers of the cache.

    The parts of a buyer add up to the score; those who have not bought share one intercept.
    """
    pool = [user, *(o for o in others if o.user_id != user.user_id)]
    known = propensity.traits(pool, now)
    c = propensity.candidates(known, now, effects.segments)
    buyer = bool(c.buyer[0])
    rate = float(propensity.log_rate(c.orders[:1], c.age[:1], c.last[:1])[0]) if buyer else None
    cached = any(o.user_id == user.user_id for o in others)
    full = round(max(len(others), 1) * PURCHASER_SHARE)
    target = propensity.target_share(int(c.buyer.sum()), full)
    scores = propensity.scores(c)
    intercept = 0.0 if buyer else propensity.balance(scores, c.buyer, target)
    weights = scores + np.where(c.buyer, 0.0, propensity.balance(scores, c.buyer, target))
    share = math.exp(float(weights[0]) - float(np.logaddexp.reduce(weights)))
    terms = propensity.terms(known, now, effects.segments)
    return {
        "user_id": user.user_id,
        "in_cache": cached,
        "buyer": buyer,
        "orders": user.order_count,
        "weeks_since_sign_up": round(float(c.age[0]), 2),
        "weeks_to_last_order": round(float(c.last[0]), 2),
        "log_rate": None if rate is None else round(rate, 4),
        "intercept": round(intercept, 4),
        **{name: round(float(values[0]), 4) for name, values in terms.items()},
        "score": round(float(scores[0]) + intercept, 4),
        "share_of_weight": round(share, 6),
        "expected_rank": int((weights > weights[0]).sum()) + 1,
        "of": len(pool),
        "price_level": int(order_events.level(c.ids[:1])[0]) + 1,
        "scenarios": list(effects.running),
    }


_SAYS: Final = {
    "log_rate": "ln of expected orders per week (BG/NBD)",
    "intercept": "of those who have not bought: steers the share of first orders",
    "grade": "grade",
    "fresh": "signed up lately",
    "spend": "rank by spend among the buyers of the cache",
    "cart": "has something in the cart today",
    "soured": "last order was cancelled",
    "scenario": "scenarios that run",
    "score": "sum; the draw adds Gumbel noise",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("user_id", type=command.count, metavar="USER_ID", help="id of the customer")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Print one customer's score."""
    now = utc_now()
    try:
        with postgres.connection(settings.postgres, "explain") as conn:
            user = conn.cursor(row_factory=class_row(CachedUser)).execute(
                _USER, (args.user_id,)
            ).fetchone()  # fmt: skip
        with cache.client(settings.redis_url) as r:
            others = cache.read_users(r)
            at = now.timestamp()
            spans = timetable.between(settings.seed, at, at + 1)
            spans += control.spans(control.started(r, now))
    except psycopg.Error as e:
        raise client_errors.kind(e)(f"cannot read the shop: {first_line(e)}") from None
    except redis.RedisError as e:
        raise UnreachableError(f"cannot reach Redis: {cache.explain(e)}") from None
    if user is None:
        raise JangteoError(f"no user {args.user_id}")
    effects = timetable.compose(s for s in spans if s.start <= at < s.end)
    found = explain(user, others, now, effects)
    say(json.dumps(found) if args.json else _in_words(found))
    return ExitCode.OK


def _in_words(found: dict[str, Any]) -> str:
    where = "in the cache" if found["in_cache"] else "not in the cache: cannot be chosen now"
    kind = f"{found['orders']} paid orders" if found["buyer"] else "has not bought"
    level = f"price level {found['price_level']} of {len(order_events.LEVELS)}"
    lines = [
        f"user {found['user_id']}: {kind}, {where}",
        f"  signed up {found['weeks_since_sign_up']} weeks ago; {level}",
    ]
    lines += [
        f"  {found[name]:>9.4f}  {name:<10} {says}"
        for name, says in _SAYS.items()
        if found[name] is not None
    ]
    lines.append(
        f"  rank {found['expected_rank']} of {found['of']} without noise; "
        f"{100 * found['share_of_weight']:.3f} % of the weight; {propensity.CHOSEN} are chosen"
    )
    if found["scenarios"]:
        lines.append(f"  running: {', '.join(found['scenarios'])}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(command.main(configure, run, prog="python -m generators.explain", description=__doc__))
