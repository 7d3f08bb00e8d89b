"""Explain why a customer buys: when one is due, and the score term by term, as of now."""

from __future__ import annotations

import argparse
import json
import math
import sys
from datetime import datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import psycopg
import redis
from psycopg.rows import class_row

from generators.behaviour import customer_model, order_events, propensity
from generators.behaviour.cache_segments import PURCHASER_SHARE
from generators.random_streams import Floats
from generators.scenarios import control, timetable
from shop import client_errors, command, postgres
from shop.clock import utc_now
from shop.errors import ExitCode, JangteoError, UnreachableError
from shop.output import say
from shop.redis import cache
from shop.redis.cache import CachedUser
from shop.retry import first_line
from shop.settings import Settings

_USER: Final = """
SELECT u.user_id, u.last_ordered_at IS NOT NULL AS purchaser, u.gender, u.birth_year, u.city,
    u.grade, u.created_at, u.last_ordered_at, u.order_count, u.total_spent,
    CASE WHEN c.due > t.orders THEN c.due - t.orders
         WHEN c.orders > 0 OR c.due > t.orders - %s * t.orders_per_day THEN 0 END AS due_in
FROM users AS u LEFT JOIN simulation.customers AS c ON c.user_id = u.user_id
LEFT JOIN simulation.clock AS t ON true WHERE u.user_id = %s
"""


def explain(
    user: CachedUser,
    others: list[CachedUser],
    now: datetime,
    effects: timetable.ScenarioEffects,
    *,
    seed: int = 1,
) -> dict[str, Any]:
    """Return the parts of one customer's score; `others` are the customers of the cache.

    The parts add up to the score. Those who have not bought share one part, the intercept: with
    it, purchasers have the share (due purchasers / 600) of the weight.
    """
    pool = [user, *(o for o in others if o.user_id != user.user_id)]
    known = propensity.traits(pool, now)
    buyer = ~np.isnan(known.last)
    due = np.array([u.due for u in pool])
    parts = {
        "taste": customer_model.taste(seed, known.ids),
        **propensity.terms(known, now, effects.segments),
    }
    logs = np.sum(list(parts.values()), axis=0)
    full = round(max(len(others), 1) * PURCHASER_SHARE)
    intercept = _intercept(logs, buyer, due, full)
    score = logs + np.where(buyer, 0.0, intercept)
    weight = np.where(due, np.exp(score), 0.0)
    share = float(weight[0] / weight.sum()) if due[0] else 0.0
    cached = any(o.user_id == user.user_id for o in others)
    return {
        "user_id": user.user_id,
        "in_cache": cached,
        "buyer": bool(buyer[0]),
        "orders": user.order_count,
        "weeks_since_sign_up": round(max(now.timestamp() - known.created[0], 0.0) / _WEEK_S, 2),
        "due": bool(due[0]),
        "due_in_orders": user.due_in,
        "due_purchasers": int((due & buyer)[1:].sum()),
        "intercept": 0.0 if buyer[0] else round(intercept, 4),
        **{name: round(float(values[0]), 4) for name, values in parts.items()},
        "score": round(float(score[0]), 4),
        "share_of_weight": round(share, 6),
        "expected_rank": int((weight > weight[0]).sum()) + 1 if due[0] else None,
        "of": int(due.sum()),
        "price_level": int(order_events.level(known.ids[:1])[0]) + 1,
        "scenarios": list(effects.running),
    }


def _intercept(
    logs: Floats, buyer: npt.NDArray[np.bool_], due: npt.NDArray[np.bool_], full: int
) -> float:
    """Return the logarithm of the factor by which `customer_model.choose` weighs the others."""
    ours, theirs = (float(np.exp(logs[due & side]).sum()) for side in (buyer, ~buyer))
    served = int((due & buyer).sum())
    if not served or not theirs or served >= full:
        return 0.0
    return math.log(ours / theirs * (full - served) / served)


_WEEK_S: Final = 604_800.0
_SAYS: Final = {
    "intercept": "of those who have not bought: leaves purchasers (due purchasers / 600) of it",
    "taste": "inclination of this customer, the same for ever",
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
                _USER, (customer_model.MODEL.patience_days, args.user_id)
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
    found = explain(user, others, now, effects, seed=settings.seed)
    say(json.dumps(found) if args.json else _in_words(found))
    return ExitCode.OK


def _in_words(found: dict[str, Any]) -> str:
    where = "in the cache" if found["in_cache"] else "not in the cache: cannot be chosen now"
    kind = f"{found['orders']} paid orders" if found["buyer"] else "has not bought"
    level = f"price level {found['price_level']} of {len(order_events.LEVELS)}"
    lines = [
        f"user {found['user_id']}: {kind}, {where}",
        f"  signed up {found['weeks_since_sign_up']} weeks ago; {level}",
        f"  {_due_in_words(found)}",
    ]
    lines += [f"  {found[name]:>9.4f}  {name:<10} {says}" for name, says in _SAYS.items()]
    if found["due"]:
        lines.append(
            f"  rank {found['expected_rank']} of {found['of']} who are due, without noise; "
            f"{100 * found['share_of_weight']:.3f} % of the weight; {customer_model.CHOSEN} are "
            "chosen"
        )
    if found["scenarios"]:
        lines.append(f"  running: {', '.join(found['scenarios'])}")
    return "\n".join(lines)


def _due_in_words(found: dict[str, Any]) -> str:
    if found["due"]:
        return "due: may buy now"
    if found["due_in_orders"] is None:
        return "not due: will not buy (again)"
    return f"not due: in {found['due_in_orders']:,} orders of the shop"


if __name__ == "__main__":
    sys.exit(command.main(configure, run, prog="python -m generators.explain", description=__doc__))
