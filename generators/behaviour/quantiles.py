"""Quantiles of the gamma and beta distributions from tables of integers: the same bits anywhere.

Neither has a formula. Looking up and interpolating uses only operations that IEEE 754 fixes to the
bit, as in `generators.portable_math`. The tables are in `quantiles.json`, which
``python -m generators.behaviour.quantiles`` writes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np

from generators.random_streams import Floats

FILE: Final = Path(__file__).with_name("quantiles.json")
UNIT: Final = 2.0**-32
"""What one of the integers is."""
R: Final = 0.245
"""Shape of the gamma distribution, see `CustomerModel`."""
A: Final = 0.55
"""First shape of the beta distribution."""
B: Final = 2.4
"""Second shape of the beta distribution."""
# Ever finer steps towards 1, where quantiles are steep; powers of two, so that places are exact.
_PIECES: Final = ((0.0, 512), (7 / 8, 2_048), (63 / 64, 16_384), (511 / 512, 131_072))
_LAST: Final = 1 - 2.0**-22
"""Stands for 1, whose quantile may be infinite: it is the end of the last step."""
_EDGES: Final = np.array([low for low, _ in _PIECES])
_STEPS: Final = np.array([steps for _, steps in _PIECES], dtype=np.float64)
_OFFSETS: Final = np.array([0, 448, 448 + 224, 448 + 448])


@cache
def _table(name: str) -> Floats:
    """Return a table; integers below 2^53 are exact as doubles."""
    numbers: dict[str, list[int]] = json.loads(FILE.read_text(encoding="utf-8"))
    return np.array(numbers[name], dtype=np.float64)


def quantile(name: str, u: Floats) -> Floats:
    """Return quantiles by linear interpolation.

    Args:
        name: ``gamma`` of shape `R` and scale 1, or ``beta`` of shapes `A` and `B`.
        u: shape (n,), in [0, 1).

    >>> quantile("beta", np.array([0.0, 0.5, 0.9])).round(3).tolist()
    [0.0, 0.116, 0.485]
    """
    table = _table(name)
    piece = np.searchsorted(_EDGES, u, side="right") - 1
    place = (u - _EDGES[piece]) * _STEPS[piece]
    step = place.astype(np.int64)
    rest = place - step
    step += _OFFSETS[piece]
    low = table[step]
    rise = table[step + 1] - low
    rise = rise * rest
    result: Floats = (low + rise) * UNIT
    return result


# -- making the tables -----------------------------------------------------------------------------


def made() -> dict[str, list[int]]:
    """Return the tables, made with the logarithms of this machine."""
    knots = [low + i / steps for (low, steps), n in zip(_PIECES, (448, 224, 224, 256), strict=True)
             for i in range(n)]  # fmt: skip
    knots.append(_LAST)
    return {
        "gamma": [_units(_inverse(_gamma_share, u, 40.0)) for u in knots],
        "beta": [_units(_inverse(_beta_share, u, 1.0)) for u in knots],
    }


def _units(value: float) -> int:
    return round(value / UNIT)


def _inverse(share: Callable[[float], float], u: float, high: float) -> float:
    """Return where a distribution function reaches u, by bisection."""
    low = 0.0
    while high - low > UNIT / 4:
        middle = (low + high) / 2
        low, high = (middle, high) if share(middle) < u else (low, middle)
    return high


def _gamma_share(x: float) -> float:
    """The series of the lower incomplete gamma function."""
    if x <= 0:
        return 0.0
    term = total = 1 / R
    n = 0
    while term > total * 1e-17:
        n += 1
        term *= x / (R + n)
        total += term
    return total * math.exp(R * math.log(x) - x - math.lgamma(R))


def _beta_share(x: float) -> float:
    """The series of the incomplete beta function; from the other end where it converges slowly."""
    whole = math.exp(math.lgamma(A) + math.lgamma(B) - math.lgamma(A + B))
    if x > 0.5:
        return 1 - _beta_series(1 - x, B, A) / whole
    return _beta_series(x, A, B) / whole


def _beta_series(x: float, a: float, b: float) -> float:
    if x <= 0:
        return 0.0
    factor, total = 1.0, 1 / a
    n = 0
    while abs(factor) > 1e-18:
        n += 1
        factor *= (n - b) / n * x
        total += factor / (a + n)
    return float(x**a * total)


if __name__ == "__main__":
    lines = (f"{json.dumps(name)}: {json.dumps(numbers)}" for name, numbers in made().items())
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
