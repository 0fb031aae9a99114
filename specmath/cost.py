"""What time costs: forward models in seconds, and pairs of them that answer for a plain step and for a round.

    forward models   seconds(n, *, batch, context)     a forward over n new tokens in each sequence
    pairs            step(*, batch, context)           one plain decoding step of the target
                     round(draft, *, batch, context)   one round: draft, verify size + 1 tokens, overhead

`Ratio` counts in plain steps (its step is 1), everything else in seconds; a speedup is the same in either.
`context` is the tokens already in the cache of each sequence when the round starts. Every number carries its
provenance.
"""

import math
from collections import Counter, defaultdict
from dataclasses import KW_ONLY, dataclass, field
from functools import partial
from typing import Any

import numpy as np

from specmath.draft import Chain, each_depth, plain, within
from specmath.roofline import Roofline

__all__ = ["Linear", "Outside", "Pair", "Ratio", "Roofline", "RoundTime", "Share", "Table", "each_measured", "priced"]

PROVENANCES = ("measured", "fitted", "datasheet", "assumed")  # from the strongest to the weakest


class Outside(ValueError):
    """A time was asked for that a `Table` never measured; it does not extrapolate."""


@dataclass(frozen=True)
class RoundTime:
    """Time of one round by its parts, in the unit of the cost that gave it.

    >>> RoundTime(0.25, 1.0, 0.5).total
    1.75
    """

    draft: Any
    verify: Any
    overhead: Any

    @property
    def total(self):
        """draft + verify + overhead."""
        return self.draft + self.verify + self.overhead


@dataclass(frozen=True)
class Linear:
    """A forward in seconds: base + per_token * n * batch + per_kv * batch * context.

    base is what a forward costs whatever it carries (reading the weights, launching kernels), per_token what
    each new token adds, per_kv what each cached token adds. Parameters and arguments may be arrays and
    broadcast. Raises ValueError for a negative scalar, or for a base and per_token that are both zero (NaN in such
    a cell of a grid): a free draft is `Pair(target)`.

    >>> Linear(0.5, 0.125).seconds(4)
    1.0
    """

    base: Any
    per_token: Any
    per_kv: Any = 0.0
    _: KW_ONLY
    provenance: str = "assumed"

    def __post_init__(self):
        for name in ("base", "per_token", "per_kv"):
            object.__setattr__(self, name, within(name, getattr(self, name)))
        free = np.equal(self.base + self.per_token, 0)
        if np.ndim(free) == 0 and free:
            raise ValueError("base, per_token: found 0 and 0, expected one above 0, as a forward takes time")
        if np.any(free):
            object.__setattr__(self, "base", within("base", np.where(free, math.nan, self.base)))
        _check_provenance(self.provenance)

    def seconds(self, n, *, batch=1, context=0):
        """Seconds of a forward over n new tokens in each of `batch` sequences, `context` tokens cached."""
        n, batch, context = within("n", n, 1), within("batch", batch, 1), within("context", context)
        return self.base + self.per_token * n * batch + self.per_kv * batch * context


@dataclass(frozen=True, init=False, eq=False)
class Table:
    """Measured forwards: equal-length columns n, batch, context, seconds, one row per forward.

    Exact in n and batch and linear in context between two measured ones; anything else raises Outside, naming
    what was measured, and is NaN in a grid. Where one context alone was measured, that one alone is answered
    for. The table may be jagged, in which cells it has and in what they cost: nothing is smoothed. Raises
    ValueError for columns of unequal length, a time that is not positive and finite, or the same cell twice.
    The column of times is kept as `times`.

    >>> Table([1, 1], [1, 1], [0, 100], [0.25, 0.75], provenance="measured").seconds(1, context=50)
    0.5
    """

    n: Any
    batch: Any
    context: Any
    times: Any
    provenance: str
    _cells: dict = field(repr=False)

    def __init__(self, n, batch, context, seconds, *, provenance):
        columns = [np.array(column) for column in (n, batch, context, seconds)]
        _check_columns(columns)
        _check_provenance(provenance)
        for name, column in zip(("n", "batch", "context", "times"), columns, strict=True):
            column.setflags(write=False)
            object.__setattr__(self, name, column)
        object.__setattr__(self, "provenance", provenance)
        object.__setattr__(self, "_cells", _by_forward(columns))

    def seconds(self, n, *, batch=1, context=0):
        """Seconds of a forward over n new tokens in each of `batch` sequences, `context` tokens cached."""
        if np.ndim(n) == np.ndim(batch) == np.ndim(context) == 0:
            return self._interpolate(n, batch, context)
        return np.vectorize(partial(_or_nan, self._interpolate), otypes=[float])(n, batch, context)

    def _interpolate(self, n, batch, context):
        if (n, batch) not in self._cells:
            lengths = sorted({m for m, b in self._cells if b == batch})
            batches = sorted({b for _, b in self._cells})
            known = f"n in {lengths} at that batch" if lengths else f"batch in {batches}"
            raise Outside(f"n={n}, batch={batch}: found no measurement, expected {known}; measure it first")
        contexts, times = self._cells[n, batch]
        if not contexts[0] <= context <= contexts[-1]:
            known = f"{contexts[0]} to {contexts[-1]}" if len(contexts) > 1 else f"only {contexts[0]}"
            asked = f"context={context}, n={n}, batch={batch}"
            raise Outside(f"{asked}: found no measurement, expected context {known}; measure it first")
        return float(np.interp(context, contexts, times))


