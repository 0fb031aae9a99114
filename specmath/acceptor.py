"""The acceptance rule of speculative sampling: one pure function over arrays, the same in proof and in use.

The words, here and in the whole project:

drafted    the tokens a round proposes, drawn one after another from the draft's laws q
accepted   how many of them, counted from the left, stand under the target's laws p
residual   the law after a rejection: max(p - q, 0), normalised
recovered  the token drawn from the residual at the first rejection
bonus      the token drawn from p after the last drafted one, if none was rejected
emitted    what the round adds to the text: the accepted tokens and the recovered or bonus one, accepted + 1

The rule (Leviathan et al. 2023, Algorithm 1; Chen et al. 2023, Algorithm 2): accept x with probability
min(1, p(x) / q(x)), stop at the first rejection, draw from the residual there. What is emitted then has exactly the
target's law, whatever q is, as long as the tokens were drawn from it. A bonus is what is recovered against a draft
row of zeros, so one line draws both. Greedy decoding, prompt lookup and top-k heads are one-hot rows, no branches:
against a one-hot q the token y is accepted with probability p(y).

Nothing random is hidden: the uniforms are arguments, so that a test can integrate over them. `xp` is the
array library, as in `sampling`; numpy object arrays of `fractions.Fraction` pass through the same lines.
Floating rows are compared and summed in double precision (of p and q only the entries at the tokens and one
row each are).

A row that cannot be drawn from (a NaN, nothing above 0) raises ValueError and is named. A device with its own
memory is never waited for: there such a row ends as accepted = -1 with no token at all, to be looked for when
`accepted` comes to the host. A NaN that decides nothing, behind the first rejection, is not looked for.
"""

import math
from dataclasses import dataclass
from typing import Any

from specmath.sampling import refuse_rows


@dataclass(frozen=True, eq=False)
class Verdict:
    """What a round emits: entries 0..accepted of `tokens` int[..., k+1], the rest -1; `accepted` int[...]."""

    tokens: Any
    accepted: Any


def verify(tokens, q, p, u, v, *, xp, drafted=None):
    """One round: accept while u q(x) < p(x), then draw from max(p - q, 0), or from p if all were accepted.

    Leviathan et al. 2023, Algorithm 1. The test needs no division and is strict: u = 0 lets no p(x) = 0 in.

    `tokens` int[..., k] drawn from `q` [..., k, V]; `p` [..., k+1, V]; `u` [..., k] and `v` [...] uniform on
    [0, 1), 1 tolerated, independent of one another and of the tokens, and best in double precision: in single
    they see no probability below 2^-24. All leading dimensions are batch, the same for every argument.
    `drafted` int[...] in 0..k counts the slots in use (None: all); the others may hold anything. A token
    outside 0..V-1 has no probability under p and is rejected.

    Raises ValueError for shapes that do not fit, drafted outside 0..k, and rows that cannot be drawn from.

    >>> import numpy as np
    >>> q, p = np.array([[0.5, 0.5]]), np.array([[0.25, 0.75], [1.0, 0.0]])
    >>> verdict = verify(np.array([0]), q, p, np.array([0.6]), np.array(0.9), xp=np)
    >>> verdict.tokens.tolist(), int(verdict.accepted)  # 0.6 * 0.5 >= 0.25: 0 is rejected and 1 recovered
    ([1, -1], 0)
    """
    _check_shapes(tokens, q, p, u, v)
    tokens = xp.astype(tokens, xp.int64, copy=False)
    drafted = _slots_in_use(tokens, drafted, xp)
    accepted = _prefix_length(_passes(tokens, q, p, u, drafted, xp), xp)
    against = _draft_row(q, accepted, accepted < drafted, xp)
    final = draw(residual(_row(p, accepted, xp), against, xp=xp), v, xp=xp)
    return _verdict(tokens, accepted, final, xp)


def residual(p, q, *, xp):
    """Law of the recovered token: max(p - q, 0) / sum(max(p - q, 0)) over the last axis [..., V].

    Leviathan et al. 2023, Algorithm 1. Against q = 0, the bonus token's case, it is p normalised. Where p
    exceeds q nowhere, which takes rounding, it is p as it came. Floating rows come back in double precision;
    NaN stays NaN.

    >>> import numpy as np
    >>> residual(np.array([0.5, 0.25, 0.25]), np.array([0.25, 0.5, 0.25]), xp=np).tolist()
    [1.0, 0.0, 0.0]
    """
    p, q = _double(p, xp), _double(q, xp)
    excess = xp.where(p <= q, 0, p - q)
    mass = xp.sum(excess, axis=-1, keepdims=True)
    empty = mass == 0
    return xp.where(empty, p, excess) / xp.where(empty, 1, mass)


