"""Replay: the decoder's rounds for every k from one scoring pass over text of the target, without decoding.

Given a text that the target itself produced under the same sampler, each drafted token's "was it accepted?" is an
independent coin with probability

    a_j = min(1, q(x_j | x_<j) / p(x_j | x_<j))

because P(draft x and accept it) = min(p(x), q(x)) while P(the next token is x) = p(x), whatever came before. A
rejection ends the round at that token, the recovered one; k acceptances end it at the next one, the bonus. So the joint
law of text and rounds is exact, for every k at once, with no assumption on how acceptance varies (derived here; proved
against the acceptance rule itself in the tests). Greedy decoding is a in {0, 1}: the rounds are the decoder's own.

Three limits. The text must be the target's own under the sampler the ratios belong to: other text gives another number.
The draft must depend on the tokens before alone; heads fed with the target's features and lookup drafts fixed at the
round's start depend on the place in the block too and need one row of ratios per offset: replayed from one row they
give a wrong number. And the token that prefill produces belongs to no round: leave it out.
"""

import math
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from itertools import zip_longest
from typing import Any

import numpy as np

from specmath.cost import Outside, priced
from specmath.draft import Chain, plain, shown
from specmath.intervals import ratio
from specmath.policies import FixedDepth, Schedule, per_total
from specmath.renewal import RULES, Walk, accepted, after_all, endings, expected, lay, marked, starts, variance
from specmath.speedup import TIE, BestK
from specmath.tally import NotIdentifiable


@dataclass(frozen=True, eq=False)
class Counters:
    """What the rounds of a replay add up to, each an expected count over all prompts.

    ended[d]  rounds of d tokens, d = 0..k + 1, the last of them recovered or, at d = k + 1, the bonus
    cut[d]    rounds that the end of the text cut after d accepted drafts
    """

    ended: Any
    cut: Any

    @property
    def rounds(self):
        """All rounds."""
        return float(self.ended.sum() + self.cut.sum())

    @property
    def recovered(self):
        """Rounds that ended in a rejection."""
        return float(self.ended[:-1].sum())

    @property
    def bonus(self):
        """Rounds whose drafts were all accepted and whose bonus token is in the text."""
        return float(self.ended[-1])

    @property
    def accepted(self):
        """Accepted drafts: all tokens but the recovered and the bonus ones."""
        lengths = np.arange(len(self.ended))
        return float(lengths @ (self.ended + self.cut)) - self.recovered - self.bonus

    @property
    def at_risk(self):
        """Rounds [k] that tested draft 1..k on a token of the text."""
        return np.cumsum((self.ended + self.cut)[::-1])[::-1][1:-1]

    @property
    def conditional(self):
        """Acceptance [k] of draft 1..k once all before it were accepted; NaN where none was tested."""
        at_risk = self.at_risk
        return 1 - _quotient(self.ended[1:-1], at_risk)


