"""Monte Carlo of rounds: many texts at once, each round drawn from a law, what the law remembers carried along.

The third route to every number of `speedup`, and the only one to what has no closed form: the end of a batch, the
gaps between tokens, the tail of either. One simulation is timed under as many costs as one likes:

    >>> from specmath.simulate import simulate
    >>> from specmath.acceptance import Geometric
    >>> from specmath.cost import Ratio
    >>> from specmath.draft import Chain
    >>> texts = simulate(Geometric(0.7), Chain(5), tokens=500, requests=2000, rng=np.random.default_rng(1))
    >>> round(float(texts.rounds.mean()), 1), round(float(texts.speedup(Ratio(0.05))), 2)  # 170.5217, 2.3457
    (170.4, 2.35)
    >>> float(np.quantile(texts.gaps(Ratio(0.05)), 0.99))  # two tokens of three come at no wait, the rest after it
    1.25
"""

from dataclasses import dataclass
from functools import reduce
from operator import mul
from typing import Any

import numpy as np

from specmath.acceptance import BetaGeometric, Geometric, Law, NotIdentifiable, Padded
from specmath.cost import priced
from specmath.draft import Chain, shown, whole
from specmath.law import ROUNDING, alone
from specmath.tally import Rounds

OVER = -1  # accepted length of a round that never ran, as its text was finished


@dataclass(frozen=True, eq=False)
class Simulation:
    """Rounds of many texts [requests, n], in order; where a text was finished earlier, accepted is -1, drafted 0.

    accepted counts what the draft got right, so the last round of a text may hold more than was still missing;
    `emitted` ends with the text. Times are in the unit of the cost they are asked for; a number as cost is a `Ratio`.
    """

    shape: Any
    tokens: Any
    drafted: Any
    accepted: Any

    @property
    def rounds(self):
        """Rounds of each text, int[requests]."""
        return np.sum(self.accepted != OVER, axis=1)

    @property
    def emitted(self):
        """Tokens of each round, int[requests, n]: accepted + 1, the last round of a text cut at its end."""
        before = np.cumsum(self.accepted + 1, axis=1) - (self.accepted + 1)
        return np.clip(self.tokens[:, None] - before, 0, self.accepted + 1)

    @property
    def block_efficiency(self):
        """All tokens over all rounds: below tau, as the ends of the last rounds are lost."""
        return self.tokens.sum() / self.rounds.sum()

    def observed(self):
        """The rounds as a decoder that stops at the end of the text would log them; cut ones count as censored."""
        ran, emitted = self.accepted != OVER, self.emitted
        cut = emitted <= self.accepted
        drafted, accepted = (np.where(cut, emitted, of)[ran] for of in (self.drafted, self.accepted))
        return Rounds(np.nonzero(ran)[0], drafted, accepted)

    def times(self, cost, *, batch=1, context=0):
        """Time of each round, [requests, n], 0 for those that never ran; at depth 0 plain steps."""
        cost, lengths = priced(cost), np.unique(self.drafted[self.accepted != OVER])
        prices = np.zeros(self.shape.depth + 1)
        for k in lengths.tolist():
            prices[k] = self._price(k, cost, {"batch": batch, "context": context})
        return np.where(self.accepted == OVER, 0.0, prices[self.drafted])

    def _price(self, k, cost, at):
        if self.shape.depth == 0:
            return cost.step(**at)
        return cost.round(self.shape if k == self.shape.depth else Chain(k), **at).total

    def seconds(self, cost, *, batch=1, context=0):
        """Time of each text from its first round to its last, [requests]; plain steps if the cost counts in those."""
        return self.times(cost, batch=batch, context=context).sum(axis=1)

    def speedup(self, cost, *, batch=1, context=0):
        """Plain time of all tokens over the time of all rounds: a ratio of totals, not a mean of ratios."""
        plain = self.tokens.sum() * priced(cost).step(batch=batch, context=context)
        return plain / self.seconds(cost, batch=batch, context=context).sum()

    def finish(self, cost, *, batch, context=0):
        """When each fixed batch of `batch` consecutive texts is done, [requests // batch].

        The batch runs its rounds in step: one takes as long as its slowest text, at the price of the whole batch
        to the end. Requests that fill no batch are left out.
        """
        batches = len(self.tokens) // whole("batch", batch, 1)
        times = self.times(cost, batch=batch, context=context)[: batches * batch]
        return times.reshape(batches, batch, times.shape[1]).max(axis=1).sum(axis=1)

    def gaps(self, cost, *, batch=1, context=0):
        """Wait for each token after the one before it, [all tokens]: a round's time for its first, 0 for the rest.

        The texts one after another; the first token of a text waits for its first round.
        """
        emitted = self.emitted
        ran = emitted > 0
        gaps = np.zeros(emitted.sum())
        gaps[np.cumsum(emitted[ran]) - emitted[ran]] = self.times(cost, batch=batch, context=context)[ran]
        return gaps


