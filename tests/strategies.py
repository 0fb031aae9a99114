"""The array libraries; rational laws for Hypothesis; the exact integration of an acceptance rule over them.

Every probability is a multiple of 1/D. Then u q < p changes its mind at p/q = a/b with b <= D, and a draw at c/m with
m <= D, m the numerators' total: every threshold lies on the grid 1/N, N = lcm(1..D). On each cell of that grid the rule
is constant, so the mean over the cells' midpoints (2j + 1) / 2N is the integral over the uniform, exactly.
"""

import importlib
import importlib.util
import itertools
import math
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction

import array_api_strict
import numpy as np
from hypothesis import strategies as st

JUNK = Fraction(-7)  # what stands in slots that nothing may read


def read_only(array):
    """A numpy array that refuses to be written to."""
    copy = np.array(array)
    copy.flags.writeable = False
    return copy


def libraries():
    """{name: (array library, numpy array -> its array)}; torch only where it is installed."""
    found = {
        "numpy": (np, np.asarray),
        "read-only numpy": (np, read_only),
        "strict": (array_api_strict, array_api_strict.asarray),
    }
    if importlib.util.find_spec("torch") and importlib.util.find_spec("array_api_compat"):
        torch = importlib.import_module("array_api_compat.torch")
        found["torch"] = (torch, lambda array: torch.asarray(np.array(array)))
    return found


LIBRARIES = libraries()


@dataclass(frozen=True)
class Pair:
    """The laws p of a target and q of a draft after every prefix of a round of k, all multiples of 1 / denominator."""

    k: int
    vocabulary: int
    denominator: int
    p: dict
    q: dict

    def sequences(self, length):
        return itertools.product(range(self.vocabulary), repeat=length)

    def target(self, sequence, start=0):
        """Probability that the target continues sequence[:start] with the rest of it."""
        return math.prod(self.p[sequence[:i]][sequence[i]] for i in range(start, len(sequence)))

    def target_law(self):
        """The joint law of k + 1 tokens of plain decoding, without the impossible ones."""
        law = {sequence: self.target(sequence) for sequence in self.sequences(self.k + 1)}
        return {sequence: mass for sequence, mass in law.items() if mass}

    def survival(self, i, overlap=min):
        """P(the first i drafted tokens are accepted) = sum over x of prod_j overlap(p(x_j), q(x_j))."""
        paths = self.sequences(i)
        return sum(math.prod(overlap(self.p[x[:j]][x[j]], self.q[x[:j]][x[j]]) for j in range(i)) for x in paths)

    def drafts(self, length):
        """What a sampling draft proposes: each path of that length with its probability."""
        return {x: math.prod(self.q[x[:j]][x[j]] for j in range(length)) for x in self.sequences(length)}

    def argmax_drafts(self, length):
        """What a greedy draft proposes: one path, for certain."""
        path = ()
        for _ in range(length):
            path += (self.q[path].index(max(self.q[path])),)
        return {path: 1}


def prefixes(vocabulary, longest):
    return [x for n in range(longest + 1) for x in itertools.product(range(vocabulary), repeat=n)]


def laws(vocabulary, denominator):
    """Probabilities that are multiples of 1 / denominator, zeros and certainties among them."""
    cuts = st.lists(st.integers(0, denominator), min_size=vocabulary - 1, max_size=vocabulary - 1)
    return cuts.map(lambda found: law_between([0, *sorted(found), denominator]))


def law_between(cuts):
    return tuple(Fraction(high - low, cuts[-1]) for low, high in itertools.pairwise(cuts))


@st.composite
def pairs(draw, k, vocabulary, denominator):
    """A Pair with other laws after every prefix."""
    law = laws(vocabulary, denominator)
    p = {x: draw(law) for x in prefixes(vocabulary, k)}
    q = {x: draw(law) for x in prefixes(vocabulary, k - 1)}
    return Pair(k, vocabulary, denominator, p, q)


def random_pair(seed, k, vocabulary, denominator):
    """A Pair without Hypothesis, for the mutants: the same one for ever."""
    rng = np.random.default_rng(seed)

    def law():
        return law_between([0, *sorted(rng.integers(0, denominator + 1, vocabulary - 1).tolist()), denominator])

    p = {x: law() for x in prefixes(vocabulary, k)}
    q = {x: law() for x in prefixes(vocabulary, k - 1)}
    return Pair(k, vocabulary, denominator, p, q)


def enumerate_rounds(pair, rule, drafts, drafted):
    """{(path, emitted tokens): probability}, integrated over the draft, every u and v; only `drafted` slots in use."""
    paths = [path for path, mass in drafts.items() if mass]
    points = math.lcm(*range(1, pair.denominator + 1))
    cells = np.array(list(itertools.product(range(points), repeat=drafted + 1)))
    middle = np.array([Fraction(2 * j + 1, 2 * points) for j in range(points)], dtype=object)
    coins = np.tile(middle[cells], (len(paths), 1))
    which = np.repeat(np.arange(len(paths)), len(cells))
    tokens, q, p = (np.stack(rows)[which] for rows in zip(*(_arrays(pair, x) for x in paths), strict=True))
    u = np.concatenate([coins[:, :-1], np.full((len(which), pair.k - drafted), JUNK)], axis=1)
    verdict = rule(tokens, q, p, u, coins[:, -1], xp=np, drafted=np.full(len(which), drafted))
    law = Counter()
    outcomes, counts = np.unique(np.column_stack([which, verdict.accepted, verdict.tokens]), axis=0, return_counts=True)
    for (path, accepted, *emitted), count in zip(outcomes.tolist(), counts.tolist(), strict=True):
        assert all(0 <= token < pair.vocabulary for token in emitted[: accepted + 1])
        assert all(token == -1 for token in emitted[accepted + 1 :])
        law[paths[path], tuple(emitted[: accepted + 1])] += Fraction(count, len(cells)) * drafts[paths[path]]
    return law


def joint_law(pair, rounds):
    """Law of the first k + 1 tokens of the text: what the round emits, and the target alone after it."""
    law = Counter()
    for (_, emitted), mass in rounds.items():
        for rest in pair.sequences(pair.k + 1 - len(emitted)):
            law[emitted + rest] += mass * pair.target(emitted + rest, start=len(emitted))
    return {sequence: mass for sequence, mass in law.items() if mass}


def accepted_survival(rounds, i):
    """P(at least i accepted): a round emits one token more than it accepts."""
    return sum(mass for (_, emitted), mass in rounds.items() if len(emitted) > i)


def _arrays(pair, path):
    """tokens [k], q [k, V] and p [k+1, V] along one path; -1 and JUNK in the slots behind it."""
    tokens = np.full(pair.k, -1)
    q, p = (np.full((slots, pair.vocabulary), JUNK) for slots in (pair.k, pair.k + 1))
    tokens[: len(path)] = path
    for i in range(len(path) + 1):
        p[i] = pair.p[path[:i]]
    for i in range(len(path)):
        q[i] = pair.q[path[:i]]
    return tokens, q, p