@dataclass(frozen=True, eq=False)
class Replay:
    """Rounds over given texts: for each prompt the ratios q(x) / p(x) of its output tokens, not clipped.

    ratios  per prompt an array [n], or [K, n] with row i for the token as draft i + 1 of its round
    beta    optional, of the same shapes: sum over the vocabulary of min(p, q) there; sharpens `survival` alone

    For the ratios warp the logits of both models with the same sampler, take the probability that each gives to the
    token written, and divide the draft's by the target's. A gain of "block" over "token" is paired by prompt:
    `estimate.ratio(r.rounds(k), r.rounds(k, "block"))` gives it with its interval.

    Everything is an expectation over the coins of the acceptance rule, exact for these texts: `rule` is "token"
    (Leviathan et al. 2023, Algorithm 1) or "block" (block verification, Sun et al. 2025, which needs the ratios
    unclipped). k is one integer >= 0, at most K where there are K rows.

    Raises ValueError naming prompt and token for a ratio that is negative, NaN or infinite, for beta outside
    [0, 1], and for shapes that do not fit.

    >>> replay = Replay([[0.5, 2.0, 0.25, 1.0]])
    >>> replay.rounds(1), replay.block_efficiency(1)
    (array([2.875]), 1.391304347826087)
    """

    ratios: Any
    _: KW_ONLY
    beta: Any = None

    def __post_init__(self):
        ratios = _read("ratios", self.ratios)
        _refuse_ratios(ratios)
        object.__setattr__(self, "ratios", ratios)
        if self.beta is not None:
            beta = _read("beta", self.beta)
            _refuse_beta(beta, ratios)
            object.__setattr__(self, "beta", beta)

    @cached_property
    def tokens(self):
        """Tokens int[P] of each prompt."""
        return np.array([text.shape[-1] for text in self.ratios], dtype=int)

    def rounds(self, k, rule="token"):
        """Expected rounds[P]: f(1) of f(j) = 1 + sum_i (S_i - S_{i+1}) f(j+i+1) + S_k f(j+k+1), derived here.

        S_i is the survival from a start at j, and what lies beyond the text's end is zero.

        >>> Replay([[0.9, 0.4, 1, 0.75, 0.2, 0.85, 0.6, 0.95]]).rounds(3).round(6)
        array([3.6525])
        """
        return expected(self._walk(k, rule))[self._places[1]]

    def variance(self, k, rule="token"):
        """Variance[P] of the rounds of each prompt, over the coins."""
        walk = self._walk(k, rule)
        return variance(walk, expected(walk))[self._places[1]]

    def block_efficiency(self, k, rule="token"):
        """Tokens per round, sum n / sum rounds: totals over the prompts, so that every token weighs the same."""
        return per_total(self.tokens, self.rounds(k, rule))

    def interval(self, k, level=0.95, rule="token"):
        """`block_efficiency` as an Estimate, its interval clustered by prompt: prompts to come, not coins, vary."""
        rounds = self.rounds(k, rule)
        return ratio(self.tokens, rounds, level, method="tokens / replayed rounds", bounds=(1.0, k + 1.0))

    def counters(self, k, rule="token"):
        """Expected rounds by length, accepted, recovered and bonus tokens, as `Counters` over all prompts."""
        walk = self._walk(k, rule)
        return Counters(*endings(walk, starts(walk, self._places[1])))

    def lengths(self, k, rule="token"):
        """Share [k + 1] of the rounds that emit 1..k + 1 tokens; its mean is `block_efficiency`.

        The last round of a text counts with what was left to emit, where accepted drafts ran over the end.

        >>> Replay([[0.5, 0.5, 0.5]]).lengths(1)
        array([0.66666667, 0.33333333])
        """
        counters = self.counters(k, rule)
        if not counters.rounds:
            raise NotIdentifiable("tokens", "the lengths of rounds")
        return (counters.ended + counters.cut)[1:] / counters.rounds

    def starts(self, k, rule="token"):
        """Per prompt [n]: the probability that a round starts at each token; their sum is `rounds`.

        >>> Replay([[0.5, 2.0, 0.25, 1.0]]).starts(1)[0].tolist()
        [1.0, 0.5, 0.5, 0.875]
        """
        walk = self._walk(k, rule)
        return self._by_prompt(starts(walk, self._places[1]))

    def full(self, k, rule="token"):
        """Per prompt [n]: the probability that a round starts at each token behind one whose k drafts all held.

        The bonus token ended that round, so a draft model has not read its own last token yet and takes in two.

        >>> Replay([[0.5, 2.0, 0.25, 1.0]]).full(1)[0].tolist()
        [0.0, 0.0, 0.5, 0.5]
        """
        walk = self._walk(k, rule)
        return self._by_prompt(after_all(walk, starts(walk, self._places[1])))

    def survival(self, k, rule="token"):
        """S_0 .. S_k [k + 1]: the product by offset of accepted / tested, over the rounds of depth k.

        A test that the text's end spared counts as none. With beta, token rule, each expected coin is replaced by
        its mean over the tokens the target could have written there: the same law, less noise (Rao-Blackwell).
        Zero stays zero; NaN where nothing was tested. Round starts depend on k, and with them S_i.
        """
        walk = self._walk(k, rule)
        u = starts(walk, self._places[1])
        counters = Counters(*endings(walk, u))
        conditional = counters.conditional
        if self.beta is not None and rule == "token":
            conditional = _quotient(accepted(walk, u, self._lay(self.beta)), counters.at_risk)
        curve = [1.0]
        for chance in conditional.tolist():
            curve.append(curve[-1] * chance if curve[-1] else 0.0)
        return np.array(curve)

    def best_k(self, cost, k_max=64, *, rule="token", batch=1, context=0):
        """The depth 0..k_max with the highest speedup, tokens * step / (rounds * round time), every one tried.

        Of depths that tie the smallest wins, as in `speedup.best_k`; a depth whose time was never measured is no
        candidate, nor is one beyond the K rows of ratios; k = 0 has speedup exactly 1. A number is a `Ratio`.

        >>> Replay([[1, 0, 1, 1, 1, 0, 1, 1]]).best_k(0.125).k
        3
        """
        cost, at = priced(cost), {"batch": batch, "context": context}
        step, found = cost.step(**at), [(0, 1.0)]
        for k in range(1, min(Chain(k_max).k, self._deepest) + 1):
            try:
                time = cost.round(Chain(k), **at).total
            except Outside:
                continue
            found.append((k, self.block_efficiency(k, rule) * step / time))
        best = max(value for _, value in found)
        return next(BestK(k, value) for k, value in found if value >= best * (1 - TIE))

    def schedule(self, policy, rule="token"):
        """The rounds of a draft that chooses its depth: `policy(prompt)` is an int or int[n], the drafts a round
        from each token of that prompt would make if all were accepted. FixedDepth, Threshold and RateOptimal of
        `specmath.policies` are such; an integer is a FixedDepth.

        Exact are the rounds and where they end: by the first rejection, or by the policy, which up to there has seen
        the text's own tokens. It must stop by what it has drafted, and keep the draft it stops after. Assumed is what
        is paid behind a rejection: the drafts there follow the draft's own text, taken to look like the target's.
        ValueError for depths that are no integers >= 0, do not fit the prompt, or exceed the K rows of ratios.

        >>> Replay([[1, 0, 1, 1]]).schedule(lambda prompt: [2, 0, 2, 1]).by_depth
        array([[0., 0., 2.]])
        """
        policy = policy if callable(policy) else FixedDepth(policy)
        prompts, (inside, first) = len(self.tokens), self._places
        depth = np.zeros(len(inside), dtype=int)
        depth[inside] = np.concatenate([_depths(policy(p), p, n) for p, n in enumerate(self.tokens)] or [depth])
        deepest = self._depth(int(depth.max(initial=0)))
        walk = Walk(self._laid, inside, deepest, _known(rule), depth)
        prompt = np.repeat(np.arange(prompts), np.diff([*first, len(inside)]))
        cells = prompt * (deepest + 1) + depth
        by_depth = np.bincount(cells, weights=starts(walk, first), minlength=prompts * (deepest + 1))
        return Schedule(self.tokens, by_depth.reshape(prompts, deepest + 1))

    @cached_property
    def _places(self):
        return marked(self.tokens)

    def _by_prompt(self, laid):
        first = self._places[1]
        return tuple(laid[at : at + n] for at, n in zip(first.tolist(), self.tokens.tolist(), strict=True))

    @cached_property
    def _laid(self):
        return self._lay(self.ratios)

    def _lay(self, texts):
        return lay([np.atleast_2d(text) for text in texts], self._places[0])

    def _walk(self, k, rule):
        return Walk(self._laid, self._places[0], self._depth(k), _known(rule))

    def _depth(self, k):
        """k, one integer >= 0 that the ratios reach."""
        if np.ndim(k):
            raise ValueError(f"k: found {k!r}, expected one integer >= 0")
        k = Chain(k).k
        if k > self._deepest:
            raise ValueError(f"k: found {k}, expected at most {self._deepest}, the offsets that ratios were given for")
        return k

    @property
    def _deepest(self):
        return len(self.ratios[0]) if self.ratios and self.ratios[0].ndim > 1 else math.inf