def simulate(law, shape, *, tokens, requests=1, rng):
    """Simulate `requests` texts of `tokens` tokens (one number, or one per text), as a `Simulation`.

    A number as law is a Geometric, an integer as shape a Chain, as in `speedup`.

    Rounds of a text are independent draws of `law.on(shape)`, except where the law remembers: the prompts of a
    BetaGeometric keep their alpha, also those of a Padded batch, each text then being one of its own. A law with a
    method `walk(k, rng, prompts, rounds)`, such as Markov, carries its own state along the text. Where the drafted
    length varies, it is taken as chosen blindly, so P(A >= i) = P(drafted >= i) P(the first i would be accepted).
    Raises ValueError for tokens or requests that are no integers >= 1, for a law or a shape that is a grid, and
    for an rng that is no generator of numpy; NotIdentifiable for a law that remembers (`independent_rounds` is False)
    and does not say how.

    >>> from specmath.simulate import simulate
    >>> simulate(1.0, 3, tokens=10, rng=np.random.default_rng(0)).emitted.tolist()
    [[4, 4, 2]]
    """
    if not hasattr(rng, "random"):
        raise ValueError(f"rng: found {shown(rng)}, expected numpy.random.default_rng(0)")
    law = law if isinstance(law, Law) else Geometric(law)
    shape = shape if hasattr(shape, "depth") else Chain(shape)
    requests, of_a_round, k = whole("requests", requests, 1), alone(law, shape), shape.depth
    tokens = _lengths(tokens, requests)
    if hasattr(law, "walk"):
        walk = law.walk(k, rng, requests, int(tokens.max()))
        drafted, accepted = (np.reshape(of, (requests, -1)) for of in (walk.drafted, walk.accepted))
    else:
        per_prompt = None if law.independent_rounds else _curves(law, shape, rng, requests)
        drafted, accepted = _fresh(of_a_round, per_prompt, tokens, k, rng)
    return _until_done(shape, tokens, drafted, accepted)


def _curves(law, shape, rng, requests):
    """The survival curve of each prompt [requests, k + 1]; of a padded batch, the product over its prompts."""
    if isinstance(law, BetaGeometric):
        return Geometric(law.alphas(rng, requests)).curve(shape.depth)
    if isinstance(law, Padded):
        return reduce(mul, (_curves(one, shape, rng, requests) for one in law.laws for _ in range(law.batch)))
    if not law.independent_rounds:
        raise NotIdentifiable(f"a walk of {type(law).__name__}", "the rounds of a text")
    return law.on(shape).curve(shape.depth)


def _fresh(of_a_round, per_prompt, tokens, k, rng):
    """(drafted, accepted), each [requests, n], of enough rounds that depend on nothing but their prompt."""
    tau, left, found = float(of_a_round.block_efficiency(k)), tokens, []
    while np.any(left > 0):
        size = len(tokens), 1 + int(left.max() / tau)
        if per_prompt is None:
            accepted = of_a_round.sample(k, rng, size)
        else:
            accepted = _drawn(rng.random(size), per_prompt.T[1:, :, None])
        found.append(accepted)
        left = left - np.sum(accepted + 1, axis=1)
    accepted = np.concatenate(found, axis=1)
    return _drafted(of_a_round, k, accepted, rng), accepted


def _drafted(law, k, accepted, rng):
    """Drafted lengths, given what was accepted of them."""
    weights = np.asarray(law.drafted(k), dtype=float)
    if weights[k] == 1:
        return np.full(accepted.shape, k)
    reach = np.cumsum(weights[::-1])[::-1]
    would = np.divide(law.curve(k), reach, out=np.zeros(k + 1), where=reach > 0)
    stops = would - np.append(would[1:], 0.0)
    if np.any(stops < -ROUNDING):
        raise NotIdentifiable("how drafted and accepted lengths go together", "the rounds of a text", "give it a walk")
    joint = np.triu(np.tile(weights, (k + 1, 1)), 1) * stops[:, None] + np.diag(weights * would)
    above = np.cumsum(joint[:, ::-1], axis=1)[:, ::-1]
    share = np.divide(above, above[:, :1], out=np.zeros_like(above), where=above[:, :1] > 0)
    return _drawn(rng.random(accepted.shape), (column[accepted] for column in share.T[1:]))


def _drawn(u, survival):
    """The length whose survival curve S_1, S_2, .. is given, by inversion of u."""
    return sum((u < chance for chance in survival), np.zeros(u.shape, dtype=int))


def _until_done(shape, tokens, drafted, accepted):
    """The rounds that the texts needed."""
    before = np.cumsum(accepted + 1, axis=1) - (accepted + 1)
    ran = before < tokens[:, None]
    last = int(ran.sum(axis=1).max())
    drafted, accepted = np.where(ran, drafted, 0)[:, :last], np.where(ran, accepted, OVER)[:, :last]
    return Simulation(shape, tokens, drafted, accepted)


def _lengths(tokens, requests):
    """The length of each text, int[requests]."""
    if np.ndim(tokens) == 0:
        return np.full(requests, whole("tokens", tokens, 1))
    if np.shape(tokens) != (requests,):
        raise ValueError(f"tokens: found {np.size(tokens)} lengths, expected one, or {requests} as there are requests")
    return np.array([whole(f"tokens[{i}]", length, 1) for i, length in enumerate(tokens)])
