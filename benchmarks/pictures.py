"""Statistics as pictures: of simulated orders, and of a history in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import polars as pl

from benchmarks import shapes
from generators.behaviour.demand_curves import HOURS, WEEKDAYS

mpl.use("Agg")  # before pyplot: there is no screen
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

# Text as text, and the same bytes from the same numbers.
mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "jangteo"})
_GRADES = ("#b08d57", "#9aa4ad", "#d9a400", "#7a5cc4", "#c43c6a")


def _save(figure: Figure, folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.svg"
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    # Matplotlib ends lines of a path with a space.
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(map(str.rstrip, lines)) + "\n", encoding="utf-8")
    return path


def revenue(days: Sequence[tuple[date, int, str]], folder: Path) -> Path:
    """Draw revenue by business day; the colour below it is the scenario of most orders."""
    figure, axes = plt.subplots(figsize=(12, 4.5), layout="constrained")
    where = np.array([d for d, _, _ in days], "datetime64[D]")
    millions = np.array([r for _, r, _ in days]) / 1e6
    names = sorted({name for _, _, name in days if name})
    colours = dict(zip(names, plt.get_cmap("tab20")(np.linspace(0, 1, 20)), strict=False))
    for name in names:
        rows = [i for i, day in enumerate(days) if day[2] == name]
        axes.bar(where[rows], millions[rows], width=1.0, color=colours[name], label=name)
    axes.plot(where, millions, color="#333", lw=0.8)
    axes.set(title="revenue by business day, million KRW", ylim=(0, None))
    axes.margins(x=0.01)
    axes.legend(ncols=6, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.08))
    return _save(figure, folder, "history-revenue")


def grades(
    when: Sequence[datetime],
    held: npt.NDArray[np.int64],
    names: Sequence[str],
    folder: Path,
) -> Path:
    """Draw the customers of each grade after each grading; next to it, those above the lowest."""
    figure, (everybody, above) = plt.subplots(1, 2, figsize=(12, 4), layout="constrained")
    x = np.array([w.replace(tzinfo=None) for w in when], "datetime64[s]")
    thousands = held.T / 1e3
    everybody.stackplot(x, thousands, labels=names, colors=_GRADES)
    everybody.set(title="customers by grade, thousands", ylim=(0, None))
    everybody.legend(loc="upper left", fontsize=8)
    above.stackplot(x, thousands[1:], labels=names[1:], colors=_GRADES[1:])
    above.set(title=f"those above {names[0]}, thousands", ylim=(0, None))
    for axes in (everybody, above):
        axes.margins(x=0)
        axes.tick_params(axis="x", rotation=30)
    return _save(figure, folder, "history-grades")


def lorenz(curves: Sequence[tuple[str, npt.NDArray[np.float64]]], folder: Path) -> Path:
    """Draw Lorenz curves, and where CDNOW's customers were."""
    figure, axes = plt.subplots(figsize=(6, 5), layout="constrained")
    for (name, shares), colour in zip(curves, ("#a47", "#47a", "#a74"), strict=False):
        axes.plot(np.linspace(0, 100, len(shares)), shares * 100, color=colour, label=name)
    axes.plot([0, 100], [0, 100], "k:", lw=0.8)
    axes.plot([80, 90, 99], [32.2, 49.1, 84.1], "kx", label="spend in CDNOW, 18 months")
    axes.set(xlabel="% of them, smallest first", ylabel="% of the sum", xlim=(0, 100))
    axes.set(ylim=(0, 100), title="Lorenz curves")
    axes.legend(loc="upper left", fontsize=8)
    return _save(figure, folder, "history-lorenz")


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