def _quotient(part, whole):
    """part / whole; NaN where the whole is 0."""
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), np.nan)


def _known(rule):
    if rule not in RULES:
        raise ValueError(f"rule: found {rule!r}, expected one of {', '.join(RULES)}")
    return rule


def _read(name, prompts):
    """Per prompt a read-only array [n], or [K, n] with the same K for all."""
    texts = tuple(np.array(prompt, dtype=float) for prompt in prompts)
    for prompt, text in enumerate(texts):
        if text.ndim not in (1, 2) or (text.ndim == 2 and not len(text)):
            raise ValueError(f"{name}: found shape {text.shape} for prompt {prompt}, expected [n] or [K, n]")
        if text.shape[:-1] != texts[0].shape[:-1]:
            found = f"{text.shape} for prompt {prompt} and {texts[0].shape} for prompt 0"
            raise ValueError(f"{name}: found shapes {found}, expected all [n], or all [K, n] of one K")
        text.setflags(write=False)
    return texts


def _refuse_ratios(ratios):
    prompt, place = _first_bad(ratios, 0, np.finfo(float).max)
    if place is None:
        return
    found = ratios[prompt][place]
    why = "expected q(x) / p(x), a number >= 0"
    if found == math.inf:
        why = "p(x) = 0: the text cannot be the target's own under this sampler"
    raise ValueError(f"ratios: found {found} for {_named(prompt, place)}, {why}")


def _refuse_beta(beta, ratios):
    for prompt, (found, text) in enumerate(zip_longest(beta, ratios)):
        if found is None or text is None or found.shape != text.shape:
            shapes = " and ".join("no array" if array is None else str(array.shape) for array in (found, text))
            raise ValueError(f"beta, ratios: found {shapes} for prompt {prompt}, expected the same shape")
    prompt, place = _first_bad(beta, 0, 1)
    if place is not None:
        found = f"found {beta[prompt][place]} for {_named(prompt, place)}"
        raise ValueError(f"beta: {found}, expected sum min(p, q), a number in [0, 1]")


def _first_bad(texts, low, high):
    """(prompt, index) of the first entry outside [low, high], (0, None) where there is none."""
    for prompt, text in enumerate(texts):
        bad = ~((text >= low) & (text <= high))
        if bad.any():
            return prompt, tuple(np.argwhere(bad)[0].tolist())
    return 0, None


def _named(prompt, place):
    draft = f", draft {place[0] + 1}" if len(place) > 1 else ""
    return f"prompt {prompt}, token {place[-1]}{draft}"


def _depths(depth, prompt, n):
    """A policy's answer for one prompt as int[n]."""
    depth = np.asarray(depth)
    if depth.dtype.kind not in "iu" or depth.shape not in ((), (n,)) or np.any(depth < 0):
        found = shown(plain(depth))
        if depth.shape == (n,):
            found = next((entry for entry in depth.tolist() if type(entry) is not int or entry < 0), found)
        raise ValueError(f"policy: found {found} for prompt {prompt}, expected integers >= 0, one or {n}")
    return np.broadcast_to(depth, n)
