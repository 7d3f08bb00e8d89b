"""How many orders a second reach Kafka: the live generator, the limit, what a user would write.

    python -m benchmarks.rates [--rates 50 1000 10000 100000] [--seconds 10]

Servers are private ones on this machine, the cache is full, and every order is acknowledged by
Kafka. The limit is librdkafka handed the same messages, made and encoded beforehand, by one Python
process that does nothing else. The user's script makes one order at a time from the same cache,
with `random` and `json`, and produces it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import common, orders
from jangteo.stack import embedded
from shop import kafka
from shop.clock import utc_now
from shop.redis import cache
from shop.settings import Settings

FULL = 1_000
"""Of the cache: customers, and products."""
LIMIT = "messages made beforehand"
SAID = re.compile(r"the rate was (?:not )?met.*? sustained=(\d+)")


@dataclass(frozen=True)
class RatesFigure:
    """One contestant.

    Attributes:
        name: of it.
        asked: orders a second; None: as many as it can.
        sustained: orders a second, acknowledged.
        cpu_us: processor time of an order, microseconds, where it is known.
    """

    name: str
    asked: float | None
    sustained: float
    cpu_us: float | None = None


def fill(env: dict[str, str]) -> None:
    """Seed customers and products, and fill the cache."""
    size = ["--users", str(2 * FULL), "--products", str(2 * FULL)]
    for argv in (["init"], ["seed", *size], ["generate", "cache", "--once"]):
        command = [sys.executable, "-m", "jangteo", *argv]
        subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)


def generator(env: dict[str, str], rate: float, seconds: float) -> RatesFigure:
    """Run the live generator at a rate."""
    argv = [sys.executable, "-m", "generators.orders"]
    before = os.times()
    done = subprocess.run(
        [*argv, "--rate", str(rate), "--for", str(seconds)],
        env=env, check=False, capture_output=True, text=True,
    )  # fmt: skip
    after = os.times()
    found = SAID.search(done.stderr)
    if done.returncode or not found:
        raise RuntimeError(f"the generator ended with {done.returncode}:\n{done.stderr[-2000:]}")
    sustained = float(found[1])
    used = sum(after[2:4]) - sum(before[2:4])
    return RatesFigure("generate orders", rate, sustained, 1e6 * used / (sustained * seconds))


def limit(settings: Settings, n: int) -> RatesFigure:
    """Hand librdkafka messages that are made already."""
    made = list(orders.messages(orders.frame(n, users=FULL, products=FULL)))
    used = time.process_time()
    seconds = orders.publish(settings, made)
    used = time.process_time() - used
    return RatesFigure(LIMIT, None, n / seconds, 1e6 * used / n)


def script(settings: Settings, seconds: float) -> RatesFigure:
    """Make, encode and produce one order after the other."""
    r = cache.client(settings.redis_url)
    users, products = cache.read_users(r), cache.read_products(r)
    producer = kafka.producer(settings.kafka, "bench", **orders.BULK)
    rng = random.Random(1)
    began, used, n = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - began < seconds:
        user, product = rng.choice(users), rng.choice(products)
        quantity = rng.randint(1, 3)
        order = {
            "order_id": str(uuid.UUID(int=rng.getrandbits(128), version=4)),
            "user_id": user.user_id,
            "product_id": product.product_id,
            "quantity": quantity,
            "unit_price": product.price,
            "amount": quantity * product.price,
            "payment_method": rng.choice(["CARD", "KAKAOPAY", "NAVERPAY", "TRANSFER"]),
            "status": "PAID",
            "ordered_at": utc_now().isoformat(),
        }
        producer.produce("orders", json.dumps(order).encode(), key=str(user.user_id))
        producer.poll(0)
        n += 1
    producer.flush(60)
    passed = time.perf_counter() - began
    return RatesFigure("one at a time", None, n / passed, 1e6 * (time.process_time() - used) / n)


def show(figures: list[RatesFigure]) -> None:
    """Print the table; the first figure is what the others are held against."""
    table = Table("contestant", "asked", "sustained", "of asked", "of the limit", "CPU us an order")
    for f in figures:
        table.add_row(
            f.name,
            "-" if f.asked is None else f"{f.asked:,.0f}/s",
            f"{f.sustained:,.0f}/s",
            "-" if f.asked is None else f"{f.sustained / f.asked:.1%}",
            f"{f.sustained / figures[0].sustained:.2f}",
            "-" if f.cpu_us is None else f"{f.cpu_us:.1f}",
        )
    Console(width=None if sys.stdout.isatty() else 100).print(table)


def results(figures: list[RatesFigure]) -> list[common.Result]:
    """Return the figures for the report."""
    made = []
    for f in figures:
        base, of = (f.asked, "what was asked") if f.asked else (figures[0].sustained, LIMIT)
        name = f"{f.name}, {f.asked:,.0f}/s asked" if f.asked else f.name
        chart = "Orders into Kafka, orders/s"
        made.append(
            common.Result(name, f.sustained, "orders/s", f.sustained / base, of, chart=chart)
        )
        if f.cpu_us is not None:
            made.append(common.Result(f"{name}: CPU of an order", f.cpu_us, "us"))
    return made


def main() -> int:
    """Run the comparison."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rates", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--rates", type=float, nargs="+", default=[50, 1_000, 10_000, 100_000])
    parser.add_argument("--seconds", type=float, default=10.0, help="of each run")
    parser.add_argument("--orders", type=int, default=1_000_000, help="of the limit's run")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args()
    print(common.machine())
    with common.rig() as rig:
        redis = embedded.EmbeddedRedis(rig.directory)
        try:
            redis.start()
            given = {**rig.database(), **redis.env, "JANGTEO_DATA_DIR": str(rig.directory)}
            env = {**os.environ, **given}
            fill(env)
            settings = rig.settings(given)
            figures = [limit(settings, args.orders)]
            for rate in args.rates:
                rig.empty_topics()
                figures.append(generator(env, rate, args.seconds))
            rig.empty_topics()
            figures.append(script(settings, args.seconds / 2))
        finally:
            redis.kill()
    show(figures)
    if args.json:
        common.save(args.json, results(figures), figures=[asdict(f) for f in figures])
    return 0


if __name__ == "__main__":
    sys.exit(main())
