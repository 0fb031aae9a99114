"""Drafting regimes, each as a law, a shape or a cost to put into `speedup`; none of them computes tokens itself.

    early_exit, one_shot, cascade, Overlap    costs: what drafting takes where it is not k forwards of a model
    Stopping, rate_optimal                    a law: how many drafts a confident draft makes
    best_tree                                 a shape: the tree that pays best at a cost

Autoregressive heads (EAGLE, MTP) are a `Ratio` with a small c and what each round adds besides as its o. Prompt
lookup is the law `HitMiss` at c = 0, a batch that commits the least of its sequences the law `Padded`.
"""

import math
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np

from specmath.acceptance import Law, Ranked
from specmath.cost import Outside, Ratio, RoundTime, priced
from specmath.draft import Chain, Tree, each_depth, plain, whole, within
from specmath.law import probabilities
from specmath.speedup import TIE, speedup
from specmath.tree_search import by_level, optimal_trees


def early_exit(fraction, *, d=0, o=0):
    """The cost of a target that drafts with its own first layers: c is their fraction of the whole, in [0, 1].

    Reusing those layers' work for the drafted tokens saves memory but no serial time, as the last draft needs
    them as well (derived here). LayerSkip, Elhoushi et al. 2024. ValueError for a scalar fraction outside [0, 1].

    >>> round(speedup(0.8, 3, early_exit(0.25)), 4)
    1.6869
    """
    return Ratio(within("fraction", fraction, 0, 1), d=d, o=o)


def one_shot(c, *, d=0, o=0):
    """The cost of a draft that makes its whole block in one forward, c in plain steps however many drafts.

    One-shot heads (Medusa, Cai et al. 2024) and parallel drafters (PARD, P-EAGLE): speedup = tau / (c + v + o).

    >>> round(speedup(0.75, 5, one_shot(0.1)), 4)
    2.9892
    """
    return Ratio(c, d=d, o=o, one_pass=True)


def cascade(c, law, shape, cost, *, d=0, o=0):
    """The cost of a draft that speculates itself: c / speedup(law, shape, cost) of its own, smaller draft.

    c is the draft's plain forward in plain steps of the target, the other three its own speculation in plain
    steps of the draft; d and o belong to the target. Derived here, leaving out what the inner rounds draft past
    the end of the outer block; cf. Chen et al. 2024 (Cascade Speculative Drafting).

    >>> round(cascade(0.15, 0.7, 6, 0.05).c, 5)
    0.06375
    """
    return Ratio(within("c", c) / speedup(law, shape, cost), d=d, o=o)


@dataclass(frozen=True)
class Overlap:
    """A cost whose drafting runs while the target verifies, so that only the part that is wasted or late shows.

    The next block is drafted ahead, as if the whole chain were accepted and its bonus token were the one
    guessed. That holds with probability hit = guess * S_k, S that of `law`, and then drafting shows only where
    it outlasts the verification; otherwise the block is thrown away and drafting starts anew:

        draft = (1 - hit) draft + hit max(draft - verify, 0)

    tau / max(k c, v), often quoted, has hit = 1: an upper bound. Pre-drafting as in PEARL (Liu et al. 2024);
    derived here, for rounds that all draft k. A number as cost is a `Ratio`. ValueError for a scalar guess outside
    [0, 1], for a tree with siblings, and for a law whose drafted length varies.

    >>> from specmath.acceptance import Geometric
    >>> round(speedup(0.8, 8, Overlap(Ratio(0.12), Geometric(0.8), 0.8)), 6)
    2.364038
    """

    cost: Any
    law: Law
    guess: Any = 1

    def __post_init__(self):
        object.__setattr__(self, "cost", priced(self.cost))
        object.__setattr__(self, "guess", within("guess", self.guess, 0, 1))

    def step(self, *, batch=1, context=0):
        """One plain step of the cost."""
        return self.cost.step(batch=batch, context=context)

    def round(self, draft, *, batch=1, context=0):
        """One round of `draft`, a chain: what shows of its drafting, its verification and overhead."""
        if isinstance(draft, Tree) and not draft.is_chain:
            raise ValueError(f"draft: found a tree of {draft.size} drafts, {draft.depth} deep, expected a chain")
        each_depth(self._refuse_shorter, draft.depth)
        time = self.cost.round(draft, batch=batch, context=context)
        hit = self.guess * self.law.survival(draft.depth)
        late = plain(np.maximum(time.draft - time.verify, 0))
        return RoundTime((1 - hit) * time.draft + hit * late, time.verify, time.overhead)

    def _refuse_shorter(self, k):
        """0, or ValueError where the law may draft less than k."""
        if np.any(self.law.drafted(k)[..., :-1] > 0):
            found = f"a {type(self.law).__name__} that may draft less than k={k}"
            raise ValueError(f"law: found {found}, expected one that always drafts k")
        return 0