def draw(weights, v, *, xp):
    """The token at quantile v: the first x with weights(0) + ... + weights(x) > v total, over the last axis.

    Inversion of the cumulative sum of `weights` [..., V] at `v` [...], uniform on [0, 1]; the weights need
    not sum to 1. Where v * total reaches the total (v = 1, or by rounding) it is the last token of any
    weight. One without weight is never drawn.

    Raises ValueError naming a row whose weights are not finite or none above 0; off the host it is -1.

    >>> import numpy as np
    >>> [int(draw(np.array([0.0, 0.25, 0.75, 0.0]), np.array(v), xp=np)) for v in (0.0, 0.25, 1.0)]
    [1, 2, 2]
    """
    weights = _double(weights, xp)
    cumulative = xp.cumulative_sum(weights, axis=-1)
    total = cumulative[..., -1:]
    unusable = ~((total > 0) & (total < math.inf))
    refuse_rows(unusable, "no law to draw from; expected finite weights and one above 0", xp=xp)
    ids, weighty = xp.arange(weights.shape[-1], device=weights.device), weights > 0
    last = xp.max(xp.where(weighty, ids, -1), axis=-1, keepdims=True)
    beyond = weighty & (cumulative > v[..., None] * total)
    token = xp.min(xp.where(beyond, ids, last), axis=-1)
    return xp.where(unusable[..., 0], -1, token)


def _check_shapes(tokens, q, p, u, v):
    batch, k, vocabulary = tuple(tokens.shape[:-1]), tokens.shape[-1], p.shape[-1]
    expected = {"q": (*batch, k, vocabulary), "p": (*batch, k + 1, vocabulary), "u": (*batch, k), "v": batch}
    for (name, shape), array in zip(expected.items(), (q, p, u, v), strict=True):
        found = tuple(array.shape)
        if found != shape:
            raise ValueError(f"{name} has shape {found}, tokens {(*batch, k)} and V = {vocabulary} need {shape}")


def _slots_in_use(tokens, drafted, xp):
    """`drafted`, checked; every slot where it is None."""
    k = tokens.shape[-1]
    if drafted is None:
        return xp.full(tokens.shape[:-1], k, dtype=xp.int64, device=tokens.device)
    refuse_rows((drafted < 0) | (drafted > k), f"drafted is outside 0..{k}, the slots of tokens", xp=xp)
    return drafted


def _passes(tokens, q, p, u, drafted, xp):
    """Which slots hold a drafted token that passes its own test, bool[..., k]."""
    k, vocabulary = q.shape[-2:]
    in_use = xp.arange(k, device=tokens.device) < drafted[..., None]
    real = in_use & (tokens >= 0) & (tokens < vocabulary)
    ids = xp.where(real, tokens, 0)[..., None]
    q_x, p_x = (xp.take_along_axis(law[..., :k, :], ids, axis=-1)[..., 0] for law in (q, p))
    return real & _accepts(u, _double(q_x, xp), _double(p_x, xp))


def _accepts(u, q, p):
    return u * q < p


def _prefix_length(passes, xp):
    """How many hold before the first that does not."""
    return xp.sum(xp.cumulative_prod(xp.astype(passes, xp.int64), axis=-1), axis=-1)


def _draft_row(q, accepted, rejected, xp):
    """The draft's law [..., V] at the first rejection, zeros where there was none."""
    if q.shape[-2] == 0:
        return xp.zeros((*q.shape[:-2], q.shape[-1]), dtype=q.dtype, device=q.device)
    return xp.where(rejected[..., None], _row(q, xp.where(rejected, accepted, 0), xp), 0)


def _row(rows, index, xp):
    """rows[..., index, :] for rows [..., n, V] and index int[...]; copies no other row."""
    n, vocabulary = rows.shape[-2:]
    flat = xp.reshape(rows, (-1, vocabulary))
    starts = n * xp.arange(flat.shape[0] // n, device=rows.device)
    return xp.reshape(xp.take(flat, starts + xp.reshape(index, (-1,)), axis=0), (*index.shape, vocabulary))


def _verdict(tokens, accepted, final, xp):
    """The accepted tokens, the final one, and -1; all -1 where there is no final token."""
    accepted = xp.where(final < 0, -1, accepted)[..., None]
    slots = xp.arange(tokens.shape[-1] + 1, device=tokens.device)
    padded = xp.concat([tokens, final[..., None]], axis=-1)
    emitted = xp.where(slots == accepted, final[..., None], padded)
    return Verdict(tokens=xp.where(slots > accepted, -1, emitted), accepted=accepted[..., 0])


def _double(x, xp):
    """Floats in double precision, where a sum over a vocabulary does not stagnate; exact numbers as is."""
    return xp.astype(x, xp.float64, copy=False) if xp.isdtype(x.dtype, "real floating") else x
