"""The array libraries; rational laws for Hypothesis; the exact integration of an acceptance rule over its uniforms.

A uniform is handed to the rule as a `Coin`: an interval of [0, 1] that knows only how to be multiplied and compared.
Where the answer to a comparison is not the same all over the interval, the interval is cut there and the rule is played
again on both parts. On the cells that remain no comparison of the rule changes its mind, so the sum of their volumes is
the integral, exactly, for any thresholds; no rule can look at a uniform in another way without an error.
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


def spread_pair(seed, k, vocabulary):
    """A Pair of random laws without zeros, each with a denominator of its own."""
    rng = np.random.default_rng(seed)

    def law():
        numerators = rng.integers(1, 10, vocabulary).tolist()
        return tuple(Fraction(n, sum(numerators)) for n in numerators)

    p = {x: law() for x in prefixes(vocabulary, k)}
    q = {x: law() for x in prefixes(vocabulary, k - 1)}
    return Pair(k, vocabulary, None, p, q)


class Coin:
    """A uniform known to lie in [low, high], times a scale; multiples of one coin share its cuts."""

    def __init__(self, low, high, scale=1, cuts=None):
        self.low, self.high, self.scale = low, high, scale
        self.cuts = [] if cuts is None else cuts

    def __mul__(self, factor):
        assert factor >= 0
        return Coin(self.low, self.high, self.scale * factor, self.cuts)

    __rmul__ = __mul__

    def __lt__(self, bound):
        if self.scale == 0:
            return bound > 0
        if self.high * self.scale <= bound:
            return True
        if self.low * self.scale < bound:
            self.cuts.append(Fraction(bound) / self.scale)
        return False

    def __ge__(self, bound):
        return not self < bound

    __le__, __gt__ = __lt__, __ge__  # equality has no mass


def integrate(play, rows, coins):
    """{(row, outcome): probability} of `play(which rows, coins [n, coins]) -> n outcomes`, over independent coins."""
    law = Counter()
    cells = [(row, ((Fraction(0), Fraction(1)),) * coins) for row in range(rows)]
    while cells:
        thrown = np.empty((len(cells), coins), dtype=object)
        for i, j in np.ndindex(thrown.shape):
            thrown[i, j] = Coin(*cells[i][1][j])
        outcomes = play(np.array([row for row, _ in cells]), thrown)
        split = []
        for (row, box), coins_of, outcome in zip(cells, thrown, outcomes, strict=True):
            cuts = [sorted({*sides, *coin.cuts}) for sides, coin in zip(box, coins_of, strict=True)]
            parts = list(itertools.product(*map(itertools.pairwise, cuts)))
            if parts == [box]:
                law[row, outcome] += math.prod(high - low for low, high in box)
            else:
                split += [(row, part) for part in parts]
        cells = split
    return law


def emitted(verdict, vocabulary):
    """What each row emits as a tuple: ids below the vocabulary, one more than accepted, -1 behind them."""
    found = []
    for accepted, tokens in zip(verdict.accepted.tolist(), verdict.tokens.tolist(), strict=True):
        assert 0 <= accepted < len(tokens)
        assert all(0 <= token < vocabulary for token in tokens[: accepted + 1])
        assert all(token == -1 for token in tokens[accepted + 1 :])
        found.append(tuple(tokens[: accepted + 1]))
    return found


def enumerate_rounds(pair, rule, drafts, drafted):
    """{(path, emitted tokens): probability}, integrated over the draft, every u and v; only `drafted` slots in use."""
    paths = [path for path, mass in drafts.items() if mass]
    tokens, q, p = (np.stack(rows) for rows in zip(*(_arrays(pair, x) for x in paths), strict=True))

    def play(which, coins):
        u = np.concatenate([coins[:, :-1], np.full((len(which), pair.k - drafted), JUNK)], axis=1)
        used = np.full(len(which), drafted)
        return emitted(rule(tokens[which], q[which], p[which], u, coins[:, -1], xp=np, drafted=used), pair.vocabulary)

    law = Counter()
    for (row, outcome), mass in integrate(play, len(paths), drafted + 1).items():
        law[paths[row], outcome] += mass * drafts[paths[row]]
    return law


def iid_children(pair, prefix, earlier, child):
    """Every child drawn from the draft's law: the law it is drawn from, and the row of q shown for it."""
    return pair.q[prefix], pair.q[prefix]


