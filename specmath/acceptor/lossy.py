"""Rules that do NOT keep the target's law, each with the law that it has instead, exactly.

They accept more and change what is said. Report their total variation beside any speedup: it is the share of
tokens that differ from the target's under the best coupling of both.
"""

from dataclasses import dataclass
from typing import Any

from specmath.acceptor.chain import prefix_length, verify
from specmath.acceptor.drawing import double, draw, residual
from specmath.acceptor.rows import emit, known, row, slots_in_use
from specmath.divergence import total_variation
from specmath.draft import within


@dataclass(frozen=True, eq=False)
class LossyLaw:
    """One token under a lossy rule: its `law` [..., V], `alpha` the chance that the draft is accepted, and
    `total_variation` [...] between that law and the target's.
    """

    law: Any
    alpha: Any
    total_variation: Any

    def sequence_bound(self, tokens):
        """Total variation of a text, at most, if this context is its worst: 1 - (1 - e)^tokens (by coupling).

        >>> LossyLaw(law=None, alpha=None, total_variation=0.5).sequence_bound(2)
        0.75
        """
        return 1 - (1 - self.total_variation) ** tokens


def lossy_lenience(tokens, q, p, u, v, *, lenience, xp):
    """LOSSY. One round with min(1, p / (l q)) for the acceptance: `verify` shown l q in place of q, 0 < l <= 1.

    l = 1 is exact; no token becomes likelier than p / l; once l is below every p / q all drafts are accepted and
    the output is the draft's. Recovered tokens come from max(p - l q, 0). Leviathan et al. 2023, Appendix A.5, on
    the acceptance; the exact `lossy_lenience_law` holds for this residual.

    Arguments, shapes and errors are those of `verify`, and ValueError for a lenience outside (0, 1]. A slot that
    drafted nothing holds token -1 and a row of zeros.

    >>> import numpy as np
    >>> q, p, u = np.array([[0.5, 0.5]]), np.array([[0.25, 0.75], [1.0, 0.0]]), np.array([0.6])
    >>> lossy_lenience(np.array([0]), q, p, u, np.array(0.9), lenience=0.5, xp=np).tokens.tolist()
    [0, 0]
    """
    return verify(tokens, _lenient(lenience) * q, p, u, v, xp=xp)


def lossy_lenience_law(p, q, *, lenience, xp):
    """What `lossy_lenience` emits for a draft from q [..., V] under p [..., V]: min(p / l, q) + (1 - alpha) residual.

    alpha = sum min(p / l, q), the residual that of l q. Derived here. Errors are those of `lossy_lenience`.

    >>> import numpy as np
    >>> half = lossy_lenience_law(np.array([0.25, 0.75]), np.array([0.5, 0.5]), lenience=0.5, xp=np)
    >>> half.law.tolist(), float(half.alpha), float(half.total_variation)
    ([0.5, 0.5], 1.0, 0.25)
    """
    shown = _lenient(lenience) * double(q, xp)
    kept = xp.where(double(p, xp) < shown, double(p, xp) / lenience, double(q, xp))
    return _lossy_law(p, kept, residual(p, shown, xp=xp), xp)


def lossy_typical(tokens, p, v, *, epsilon, delta, xp):
    """LOSSY. One round of typical acceptance: keep x if p(x) > min(epsilon, delta exp(-H(p))), else draw from p.

    H is the entropy in nats. Neither q nor a coin has a say, so neither is asked for. Medusa (Cai et al. 2024)
    also takes the first token of a round greedily, so that it always advances; here a round that keeps nothing
    still emits one token, drawn from p like every bonus. `tokens` int[..., k], `p` [..., k+1, V], `v` [...]; a
    slot that drafted nothing holds token -1.

    Raises ValueError for epsilon outside [0, 1], delta below 0, and as `verify` does.

    >>> import numpy as np
    >>> p = np.array([[0.75, 0.25], [0.5, 0.5]])
    >>> lossy_typical(np.array([1]), p, np.array(0.5), epsilon=0.3, delta=1.0, xp=np).tokens.tolist()
    [0, -1]
    """
    tokens, law = xp.astype(tokens, xp.int64, copy=False), p[..., :-1, :]
    real = known(tokens, p.shape[-1])
    p_x = xp.take_along_axis(law, xp.where(real, tokens, 0)[..., None], axis=-1)[..., 0]
    kept = xp.where(real & (p_x > _threshold(law, epsilon, delta, xp)), tokens, -1)
    certain = xp.zeros(tokens.shape, dtype=v.dtype, device=tokens.device)
    return verify(kept, xp.zeros_like(law), p, certain, v, xp=xp)