@dataclass(frozen=True)
class Share:
    """A forward that takes a share of another's time, as looking drafts up does of verifying them.

    Raises ValueError for a negative share. Prompt lookup: .006 (arXiv 2601.11580, its simulator).

    >>> Share(Linear(0.5, 0.125), 0.5).seconds(4)
    0.5
    """

    of: Any
    share: Any

    def __post_init__(self):
        object.__setattr__(self, "share", within("share", self.share))

    @property
    def provenance(self):
        """That of the other forward."""
        return self.of.provenance

    def seconds(self, n, *, batch=1, context=0):
        """Seconds beside a forward over n new tokens in each of `batch` sequences, `context` tokens cached."""
        return self.share * self.of.seconds(n, batch=batch, context=context)


@dataclass(frozen=True)
class Ratio:
    """Costs in plain steps: k drafts take k c, verifying them v = 1 + k d, and the round o besides.

    c is one draft forward, d what each further token adds to a verification, o what a round costs besides. With
    one_pass a single forward drafts the whole block, for c. A tree drafts depth times and verifies size tokens.
    Arrays broadcast and Fractions stay. ValueError for a negative scalar. Leviathan et al. 2023, Theorem 3.8,
    has d = o = 0; trees as in Sequoia (Chen et al. 2024, section 4.1).

    >>> from specmath.draft import Chain
    >>> Ratio(0.25, d=0.125, o=0.5).round(Chain(4)).total
    3.0
    """

    c: Any
    _: KW_ONLY
    d: Any = 0
    o: Any = 0
    one_pass: bool = False
    provenance: str = "assumed"

    def __post_init__(self):
        for name in ("c", "d", "o"):
            object.__setattr__(self, name, within(name, getattr(self, name)))
        _check_provenance(self.provenance)

    def step(self, *, batch=1, context=0):
        """One plain step, the unit."""
        return 1

    def round(self, draft, *, batch=1, context=0):
        """One round of `draft`: drafting goes by its depth, verification by its size."""
        forwards = plain(np.minimum(draft.depth, 1)) if self.one_pass else draft.depth
        return RoundTime(forwards * self.c, 1 + draft.size * self.d, self.o + 0 * draft.depth)


