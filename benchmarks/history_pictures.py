"""A history as pictures: revenue by day, grades over the year, how unequal customers are."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt

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
