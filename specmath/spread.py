"""Spreads of few measurements, and one half-width from several of them.

Clock times have wild values: one text decoded while the machine was busy says nothing of the others, and a standard
deviation says nothing else. Qn keeps to the bulk and still uses most of what normal values tell.
"""

import math

import numpy as np

from specmath.intervals import student

QN = 2.2219  # standard deviations in a quartile of the distances, where errors are normal
SMALL = {2: 0.399, 3: 0.994, 4: 0.512, 5: 0.844, 6: 0.611, 7: 0.857, 8: 0.669, 9: 0.872}
QN_FREEDOM = 0.5  # of those of a standard deviation: the least share, n >= 4, that covers as stated (test_spread.py)


def qn(values):
    """The standard deviation of normal values, half of which may be wild: [n] -> one number in their unit.

    Qn = 2.2219 d_n {|x_i - x_j| : i < j}_(m), the m-th smallest, m = h (h - 1) / 2, h = floor(n / 2) + 1, with d_n
    from Croux and Rousseeuw 1992 for n < 10, else n / (n + 1.4) for odd and n / (n + 3.8) for even n, so that its
    mean is the standard deviation for every n (Rousseeuw and Croux 1993). Its relative error is that of a standard
    deviation with about `QN_FREEDOM` of the n - 1 degrees of freedom. NaN for fewer than two values.

    >>> round(qn([0, 1, 2, 3, 1000]), 3)
    1.875
    """
    values = np.asarray(values, dtype=float)
    n = len(values)
    if n < 2:
        return math.nan
    first, second = np.triu_indices(n, 1)
    half = n // 2 + 1
    nearest = half * (half - 1) // 2 - 1
    factor = SMALL.get(n, n / (n + (1.4 if n % 2 else 3.8)))
    return float(QN * factor * np.partition(np.abs(values[first] - values[second]), nearest)[nearest])


def half_width(parts, level=0.95):
    """Half-width of a two-sided interval whose variance is a sum of independent estimates.

    t_f(level) sqrt(sum_i v_i) with f = (sum_i v_i)^2 / sum_i (v_i^2 / f_i), parts = (v_i, f_i): variances and their
    degrees of freedom (Welch 1947, Satterthwaite 1946). Zero where every variance is; NaN where one is NaN.

    >>> half_width([(1.0, 4), (0.0, 1)]) == half_width([(1.0, 4)])
    True
    >>> round(half_width([(1.0, 4)]), 3)
    2.776
    """
    variances, freedoms = (np.array(column, dtype=float) for column in zip(*parts, strict=True))
    total = float(variances.sum())
    if not total > 0:
        return total
    used = variances > 0
    freedom = total**2 / float(np.sum(variances[used] ** 2 / freedoms[used]))
    return student(level, freedom + 1) * math.sqrt(total)
