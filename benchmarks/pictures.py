"""The main statistics as pictures."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import polars as pl

from benchmarks import shapes
from generators.behaviour.demand_curves import HOURS, WEEKDAYS

mpl.use("Agg")  # before pyplot: there is no screen
import matplotlib.pyplot as plt


def draw(orders: pl.DataFrame, quiet: pl.DataFrame, folder: Path) -> list[Path]:
    """Draw one picture each for hours, weekdays, customers, products and gaps.

    Args:
        orders: of a year with scenarios.
        quiet: of one without, for the curves of the day and the week.
        folder: where to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figure, axes = plt.subplots(2, 3, figsize=(13, 7), layout="constrained")
    hour, day = shapes.shares(quiet)
    axes[0, 0].bar(range(24), hour * 100, color="#4a7")
    axes[0, 0].plot(range(24), np.array(HOURS) / sum(HOURS) * 100, "k.-", label="target")
    axes[0, 0].set(title="orders by hour, %", xlabel="hour in Seoul")
    axes[0, 1].bar(range(7), day / day.mean() * 100, color="#47a")
    axes[0, 1].plot(range(7), WEEKDAYS, "k.-", label="target")
    axes[0, 1].set(title="orders by weekday, mean 100", xticks=range(7))
    axes[0, 1].set_xticklabels(["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"])
    spend = np.sort(orders.group_by("user_id").agg(pl.col("amount").sum())["amount"].to_numpy())
    share = np.concatenate([[0.0], np.cumsum(spend) / spend.sum()])
    axes[0, 2].plot(np.linspace(0, 1, len(share)), share, color="#a47")
    axes[0, 2].plot([0, 1], [0, 1], "k:")
    axes[0, 2].set(title=f"spend of customers, Gini {shapes.gini(spend):.2f}", xlabel="customers")
    units = orders.group_by("product_id").agg(pl.col("quantity").sum())["quantity"].to_numpy()
    axes[1, 0].loglog(np.arange(1, len(units) + 1), np.sort(units)[::-1], color="#a74")
    axes[1, 0].set(title="units sold by rank of the product", xlabel="rank")
    gaps = shapes.gaps_days(orders)
    axes[1, 1].hist(gaps, bins=np.arange(0, 200, 4), color="#74a")
    axes[1, 1].set(title=f"days between orders, CV {gaps.std() / gaps.mean():.2f}", xlabel="days")
    local = orders["ordered_at"].dt.convert_time_zone("Asia/Seoul").dt.date()
    daily = local.value_counts().sort("ordered_at")
    axes[1, 2].plot(daily["ordered_at"].to_list(), daily["count"].to_list(), color="#7a4", lw=0.8)
    axes[1, 2].set(title="orders by day, with scenarios")
    axes[1, 2].tick_params(axis="x", rotation=45)
    path = folder / "realism.png"
    figure.savefig(path, dpi=90)
    plt.close(figure)
    return [path]