@dataclass(frozen=True)
class Pair:
    """A target and a draft model in seconds; without a draft model drafting is free (prompt lookup).

    k drafts are k forwards of the draft over one token, or with one_pass a single one over k (a parallel
    drafter). A tree is a forward per level, over the nodes there that have children; in one pass it is one
    over depth tokens. Verification is one forward of the target over size + 1 tokens. The overhead [s] of a round
    is one number, which a round that drafts nothing pays all the same, or a sequence: entry d is what a round of d
    drafted tokens takes beyond its forwards, and a round of more than were measured raises Outside (NaN in a grid).
    The context is taken as that of the round's start throughout the round. A `Roofline` that drafts is given as its
    `drafting()`, whose host time is that of a draft pass and not of an engine's step.

    >>> from specmath.draft import Chain
    >>> Pair(Linear(0.5, 0.125), Linear(0.25, 0.0)).round(Chain(3))
    RoundTime(draft=0.75, verify=1.0, overhead=0.0)
    >>> Pair(Linear(0.5, 0.125), overhead=(0.0, 0.125, 0.5)).round(Chain(1)).overhead
    0.125
    """

    target: Any
    draft: Any = None
    _: KW_ONLY
    overhead: Any = 0.0
    one_pass: bool = False

    def __post_init__(self):
        object.__setattr__(self, "overhead", _overhead(self.overhead))

    @property
    def provenance(self):
        """The weakest among the models."""
        models = (self.target, self.draft) if self.draft else (self.target,)
        return max((model.provenance for model in models), key=PROVENANCES.index)

    def step(self, *, batch=1, context=0):
        """Seconds of one plain decoding step."""
        return self.target.seconds(1, batch=batch, context=context)

    def round(self, draft, *, batch=1, context=0):
        """Seconds of one round of `draft`: drafting goes by its forwards, verification by its size."""
        at = {"batch": batch, "context": context}
        verify = each_measured(lambda size: self.target.seconds(size + 1, **at), draft.size)
        beyond = each_measured(self._beyond, draft.size) if isinstance(self.overhead, tuple) else self.overhead
        if np.ndim(draft.depth) > 0:
            return RoundTime(each_measured(lambda k: self._drafting(Chain(k), at), draft.depth), verify, beyond)
        return RoundTime(self._drafting(draft, at), verify, beyond)

    def _drafting(self, draft, at):
        if not draft.depth or self.draft is None:
            return 0.0
        forwards = Counter((draft.depth,) if self.one_pass else draft.forwards)
        return sum(times * self.draft.seconds(n, **at) for n, times in forwards.items())

    def _beyond(self, drafted):
        """The overhead of a round of so many drafted tokens."""
        if drafted >= len(self.overhead):
            asked, known = f"overhead of {drafted} drafted tokens", f"0 to {len(self.overhead) - 1}"
            raise Outside(f"{asked}: found no measurement, expected {known} drafted tokens; measure it first")
        return self.overhead[drafted]


def priced(cost):
    """The cost itself; a number is the `Ratio` of a draft forward to a plain step.

    >>> priced(0.25).c
    0.25
    """
    return cost if hasattr(cost, "step") else Ratio(cost)


def each_measured(function, depth):
    """`each_depth`, and NaN in a grid of depths also where `function` raises Outside.

    >>> each_measured(lambda k: Table([1], [1], [0], [0.5], provenance="measured").seconds(k), np.array([1, 2]))
    array([0.5, nan])
    """
    return function(depth) if np.ndim(depth) == 0 else each_depth(lambda k: _or_nan(function, k), depth)


def _or_nan(function, *at):
    try:
        return function(*at)
    except Outside:
        return math.nan


def _overhead(given):
    """A number, or a tuple with one for each count of drafted tokens from 0."""
    if np.ndim(given) == 0:
        return within("overhead", given)
    if np.ndim(given) > 1 or not len(given):
        found = f"found shape {np.shape(given)}"
        raise ValueError(f"overhead: {found}, expected a number, or one for each count of drafted tokens from 0")
    return tuple(within(f"overhead[{d}]", plain(seconds)) for d, seconds in enumerate(given))


def _check_provenance(provenance):
    if provenance not in PROVENANCES:
        raise ValueError(f"provenance: found {provenance!r}, expected one of {', '.join(PROVENANCES)}")


def _check_columns(columns):
    """Refuses columns of a Table that are no measurement, naming the first bad row."""
    shapes = [column.shape for column in columns]
    if len(set(shapes)) > 1 or len(shapes[0]) != 1 or not columns[0].size:
        raise ValueError(f"n, batch, context, seconds: found shapes {shapes}, expected equal columns of a row or more")
    for name, column, low in zip(("n", "batch", "context"), columns, (1, 1, 0), strict=False):
        good = (column >= low) & (column < math.inf) & (column == np.floor(column))
        _refuse(name, column, good, f"an integer >= {low}")
    _refuse("seconds", columns[3], (columns[3] > 0) & (columns[3] < math.inf), "a finite time above 0")


def _refuse(name, column, good, expected):
    if not good.all():
        row = int(np.argmin(good))
        raise ValueError(f"{name}: found {column[row]} in row {row}, expected {expected}")


def _by_forward(columns):
    """(n, batch) -> measured contexts in order, and their times."""
    rows: dict = defaultdict(dict)
    for n, batch, context, seconds in zip(*(column.tolist() for column in columns), strict=True):
        if context in rows[n, batch]:
            cell = f"n={n}, batch={batch}, context={context}"
            raise ValueError(f"{cell}: found twice, expected one row per cell")
        rows[n, batch][context] = seconds
    return {cell: tuple(zip(*sorted(times.items()), strict=True)) for cell, times in rows.items()}