def top_children(pair, prefix, earlier, child):
    """The likeliest tokens in turn, the first of equals first; one-hot rows."""
    order = sorted(range(pair.vocabulary), key=lambda x: -pair.q[prefix][x])
    row = tuple(Fraction(x == order[len(earlier)]) for x in range(pair.vocabulary))
    return row, row


def different_children(pair, prefix, earlier, child):
    """Drawn without replacement, renormalised; uniform over the rest once q has nothing left."""
    left = [0 if x in earlier else mass for x, mass in enumerate(pair.q[prefix])]
    left = left if any(left) else [Fraction(x not in earlier) for x in range(pair.vocabulary)]
    row = tuple(mass / sum(left) for mass in left)
    return row, row


def planted_trees(pair, tree, children):
    """[(tokens by node, rows of q by node, probability)] of every way the draft can fill the tree."""
    planted = [({}, {}, Fraction(1))]
    for parent, child in ((a, b) for a, found in enumerate(tree.children) for b in found):
        grown = []
        for tokens, rows, mass in planted:
            earlier = [tokens[node] for node in tree.children[parent] if node in tokens]
            law, row = children(pair, prefix_of(tree, parent, tokens), earlier, child)
            grown += [({**tokens, child: x}, {**rows, child: row}, mass * law[x]) for x in range(len(law)) if law[x]]
        planted = grown
    return planted


def prefix_of(tree, node, tokens):
    """The tokens from the root to a node."""
    return (*prefix_of(tree, tree.parents[node], tokens), tokens[node]) if node else ()


def enumerate_trees(pair, tree, rule, children):
    """{(path, emitted tokens): probability}, integrated over what fills the tree, every u and v."""
    planted = planted_trees(pair, tree, children)
    nodes = range(1, tree.size + 1)
    tokens = np.array([[x[node] for node in nodes] for x, _, _ in planted], dtype=int)
    q = np.array([[rows[node] for node in nodes] for _, rows, _ in planted], dtype=object)
    q = q.reshape(len(planted), tree.size, pair.vocabulary)
    p = np.array([[pair.p[prefix_of(tree, node, x)] for node in (0, *nodes)] for x, _, _ in planted], dtype=object)

    def play(which, coins):
        verdict = rule(tree, tokens[which], q[which], p[which], coins[:, :-1], coins[:, -1], xp=np)
        walks = [tuple(node for node in path if node > 0) for path in verdict.path.tolist()]
        for row, walk, text in zip(which, walks, emitted(verdict, pair.vocabulary), strict=True):
            assert [tree.parents[node] for node in walk] == [0, *walk][: len(walk)]
            assert text[:-1] == tuple(tokens[row, node - 1] for node in walk)
        return list(zip(walks, emitted(verdict, pair.vocabulary), strict=True))

    law = Counter()
    for (row, outcome), mass in integrate(play, len(planted), tree.size + 1).items():
        law[outcome] += mass * planted[row][2]
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


def random_rows(rng, shape, vocabulary):
    """Laws of all kinds: spread out, one-hot, with zeros."""
    rows = rng.gamma(0.3, size=(*shape, vocabulary)) * (rng.random((*shape, vocabulary)) < 0.8)
    peaked = rows == rows.max(-1, keepdims=True)
    rows = np.where((rng.random(shape) < 0.3)[..., None] | (rows.sum(-1, keepdims=True) == 0), peaked, rows)
    return rows / rows.sum(-1, keepdims=True)


def random_round(rng, batch, k, vocabulary, dtype=np.float64):
    """A round on rows of all kinds; unused slots hold -1, NaN and nonsense."""
    rows = random_rows(rng, (*batch, 2 * k + 1), vocabulary).astype(dtype)
    q, p = rows[..., :k, :], rows[..., k:, :].copy()
    p[..., :k, :] = np.where(rng.random((*batch, k, 1)) < 0.5, (p[..., :k, :] + q) / 2, p[..., :k, :])
    tokens = (rng.random((*batch, k, 1)) > np.cumsum(q, -1)).sum(-1).clip(0, vocabulary - 1)
    drafted = rng.integers(0, k + 1, batch)
    unused = np.arange(k) >= drafted[..., None]
    tokens = np.where(unused, rng.choice([-1, 0, vocabulary, 10**6], tokens.shape), tokens)
    q = np.where(unused[..., None], np.nan, q).astype(dtype)
    p = np.where(np.arange(k + 1)[:, None] > drafted[..., None, None], np.nan, p).astype(dtype)
    return tokens, q, p, rng.random((*batch, k)), rng.random(batch), np.asarray(drafted)