@dataclass(frozen=True)
class Stopping(Law):
    """A draft that stops once it doubts its block: it drafts on while s > threshold, and k drafts at most.

    Each draft comes with a confidence, known once the draft is paid for: confidences[j] with probability
    probabilities[j], independent of all before it, and calibrated, so that it is the chance of that draft to be
    accepted. s is the product of the confidences so far, 1 at first. Both laws of a round follow exactly:

        S_i = E[s_i; at least i drafted]        drafted(k): the first n with s_n <= threshold, or k

    by dynamic programme over how often each confidence was seen, with C(k + m, m) states for m confidences.
    Fractions stay exact. ValueError for a confidence outside [0, 1], probabilities that do not add up to 1 or
    are not as many, or a negative threshold. Derived here; thresholds on the product as in SpecDec++ (Huang et
    al. 2024).

    >>> law = Stopping((1.0, 0.5), (0.5, 0.5), 0.5)
    >>> law.block_efficiency(2), law.drafted(2).tolist()
    (2.125, [0.0, 0.5, 0.5])
    """

    confidences: tuple
    probabilities: tuple
    threshold: Any = 0

    def __post_init__(self):
        for name in ("confidences", "probabilities"):
            object.__setattr__(self, name, probabilities(name, getattr(self, name), "confidence"))
        object.__setattr__(self, "threshold", within("threshold", self.threshold))
        if len(self.confidences) != len(self.probabilities):
            raise ValueError(
                f"probabilities: found {len(self.probabilities)}, expected {len(self.confidences)}, one per confidence"
            )
        if abs(sum(self.probabilities) - 1) > TIE:
            raise ValueError(f"probabilities: found a sum of {sum(self.probabilities)}, expected 1")

    @property
    def mean_confidence(self):
        """The chance of a draft to be accepted, before its confidence is seen."""
        return sum(map(math.prod, zip(self.confidences, self.probabilities, strict=True)))

    def survival(self, i):
        """E[s_i; at least i drafted], whatever the cap k >= i."""
        return each_depth(lambda n: sum(mass * self._product(seen) for seen, mass in self._seen(n)), Chain(i).depth)

    def means(self, k_max):
        """mean(0), .., mean(k_max) as running sums."""
        return list(accumulate((self.survival(i) for i in range(1, Chain(k_max).depth + 1)), initial=0))

    def drafted(self, k):
        """Probability of each drafted length 0..k, when k is the most."""
        reached = [sum(mass for _, mass in self._seen(n)) for n in range(Chain(k).depth + 1)]
        return np.array([here - further for here, further in zip(reached, [*reached[1:], 0], strict=True)])

    @cached_property
    def _known(self):
        return [{(0,) * len(self.confidences): 1}]

    def _seen(self, n):
        """(how often each confidence was seen, probability) over the rounds that draft n or more."""
        while len(self._known) <= n:
            further: dict = defaultdict(int)
            for seen, mass in self._known[-1].items():
                if self._product(seen) > self.threshold:
                    for j, probability in enumerate(self.probabilities):
                        further[*seen[:j], seen[j] + 1, *seen[j + 1 :]] += mass * probability
            self._known.append(further)
        return self._known[n].items()

    def _product(self, seen):
        return math.prod(confidence**times for confidence, times in zip(self.confidences, seen, strict=True))


def rate_optimal(confidences, probabilities, cost, *, k_max):
    """The `Stopping` law with the highest speedup at this cost, among all rules that stop after k_max at most.

    Draft on iff what the next draft brings is worth its time: s mean > (c + d) S*, S* the speedup of the rule
    itself, found by Dinkelbach's method (1967): maximise tokens - S time, raise S to the ratio reached, repeat.
    One step ahead is far enough because s only falls while each draft costs the same (derived here); ValueError
    for a cost where it does not. Compare with 1, plain decoding, before drafting at all.

    >>> law = rate_optimal((0.98, 0.8, 0.3), (0.5, 0.3, 0.2), Ratio(0.08), k_max=12)
    >>> round(law.threshold, 6), round(speedup(law, 12, Ratio(0.08)), 6)
    (0.285181, 2.816161)
    """
    cost = priced(cost)
    price, mean = _price(cost, whole("k_max", k_max, 1)), Stopping(confidences, probabilities).mean_confidence
    rate, reached = 0, cost.step() / cost.round(Chain(0)).total
    while reached > rate:
        rate = reached
        law = Stopping(confidences, probabilities, min(rate * price / mean, 1) if mean else 1)
        reached = speedup(law, k_max, cost)
    return law


def _price(cost, k_max):
    """What each further draft adds to a round, in plain steps; ValueError if that varies."""
    times = [cost.round(Chain(k)).total for k in range(k_max + 1)]
    prices = np.diff(times)
    if np.ptp(prices) > TIE * times[-1]:
        raise ValueError(f"cost: found drafts that add {min(prices)} to {max(prices)}, expected each to add the same")
    return prices[0] / cost.step()


@dataclass(frozen=True)
class BestTree:
    """The tree that pays best, and its speedup."""

    tree: Tree
    speedup: Any


def best_tree(acceptances, cost, *, sizes=range(65), depth_max=16, batch=1, context=0):
    """The tree with the highest speedup F(T) / (round time), over the optimal trees of every size and depth.

    acceptances by child rank, or one such row per level, as for `optimal_tree`. Chains up to depth_max and
    drafting nothing (speedup 1) are among the candidates, so no chain is better. Of trees that tie the smallest
    wins, then the shallowest. A size that was never measured is no candidate; pass as `sizes` those that were, or
    one integer for all sizes up to it.
    Chen et al. 2024 (Sequoia), section 4.1.

    >>> best_tree((0.6, 0.2), Ratio(0.05, d=0.01), sizes=range(5)).tree.choices
    ((0,), (1,), (0, 0), (0, 1))
    """
    cost, depth_max = priced(cost), whole("depth_max", depth_max)
    sizes = sizes if np.iterable(sizes) else range(whole("sizes", sizes) + 1)
    cost.step(batch=batch, context=context)
    depths = range(min(depth_max, len(acceptances) if by_level(acceptances) else depth_max) + 1)
    trees = {tree for depth in depths for tree in optimal_trees(acceptances, sizes, depth)}
    trees |= {Tree(tuple(range(-1, depth))) for depth in depths}
    law, found = Ranked(acceptances), []
    for tree in sorted(trees, key=lambda tree: (tree.size, tree.depth)):
        with suppress(Outside):
            found.append(BestTree(tree, speedup(law, tree, cost, batch=batch, context=context)))
    highest = max(best.speedup for best in found)
    return next(best for best in found if best.speedup >= highest * (1 - TIE))
