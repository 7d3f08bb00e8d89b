"""Elementary functions that give the same bits on every processor.

NumPy picks its kernels of log, exp and power by the processor (SSE, AVX2, AVX-512), and so does
the C library: results differ in the last bit, and one choice that falls differently changes every
row after it. The functions here use only operations whose result IEEE 754 fixes to the bit (+, -,
*, /, sqrt, rint and integer operations), each in a call of its own, so that no compiler can fuse a
multiplication with an addition. Their tables come from `decimal`, whose `ln` and `exp` are
correctly rounded. They are accurate to about 1e-15; log and exp take about 15 ns a number.

All take and return arrays of doubles of any shape, or single numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, localcontext
from functools import wraps
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]

_BLOCK: Final = 8_192
"""Numbers worked on at a time: twenty columns of them stay in the processor's cache. A column of
200,000 at once takes three to four times as long."""
_DIGITS: Final = 40
_TINY: Final = 2.0**-1022
"""The least normal double."""
_LOG_STEPS: Final = 256
_EXP_STEPS: Final = 64
_EXP_LIMIT: Final = 708.0
"""e to the power of this is just within the range of normal doubles."""


def _log_tables() -> tuple[Floats, Floats, float]:
    """Return 1/c and ln c of 256 centres c in [0.5, 1), and ln 2.

    The first and last centres are 0.5 and 1: numbers around 1 then lose no digit.
    """
    centres = [0.5 + (k + 0.5) / (2 * _LOG_STEPS) for k in range(_LOG_STEPS)]
    centres[0], centres[-1] = 0.5, 1.0
    inverses = [1 / c for c in centres]
    with localcontext() as context:
        context.prec = _DIGITS
        logs = [float(-Decimal(i).ln()) for i in inverses]
        return np.array(inverses), np.array(logs), float(Decimal(2).ln())


def _exp_tables() -> tuple[Floats, float, float, float]:
    """Return 2^(k/64), 64 / ln 2, and ln 2 / 64 as the sum of a short number and the rest."""
    with localcontext() as context:
        context.prec = _DIGITS
        step = Decimal(2).ln() / _EXP_STEPS
        powers = [float((step * k).exp()) for k in range(_EXP_STEPS)]
        # 32 bits: its products with whole numbers below 2^21 are exact.
        short = float(int(step * 2**38)) * 2.0**-38
        return np.array(powers), float(1 / step), short, float(step - Decimal(short))


_INVERSES, _LOGS, _LN2 = _log_tables()
_POWERS, _PER_LN2, _SHORT, _REST = _exp_tables()


def _by_blocks(
    function: Callable[[Floats], Floats],
) -> Callable[[Floats | float], Floats]:
    """Make a function of single numbers take long arrays block by block."""

    @wraps(function)
    def blocks(x: Floats | float) -> Floats:
        x = np.asarray(x, np.float64)
        if x.size <= _BLOCK:
            return function(x)
        flat, result = x.ravel(), np.empty(x.size)
        for begin in range(0, x.size, _BLOCK):
            result[begin : begin + _BLOCK] = function(flat[begin : begin + _BLOCK])
        return result.reshape(x.shape)

    return blocks


@_by_blocks
def log(x: Floats) -> Floats:
    """Return natural logarithms.

    Args:
        x: positive; anything below 2.2e-308 counts as that.

    >>> float(log(np.float64(1.0))), round(float(log(np.array([10.0]))[0]), 14)
    (0.0, 2.30258509299405)
    """
    bits = np.maximum(x, _TINY).view(np.int64)
    exponent = (bits >> 52) - 1022
    place = (bits >> 44) & (_LOG_STEPS - 1)
    mantissa = ((bits & ((1 << 52) - 1)) | (1022 << 52)).view(np.float64)
    r = mantissa * _INVERSES[place]
    r = r - 1.0
    series = r * (1 / 7)
    for divisor in (6, 5, 4, 3, 2):  # 1/n - r (1/(n+1) - ...): the series of ln(1 + r)
        series = 1 / divisor - series
        series *= r
    series = 1.0 - series
    series *= r
    result: Floats = exponent * _LN2 + _LOGS[place] + series
    return result


@_by_blocks
def exp(x: Floats) -> Floats:
    """Return e to the power of numbers; beyond +-708, of +-708.

    >>> float(exp(np.float64(0.0))), round(float(exp(np.array([1.0]))[0]), 14)
    (1.0, 2.71828182845905)
    """
    x = np.minimum(np.maximum(x, -_EXP_LIMIT), _EXP_LIMIT)
    steps = np.rint(x * _PER_LN2)
    r = x - steps * _SHORT
    r = r - steps * _REST
    series = 1.0 + r * (1 / 6)
    for divisor in (5, 4, 3, 2, 1):  # 1 + r/n (1 + r/(n+1) (...)): the series of e^r
        series *= r
        series = series * (1 / divisor)
        series = 1.0 + series
    whole = steps.astype(np.int64)
    power = ((whole // _EXP_STEPS + 1023) << 52).view(np.float64)
    result: Floats = _POWERS[whole % _EXP_STEPS] * series * power
    return result


def power(x: Floats | float, y: Floats | float) -> Floats:
    """Return positive numbers raised to powers.

    >>> round(float(power(np.array([2.0]), 0.5)[0]), 14)
    1.4142135623731
    """
    return exp(log(x) * y)


# Wichura, "Algorithm AS 241: The percentage points of the normal distribution" (1988), PPND16:
# coefficients of the numerator and the denominator, highest power first.
_CENTRE: Final = (
    (2.5090809287301226727e3, 3.3430575583588128105e4, 6.7265770927008700853e4,
     4.5921953931549871457e4, 1.3731693765509461125e4, 1.9715909503065514427e3,
     1.3314166789178437745e2, 3.3871328727963666080e0),
    (5.2264952788528545610e3, 2.8729085735721942674e4, 3.9307895800092710610e4,
     2.1213794301586595867e4, 5.3941960214247511077e3, 6.8718700749205790830e2,
     4.2313330701600911252e1, 1.0),
)  # fmt: skip
_TAIL: Final = (
    (7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1,
     1.27045825245236838258e0, 3.64784832476320460504e0, 5.76949722146069140550e0,
     4.63033784615654529590e0, 1.42343711074968357734e0),
    (1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2,
     1.48103976427480074590e-1, 6.89767334985100004550e-1, 1.67638483018380384940e0,
     2.05319162663775882187e0, 1.0),
)  # fmt: skip
_FAR: Final = (
    (2.01033439929228813265e-7, 2.71155556874348757815e-5, 1.24266094738807843860e-3,
     2.65321895265761230930e-2, 2.96560571828504891230e-1, 1.78482653991729133580e0,
     5.46378491116411436990e0, 6.65790464350110377720e0),
    (2.04426310338993978564e-15, 1.42151175831644588870e-7, 1.84631831751005468180e-5,
     7.86869131145613259100e-4, 1.48753612908506148525e-2, 1.36929880922735805310e-1,
     5.99832206555887937690e-1, 1.0),
)  # fmt: skip


def _ratio(coefficients: tuple[tuple[float, ...], tuple[float, ...]], x: Floats) -> Floats:
    above, below = (_polynomial(c, x) for c in coefficients)
    return above / below


def _polynomial(coefficients: tuple[float, ...], x: Floats) -> Floats:
    result: Floats = x * coefficients[0]
    for c in coefficients[1:-1]:
        result = result + c
        result *= x
    return result + coefficients[-1]


@_by_blocks
def normal_quantile(u: Floats) -> Floats:
    """Return standard normal numbers from uniform ones: the inverse of the distribution function.

    Args:
        u: shape (n,), in [0, 1); 0 counts as 2^-54, which is 8.3 standard deviations.

    >>> normal_quantile(np.array([0.5, 0.975])).round(6).tolist()
    [0.0, 1.959964]
    """
    q = u - 0.5
    result = q * _ratio(_CENTRE, 0.180625 - q * q)
    tails = np.flatnonzero(np.abs(q) > 0.425)
    side = u[tails]
    r = np.sqrt(-log(np.maximum(np.minimum(side, 1.0 - side), 2.0**-54)))
    far = _ratio(_FAR, r - 5.0) if (r > 5.0).any() else 0.0
    z = np.where(r > 5.0, far, _ratio(_TAIL, r - 1.6))
    result[tails] = np.where(q[tails] < 0, -z, z)
    return result


def interpolate(x: Floats, known: Floats, values: Floats) -> Floats:
    """Return values between known points, on straight lines, as `np.interp` does.

    `np.interp` itself may be compiled to fused operations where the processor has them.

    Args:
        x: within [known[0], known[-1]].
        known: ascending, at least two.
        values: at the known points.

    >>> interpolate(np.array([0.0, 2.5, 4.0]), np.array([0.0, 2.0, 4.0]), np.array([1.0, 3.0, 7.0]))
    array([1., 4., 7.])
    """
    place = np.clip(np.searchsorted(known, x, side="right") - 1, 0, len(known) - 2)
    low, width = known[place], known[place + 1] - known[place]
    share = (x - low) / np.where(width > 0, width, 1.0)  # a slope could overflow
    share *= values[place + 1] - values[place]
    result: Floats = values[place] + share
    return result
