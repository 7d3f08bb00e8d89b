"""Named, seeded random streams, and the few draws that are made from them.

Every process, day or column that needs chance has its own stream: (seed, name) -> Philox, a
counter-based generator. Two processes never share numbers, and switching one stream on or off
leaves all others as they were.

NumPy promises the same numbers across versions for raw bits and `random()` only, not for its
distributions (NumPy compatibility policy), so the distributions here are our own inverses, of
functions that give the same bits on every processor.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from generators import portable_math
from generators.portable_math import log, normal_quantile

Floats: TypeAlias = portable_math.Floats
Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]


def stream(seed: int, name: str) -> np.random.Generator:
    """Return the random stream of a name; the same in every process and on every machine.

    Args:
        seed: the shop's seed.
        name: what the numbers are for, e.g. ``orders/0``.

    >>> stream(1, "users").random() == stream(1, "users").random() != stream(2, "users").random()
    True
    """
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "big")))


def cumulative(weights: Sequence[float] | Floats) -> Floats:
    """Return the cumulative shares of weights, for `pick`; the last one is exactly 1.

    >>> cumulative([1, 1, 2]).tolist()
    [0.25, 0.5, 1.0]
    """
    sums = np.cumsum(np.asarray(weights, dtype=np.float64))
    shares: Floats = sums / sums[-1]
    return shares


def pick(u: Floats, shares: Floats) -> Ints:
    """Return the index that each uniform number falls on, by cumulative shares.

    Args:
        u: shape (n,), in [0, 1).
        shares: shape (k,), ascending, as `cumulative` gives them.

    >>> pick(np.array([0.0, 0.25, 0.99]), cumulative([1, 1, 2])).tolist()
    [0, 1, 2]
    """
    return np.searchsorted(shares, u, side="right").astype(np.int64)


def normal(u: Floats) -> Floats:
    """Return standard normal numbers from uniform ones; see `normal_quantile`."""
    return normal_quantile(u)


def exponential(u: Floats | float) -> Floats:
    """Return exponential numbers of mean 1 from uniform ones."""
    result: Floats = -log(1.0 - u)  # exact to the last bit of u, which is a multiple of 2^-53
    return result


def gumbel(u: Floats) -> Floats:
    """Return standard Gumbel numbers from uniform ones in [0, 1).

    Adding them to log-weights and sorting gives weighted draws without replacement, in the order
    of the draws (Gumbel-max).
    """
    result: Floats = -log(exponential(u))
    return result


def hashed(ids: Ints, salt: str) -> Floats:
    """Return a uniform number in [0, 1) for each id: a trait that need not be stored.

    The same id and salt give the same number everywhere; other salts give independent ones.

    Args:
        ids: shape (n,).
        salt: what the trait is, e.g. ``appeal``.

    >>> a, b = hashed(np.array([1, 2]), "x")
    >>> bool(0 <= a < 1 and a != b and a == hashed(np.array([1]), "x")[0])
    True
    """
    seed = int.from_bytes(hashlib.sha256(salt.encode()).digest()[:8], "big")
    # SplitMix64 (Steele, Lea and Flood, 2014); unsigned arithmetic wraps by design.
    z = ids.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    result: Floats = (z >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return result


def least(keys: Floats | Ints, k: int) -> Ints:
    """Return the places of the k least keys, ascending; of equal keys the first places.

    `np.argpartition` is as fast, but which of equal keys it takes depends on the processor.

    Args:
        keys: shape (n,).
        k: how many; all places if n is not more.

    >>> least(np.array([5, 1, 7, 1, 1]), 2).tolist()
    [1, 3]
    """
    if k >= len(keys):
        return np.arange(len(keys), dtype=np.int64)
    if k <= 0:
        return np.empty(0, np.int64)
    bound = np.partition(keys, k - 1)[k - 1]
    below = keys < bound
    equal = np.flatnonzero(keys == bound)[: k - int(below.sum())]
    below[equal] = True
    return np.flatnonzero(below).astype(np.int64)
