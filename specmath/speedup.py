"""The one quotient everything comes down to: tokens per round over what the round costs in plain steps.

    speedup = block_efficiency(law, draft) * step_time / round_time(cost, draft)

Numbers are sugar: `speedup(0.8, 4, 0.05)` means Geometric(0.8), Chain(4), Ratio(0.05). Arrays broadcast,
Fractions stay Fractions. A scalar out of its domain raises ValueError; a bad cell of a grid is NaN. At k = 0
nothing is drafted, plain decoding itself runs, and the speedup is exactly 1.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from specmath.acceptance import Geometric, Law, invert_mean
from specmath.cost import Outside, each_measured, priced
from specmath.draft import Chain, plain, within

TIE = 1e-12


@dataclass(frozen=True)
class Evaluation:
    """A speedup and its three factors: tokens per round, and the times of a round and of a plain step."""

    speedup: Any
    block_efficiency: Any
    round_time: Any
    step_time: Any


@dataclass(frozen=True)
class BestK:
    """The depth that pays best, and its speedup."""

    k: Any
    speedup: Any


def speedup(law, shape, cost, /, *, batch=1, context=0):
    """Plain time per token over speculative time per token: tau * step / round.

    With a Geometric law and a Ratio it is (1 + alpha + .. + alpha^k) / (1 + k (c + d) + o): Leviathan et al.
    2023, Theorem 3.8, at d = o = 0. Where the drafted length varies, the round's time is the mean over the
    lengths drafted.

    >>> from fractions import Fraction
    >>> speedup(Fraction(4, 5), 4, Fraction(1, 20))
    Fraction(2101, 750)
    """
    return evaluate(law, shape, cost, batch=batch, context=context).speedup


def evaluate(law, shape, cost, /, *, batch=1, context=0):
    """The speedup with its factors, as an `Evaluation`; times in the unit of the cost.

    >>> evaluate(0.5, 2, 0.125).round_time
    1.25
    """
    law, shape, cost = _law(law), _shape(shape), priced(cost)
    at = {"batch": batch, "context": context}
    tau, step = block_efficiency(law, shape), cost.step(**at)
    time = each_measured(lambda k: _round_time(law, _at(shape, k), cost, at), shape.depth)
    return Evaluation(plain(tau * step / time), tau, time, step)


def block_efficiency(law, shape, /):
    """tau: tokens per round, the recovered or bonus token included, in 1..depth + 1, on a chain or on a tree.

    >>> from specmath.acceptance import Ranked
    >>> from specmath.draft import Tree
    >>> block_efficiency(0.5, 2), block_efficiency(Ranked((0.5, 0.25)), Tree((-1, 0, 0)))
    (1.75, 1.75)
    """
    shape = _shape(shape)
    return _law(law).on(shape).block_efficiency(shape.depth)


def fleet(laws, shape, cost, /, *, tokens=None, rounds=None, **load):
    """The speedup of prompts with a law each: plain time of all their tokens over speculative time of them all.

    Give exactly one of `tokens`, what each prompt emits, and `rounds`, how many each takes; a number stands for
    the same of every prompt. They are different fleets: at equal rounds easy prompts emit more of the tokens, at
    equal tokens hard prompts take more of the rounds. A mean of the prompts' own speedups is neither, unless all
    rounds take equally long: then it is the one by rounds. `load` is batch and context, as in `speedup`.
    Fractions stay. ValueError for no laws, none or both of the weights, a negative one, or all of them zero.
    Derived here.

    >>> fleet([0.5, 1.0], 1, 0.0, tokens=1), fleet([0.5, 1.0], 1, 0.0, rounds=1)
    (1.7142857142857144, 1.75)
    """
    if (tokens is None) == (rounds is None):
        raise ValueError(f"tokens, rounds: found {_given(tokens, rounds)}, expected exactly one None")
    prompts = [evaluate(law, shape, cost, **load) for law in laws]
    emitted = _weights(*(("tokens", tokens) if rounds is None else ("rounds", rounds)), len(prompts))
    if tokens is None:
        emitted = [n * prompt.block_efficiency for n, prompt in zip(emitted, prompts, strict=True)]
    without = [n * prompt.step_time for n, prompt in zip(emitted, prompts, strict=True)]
    return sum(without) / sum(time / prompt.speedup for time, prompt in zip(without, prompts, strict=True))


def best_k(law, cost, /, *, k_max=64, batch=1, context=0):
    """The depth 0..k_max with the highest speedup, every one of them tried: a measured cost is jagged.

    Of depths that tie the smallest wins; a tie is a difference below 1e-12 of the best speedup, which is
    rounding. A depth whose acceptance or time was never measured is no candidate, but a plain step that was
    never measured raises, since then nothing can be compared. Arrays in the law, the cost, batch or context give
    arrays, each cell over the depths that were measured there. A bad cell, or one where no depth above 0 has a
    time, has k = 0 and speedup NaN.

    A best k at the end of a measured curve means: log deeper, more may pay. A list as law is a grid of alphas; rates
    by position are a `Curve`.

    >>> best_k(0.5, 0.25)
    BestK(k=1, speedup=1.2)
    """
    found = list(_candidates(_law(law), priced(cost), k_max, {"batch": batch, "context": context}))
    depths = np.array([k for k, _ in found])
    values = np.stack(np.broadcast_arrays(*(value for _, value in found)))
    highest = np.maximum(values[0], np.fmax.reduce(values[min(1, len(values) - 1) :], axis=0))
    first = np.argmax(values >= highest * (1 - TIE), axis=0)
    chosen = np.take_along_axis(values, first[None], axis=0)[0]
    return BestK(plain(depths[first]), plain(np.where(highest == highest, chosen, highest)))


def break_even(*, alpha=None, c=None, k, d=0, o=0):
    """The alpha, or the c, at which k drafts exactly pay: 1 + alpha + .. + alpha^k = 1 + k (c + d) + o.

    Solves for the one of the two that is None; NaN where no value in its domain does. Arrays broadcast.

    >>> break_even(alpha=0.5, k=2)
    0.375
    """
    if (alpha is None) == (c is None):
        raise ValueError(f"alpha, c: found {_given(alpha, c)}, expected exactly one None, the one to solve for")
    k = within("k", Chain(k).k, 1)
    d, o = within("d", d), within("o", o)
    if alpha is None:
        return invert_mean(k * (within("c", c) + d) + o, k)
    solution = (Geometric(alpha).mean(k) - o) / k - d
    return plain(np.where(np.asarray(solution) >= 0, solution, np.nan))


def _round_time(law, shape, cost, at):
    """Mean time of a round over the lengths the law drafts at this depth; a plain step where that is 0."""
    if shape.depth == 0:
        return cost.step(**at)
    weights = np.moveaxis(law.drafted(shape.depth), -1, 0)
    lengths = [k for k, weight in enumerate(weights) if np.any(weight != 0)]
    return sum(plain(weights[k]) * cost.round(_at(shape, k), **at).total for k in lengths)


def _candidates(law, cost, k_max, at):
    """(k, speedup) for every k that was identified and measured."""
    step = cost.step(**at)
    for k, mean in enumerate(law.means(k_max)):
        try:
            time = _round_time(law, Chain(k), cost, at)
        except Outside:
            continue
        yield k, plain((1 + mean) * step / time)


def _weights(name, given, prompts):
    """One weight per prompt."""
    if not prompts:
        raise ValueError("laws: found none, expected one per prompt")
    given = [given] * prompts if np.ndim(given) == 0 else list(given)
    if any(np.ndim(weight) for weight in given):
        raise ValueError(f"{name}: found an array for a prompt, expected a number for each of {prompts} laws")
    if len(given) != prompts:
        raise ValueError(f"{name}: found {len(given)}, expected one for each of {prompts} laws")
    given = [within(f"{name}[{i}]", plain(weight)) for i, weight in enumerate(given)]
    if not any(given):
        raise ValueError(f"{name}: found only 0, expected some above it")
    return given


def _given(one, other):
    """In words, as the values may be long arrays."""
    return "neither given" if one is None and other is None else "both given"


def _law(law):
    return law if isinstance(law, Law) else Geometric(law)


def _shape(shape):
    return shape if hasattr(shape, "depth") else Chain(shape)


def _at(shape, k):
    """The shape itself where it is k deep, else the chain of k."""
    return shape if np.ndim(shape.depth) == 0 and shape.depth == k else Chain(k)