def lossy_typical_law(p, q, *, epsilon, delta, xp):
    """What `lossy_typical` emits for a draft from q [..., V] under p [..., V]: q where it is kept, and p for the rest.

    alpha is q's mass on the typical tokens. Derived here. Errors are those of `lossy_typical`.

    >>> import numpy as np
    >>> p, q = np.array([0.75, 0.25]), np.array([0.5, 0.5])
    >>> lossy_typical_law(p, q, epsilon=0.3, delta=1.0, xp=np).law.tolist()
    [0.875, 0.125]
    """
    kept = xp.where(p > _threshold(p, epsilon, delta, xp)[..., None], double(q, xp), 0)
    return _lossy_law(p, kept, double(p, xp), xp)


def lossy_synthetic(tokens, p, u, v, *, rate, xp, drafted=None):
    """LOSSY. One round that accepts each draft with a set chance, u < rate, whatever the laws say; then draws from p.

    For load tests alone: what a system costs at an acceptance that is given, apart from how good its draft is.
    Arguments, shapes and errors are those of `verify`, without q, and ValueError for a rate outside [0, 1].

    >>> import numpy as np
    >>> p, u = np.array([[1.0, 0.0]] * 3), np.array([0.6, 0.9])
    >>> lossy_synthetic(np.array([1, 1]), p, u, np.array(0.5), rate=0.7, xp=np).tokens.tolist()
    [1, 0, -1]
    """
    tokens, drafted = xp.astype(tokens, xp.int64, copy=False), slots_in_use(tokens, drafted, xp)
    in_use = xp.arange(tokens.shape[-1], device=tokens.device) < drafted[..., None]
    accepted = prefix_length(in_use & known(tokens, p.shape[-1]) & (u < within("rate", rate, 0, 1)), xp)
    return emit(tokens, accepted, draw(row(p, accepted, xp), v, xp=xp), xp)


def lossy_synthetic_law(p, q, *, rate, xp):
    """What `lossy_synthetic` emits for a draft from q [..., V] under p [..., V]: rate q + (1 - rate) p.

    alpha is the rate. Derived here. Errors are those of `lossy_synthetic`.

    >>> import numpy as np
    >>> p, q = np.array([0.75, 0.25]), np.array([0.25, 0.75])
    >>> lossy_synthetic_law(p, q, rate=0.5, xp=np).law.tolist()
    [0.5, 0.5]
    """
    return _lossy_law(p, within("rate", rate, 0, 1) * double(q, xp), double(p, xp), xp)


def _lossy_law(p, kept, otherwise, xp):
    law = kept + (1 - xp.sum(kept, axis=-1, keepdims=True)) * otherwise
    return LossyLaw(law, xp.sum(kept, axis=-1), total_variation(p, law, xp=xp))


def _lenient(lenience):
    if within("lenience", lenience, 0, 1) == 0:
        raise ValueError("lenience: found 0, expected a number in (0, 1]")
    return lenience


def _threshold(p, epsilon, delta, xp):
    """min(epsilon, delta exp(-H)) over the last axis."""
    within("epsilon", epsilon, 0, 1)
    within("delta", delta)
    p = xp.astype(p, xp.float64, copy=False)
    terms = p * xp.log(xp.where(p > 0, p, 1.0))
    bar = delta * xp.exp(xp.sum(terms, axis=-1))
    return xp.where(bar >= epsilon, epsilon, bar)
