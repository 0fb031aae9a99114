"""Acceptance that varies: from prompt to prompt (`BetaGeometric`) and along the text (`Markov`).

What such a law averages over decides what it says. Over rounds, variation lengthens the tail and helps; over
tokens, which is what a bill counts, hard text takes more rounds and variation hurts.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, partial
from itertools import accumulate, islice
from numbers import Rational
from typing import Any

import numpy as np

from specmath.draft import Chain, each_depth, plain, within
from specmath.law import ROUNDING, Curve, Law, falling, geometric_sum, position, probabilities
from specmath.tally import Rounds

NODES = 4096


@dataclass(frozen=True)
class BetaGeometric(Law):
    """Prompts differ: a prompt's alpha, the same in all its rounds, is drawn from Beta(a, b).

    The law of a round where every prompt has equally many: S_i = E[alpha^i] = prod_{s<i} (a + s) / (a + b + s),
    at or above E[alpha]^i. Where every prompt emits equally many *tokens*, hard prompts have more of the rounds
    and tau falls below that of the mean alpha: `block_efficiency_by_token`. a and b may be arrays and broadcast;
    Fractions stay. ValueError for a scalar that is not above 0. Derived here from the moments of the Beta law.

    >>> round(BetaGeometric(7, 3).block_efficiency(5), 6)
    3.115385
    """

    a: Any
    b: Any

    def __post_init__(self):
        for name in ("a", "b"):
            object.__setattr__(self, name, _positive(name, getattr(self, name)))

    @property
    def independent_rounds(self):
        """False: the rounds of a prompt share its alpha."""
        return False

    def survival(self, i):
        """E[alpha^i]."""
        return each_depth(lambda depth: plain(self.curve(depth)[..., depth]), Chain(i).depth)

    def conditional(self, i):
        """(a + i - 1) / (a + b + i - 1): rises with i, as the prompts that got that far are the easy ones."""
        before = position(i) - 1
        return (self.a + before) / (self.a + self.b + before)

    def curve(self, k):
        """The running products of the conditionals."""
        a, b = (np.asarray(value)[..., None] for value in (self.a, self.b))
        before = np.arange(Chain(k).depth)
        factors = (a + before) / (a + b + before)
        return np.cumprod(np.concatenate([0 * (a + b) + 1, factors], axis=-1), axis=-1)

    def means(self, k_max):
        """The running sums of the curve."""
        curve = self.curve(k_max)
        return [plain(mean) for mean in np.moveaxis(np.cumsum(curve, axis=-1) - curve[..., :1], -1, 0)]

    def block_efficiency_by_token(self, k):
        """1 / E[1 / tau(alpha)], the tokens per round of prompts that emit equally many tokens each.

        tau(alpha) is a prompt's own block efficiency. k may be an array. Derived here.

        >>> round(BetaGeometric(7, 3).block_efficiency_by_token(5), 6)
        2.861093
        """
        alpha, weight = beta_nodes(self.a, self.b)
        return each_depth(lambda n: plain(1 / np.sum(weight / (1 + geometric_sum(alpha, n)), axis=-1)), Chain(k).depth)

    def alphas(self, rng, size):
        """The alphas of `size` prompts, drawn from Beta(a, b)."""
        return rng.beta(float(self.a), float(self.b), size)


@dataclass(frozen=True)
class Markov(Law):
    """Easy and hard stretches: each position of the text has a hidden state, in which alphas[state] is accepted.

    transition[i][j] is the probability that state j follows i at the next position, whoever supplied the token.
    A round starts where the last one ended, mostly behind a rejection, so starts lean to hard states: with D =
    diag(alphas) P and R = diag(1 - alphas) P, their law is the stationary vector of (I + D + .. + D^(k-1)) R +
    D^k P, not that of P. It depends on k: `on(Chain(k))` is the law of rounds of depth k, and survival(i) speaks
    of rounds of depth i. Fractions stay. ValueError for what is no transition matrix, or for one in which some
    state is never reached from another. Derived here.

    >>> round(Markov((0.95, 0.45), ((0.95, 0.05), (0.05, 0.95))).block_efficiency(5), 6)
    2.719173
    """

    alphas: tuple
    transition: tuple

    def __post_init__(self):
        object.__setattr__(self, "alphas", probabilities("alphas", self.alphas))
        rows = tuple(probabilities(f"transition[{i}]", row) for i, row in enumerate(self.transition))
        object.__setattr__(self, "transition", rows)
        _check_transition(rows, len(self.alphas))

    @property
    def stationary(self):
        """Share of each state over the positions of a long text."""
        return self.start(0)

    def start(self, k):
        """Law of the state at the first draft of rounds of depth k."""
        accepted, rejected = self._moves
        ended, still = 0 * accepted, np.eye(len(accepted), dtype=accepted.dtype)
        for _ in range(Chain(k).depth):
            ended, still = ended + still @ rejected, still @ accepted
            if not still.any():
                break
        return stationary(ended + still @ (accepted + rejected))

    def on(self, draft):
        """The survival curve of rounds that draft a chain this deep; a grid of chains leaves the law as it is."""
        super().on(draft)
        if np.ndim(draft.depth) > 0:
            return self
        accepted, _ = self._moves
        states = accumulate(range(draft.depth), lambda state, _: state @ accepted, initial=self.start(draft.depth))
        return Curve(falling(state.sum() for state in islice(states, 1, None)))

    def beside(self, other):
        """The law of a padded batch of two texts: both advance by the least accepted length and a token more.

        The product chain, in which a draft counts as accepted if both texts accept theirs. More texts are put
        beside it in turn; the numbers of states multiply. ValueError where the two together keep some states
        apart, as texts that alternate in step do. Derived here.

        >>> law = Markov((0.95, 0.45), ((0.95, 0.05), (0.05, 0.95)))
        >>> round(law.beside(law).block_efficiency(5), 6)
        1.863536
        """
        rows = (tuple(p * q for p in one for q in two) for one in self.transition for two in other.transition)
        return Markov(tuple(alpha * beta for alpha in self.alphas for beta in other.alphas), tuple(rows))

    def survival(self, i):
        """P(A >= i) in rounds of depth i."""
        return each_depth(lambda depth: self.on(Chain(depth)).survival(depth), Chain(i).depth)

    def curve(self, k):
        """That of rounds of depth k."""
        return self.on(Chain(k)).curve(k)

    def walk(self, k, rng, prompts, rounds):
        """`Rounds` of depth k along `prompts` texts, `rounds` of each in order, the state carried on between them.

        The state at the first position of a text is drawn from `stationary`.
        """
        accepted = np.zeros((prompts, rounds), dtype=int)
        states = _drawn(np.tile(np.cumsum(self.stationary.astype(float)), (prompts, 1)), rng)
        for n in range(rounds):
            accepted[:, n], states = self._round(states, Chain(k).depth, rng)
        return Rounds(np.repeat(np.arange(prompts), rounds), np.full(accepted.size, k), accepted.ravel())

    def _round(self, states, k, rng):
        """Accepted lengths of a round from these states, and the states it ends in."""
        cumulative = np.cumsum(np.array(self.transition, dtype=float), axis=1)
        alphas, running, lengths = np.array(self.alphas, dtype=float), np.full(states.shape, True), 0 * states
        for draft in range(k + 1):
            kept = running & (rng.random(len(states)) < alphas[states]) & (draft < k)
            states = np.where(running, _drawn(cumulative[states], rng), states)
            lengths, running = lengths + kept, kept
        return lengths, states

    @cached_property
    def _moves(self):
        """D and R, exact where every parameter is."""
        exact = all(isinstance(value, Rational) for row in (self.alphas, *self.transition) for value in row)
        array = np.vectorize(Fraction, otypes=[object]) if exact else partial(np.array, dtype=float)
        alphas, transition = array(self.alphas)[:, None], array(self.transition)
        return alphas * transition, (1 - alphas) * transition


def stationary(transition):
    """The row vector pi = pi K, of sum 1; ValueError where it depends on the first state which one holds.

    By state reduction without a subtraction (Grassmann, Taksar and Heyman 1985): exact in Fractions, to
    rounding in floats.

    >>> stationary(np.array([[0.9, 0.1], [0.3, 0.7]])).round(12).tolist()
    [0.75, 0.25]
    """
    always = _reachable(transition).all(axis=0)
    if not always.any():
        raise ValueError("start law: found states that no round leads out of, expected one long-run law for all starts")
    order = np.argsort(~always, kind="stable")
    rest = transition[np.ix_(order, order)]
    for n in range(len(rest) - 1, 0, -1):
        rest[:n, n] = rest[:n, n] / rest[n, :n].sum()
        rest[:n, :n] = rest[:n, :n] + np.outer(rest[:n, n], rest[n, :n])
    law = 0 * rest[0] + 1
    for n in range(1, len(rest)):
        law[n] = law[:n] @ rest[:n, n]
    return (law / law.sum())[np.argsort(order)]


def beta_nodes(a, b):
    """Values of alpha, and weights that turn sums over them into means over Beta(a, b), to rounding.

    The trapezoidal rule in t, where alpha = 1 / (1 + exp(-s)) and s = log(a / b) + width sinh t: double
    exponential quadrature (Takahasi and Mori 1974), which a density without bound at 0 or 1 does not spoil, nor
    a large k. a and b may be arrays; the nodes are a last axis.

    >>> alpha, weight = beta_nodes(7, 3)
    >>> round(float(weight @ alpha), 12)
    0.7
    """
    a, b = (np.asarray(value, dtype=float)[..., None] for value in (a, b))
    width = np.minimum(1, np.sqrt(1 / a + 1 / b))
    t = np.linspace(-1, 1, NODES) * np.arcsinh(10 + 50 / (np.minimum(a, b) * width))
    s = np.log(a / b) + width * np.sinh(t)
    with np.errstate(invalid="ignore"):  # a NaN cell
        log_alpha, log_reject = -np.logaddexp(0, -s), -np.logaddexp(0, s)
    weight = np.log(np.cosh(t)) + a * log_alpha + b * log_reject
    weight = np.exp(weight - weight.max(axis=-1, keepdims=True))
    return np.exp(log_alpha), weight / weight.sum(axis=-1, keepdims=True)


def _positive(name, value):
    value = within(name, value)
    if np.ndim(value) > 0:
        return np.where(np.equal(value, 0), np.nan, value)
    if value == 0:
        raise ValueError(f"{name}: found 0, expected a number above 0")
    return value


def _check_transition(rows, states):
    """Refuses what is no transition matrix between so many states, or one that keeps some of them apart."""
    lengths = [len(row) for row in rows]
    if not states or lengths != [states] * states:
        raise ValueError(f"transition: found rows of {lengths}, expected {states} of {states}, a state per alpha")
    for i, row in enumerate(rows):
        if abs(sum(row) - 1) > ROUNDING:
            raise ValueError(f"transition[{i}]: found a sum of {sum(row)}, expected 1")
    apart = np.argwhere(~_reachable(np.array(rows)))
    if len(apart):
        state, other = apart[0].tolist()
        raise ValueError(
            f"transition: found state {other} never reached from {state}, expected every state reached from every other"
        )


def _reachable(transition):
    """Whether each state (column) can be reached from each (row), itself included."""
    reach = (transition > 0) | np.eye(len(transition), dtype=bool)
    for _ in range(len(transition).bit_length()):
        reach = reach @ reach
    return reach


def _drawn(cumulative, rng):
    """One index per row of cumulative probabilities."""
    return np.sum(rng.random(len(cumulative))[:, None] >= cumulative[:, :-1], axis=1)
