"""The proof of the replay: over texts of n tokens it has the joint law of (text, rounds) of the real acceptor, exactly.

The decoder runs the real rule round after round, integrated over every draft and every uniform, until n tokens stand.
What it leaves is the text and how its rounds cut it; a last round that ran over the end by accepted drafts is told
from one that ended there. The replay sees the text alone. For target and draft that change with every context, zeros
among them: P(text, rounds) = p(text) * product over the rounds of the replay's law, as Fractions.
"""

import functools
import itertools
import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from specmath.acceptor.block import verify_block
from specmath.acceptor.chain import verify
from specmath.renewal import Walk, lay, marked
from tests.strategies import Pair, law_between

# --- the decoder ---------------------------------------------------------------------------------------------------


class Laws(dict):
    """A law for every context, made when asked for: multiples of 1 / denominator, zeros and certainties among them."""

    def __init__(self, seed, vocabulary, denominator):
        super().__init__()
        self.seed, self.vocabulary, self.denominator = seed, vocabulary, denominator

    def __missing__(self, context):
        rng = np.random.default_rng([*self.seed, len(context), *context])
        cuts = sorted(rng.integers(0, self.denominator + 1, self.vocabulary - 1).tolist())
        self[context] = law_between([0, *cuts, self.denominator])
        return self[context]


def tables(seed, vocabulary, denominator, offsets=1):
    """The target's laws, and the draft's for each offset in the block."""
    target, *drafts = (Laws((seed, i), vocabulary, denominator) for i in range(offsets + 1))
    return target, drafts


def pair_at(context, target, drafts, k):
    """One round's laws after `context`, as the enumeration of rounds wants them."""
    paths = [x for n in range(k + 1) for x in itertools.product(range(target.vocabulary), repeat=n)]
    p = {x: target[context + x] for x in paths}
    q = {x: drafts[min(len(x), len(drafts) - 1)][context + x] for x in paths if len(x) < k}
    return Pair(k, target.vocabulary, target.denominator, p, q)


def token_round(pair, stop=None, number=float):
    """{emitted: probability} of one round of the real acceptor; `stop` is the last token that is drafted on.

    Every u at which the rule changes its mind is a fraction a / b with b <= D, and so is every v at which a draw does:
    on the cells between them it is constant, so their midpoints and widths integrate it exactly. A midpoint lies so far
    from its cell's ends that floats decide as Fractions would.
    """
    ends = tuple(sorted({Fraction(a, b) for b in range(1, pair.denominator + 1) for a in range(b + 1)}))
    law = Counter()
    for path, mass in drawn(pair):
        for emitted, chance in integrated(verify, pair, path, (ends,) * (pair.k + 1), number, stop).items():
            law[emitted] += mass * chance
    return law


def block_round(pair, stop=None, number=float):
    """The same of block verification, whose thresholds follow from its definition (Sun et al. 2025, Algorithm 2).

    The rule is asked half a billionth beside each threshold as well: a coin that lies elsewhere would change the law.
    """
    law = Counter()
    for path, mass in drawn(pair):
        for emitted, chance in integrated(verify_block, pair, path, block_ends(pair, path, stop), number, stop).items():
            law[emitted] += mass * chance
    return law


def drawn(pair):
    return [(path, mass) for path, mass in pair.drafts(pair.k).items() if mass]


def integrated(rule, pair, path, ends, number, stop=None):
    """{emitted: probability} given the drafted path, over the cells between the ends of u_1 .. u_k and v."""
    middles, widths = grid(ends)
    p, q = ([law[path[:i]] for i in range(slots)] for law, slots in ((pair.p, pair.k + 1), (pair.q, pair.k)))
    arrays = (np.array(path), np.array(q, dtype=object).astype(number), np.array(p, dtype=object).astype(number))
    tokens, q, p = (np.broadcast_to(array, (len(widths), *array.shape)) for array in arrays)
    coins, drafted = middles.astype(number), np.full(len(widths), depth_of(path, stop))
    verdict = rule(tokens, q, p, coins[:, :-1], coins[:, -1], xp=np, drafted=drafted)
    law = Counter()
    for emitted, accepted, width in zip(verdict.tokens.tolist(), verdict.accepted.tolist(), widths, strict=True):
        law[tuple(emitted[: accepted + 1])] += width
    return law


@functools.lru_cache(maxsize=64)
def grid(ends):
    """Midpoints [cells, axes] and widths [cells] of all cells between the ends along each axis."""
    axes = [[((low + high) / 2, high - low) for low, high in itertools.pairwise(axis)] for axis in ends]
    cells = list(itertools.product(*axes))
    middles = np.array([[middle for middle, _ in cell] for cell in cells], dtype=object)
    return middles, [math.prod(width for _, width in cell) for cell in cells]


def block_ends(pair, path, stop):
    """Where block verification changes its mind along a path, in u_1 .. u_k and in v, and a billionth beside."""
    drafted = depth_of(path, stop)
    reach = joint_ratios(pair, path)[: drafted + 1]
    laws = [*(kept_mass(pair, path, w, i) for i, w in enumerate(reach[:-1])), pair.p[path[:drafted]]]
    coins = [coin(sum(law), w) for law, w in zip(laws[1:-1], reach[1:-1], strict=True)]
    draws = [part / sum(law) for law in laws if sum(law) for part in itertools.accumulate(law)]
    unused = [()] * (pair.k - drafted)
    return tuple(beside(axis) for axis in [*([threshold] for threshold in (*coins, reach[-1])), *unused, draws])


def joint_ratios(pair, path):
    """w_0 = 1, w_i = min(1, w_{i-1} p(x_i) / q(x_i)) along a drafted path."""
    ratios = [pair.p[path[:i]][x] / pair.q[path[:i]][x] for i, x in enumerate(path)]
    return list(itertools.accumulate(ratios, lambda reach, ratio: min(Fraction(1), reach * ratio), initial=Fraction(1)))


def kept_mass(pair, path, reach, i):
    """max(w_i p - q, 0) behind the first i tokens of a path."""
    return [max(reach * p - q, Fraction(0)) for p, q in zip(pair.p[path[:i]], pair.q[path[:i]], strict=True)]


def coin(spare, reach):
    """s / (s + 1 - w): the chance that a shorter prefix is kept; anything where what follows is sure to be."""
    return spare / (spare + 1 - reach) if spare + 1 - reach else Fraction(1)


def beside(points):
    """0, 1, and every point with its neighbours a billionth away."""
    near = {point + step * Fraction(1, 10**9) for point in points if 0 < point < 1 for step in (-1, 0, 1)}
    return tuple(sorted({Fraction(0), Fraction(1), *near}))


def depth_of(path, stop):
    """Drafts made along a path when the draft stops after its first token `stop`."""
    return path.index(stop) + 1 if stop in path else len(path)


def decoded(target, drafts, k, n, one_round=token_round):
    """{(text, rounds): probability} of decoding n tokens; a round cut by the end counts one token more than is left."""
    law, done = {((), ()): Fraction(1)}, Counter()
    known = {}
    while law:
        after = Counter()
        for (text, rounds), mass in law.items():
            if text not in known:
                known[text] = one_round(pair_at(text, target, drafts, k))
            left = n - len(text)
            for emitted, chance in known[text].items():
                state = text + emitted[:left], (*rounds, min(len(emitted), left + 1))
                (done if len(emitted) >= left else after)[state] += mass * chance
        law = after
    return {state: mass for state, mass in done.items() if mass}


# --- the replay ----------------------------------------------------------------------------------------------------


def round_laws(text, ratios, k, rule="token", depth=None):
    """[j][d - 1]: the replay's law of a round from each token of one text."""
    inside, _ = marked([len(text)])
    walk = Walk(lay([ratios], inside), inside, k, rule, depth and np.array([*depth(text, k), 0, 0]))
    return np.array(list(walk.lengths(0, len(text))), dtype=object).T.tolist()


def ratios_of(text, target, drafts):
    """[K, n]: q(x) / p(x) of every token by offset."""
    rows = [[q[text[:j]][x] / target[text[:j]][x] for j, x in enumerate(text)] for q in drafts]
    return np.array(rows, dtype=object)


def rounds_of(laws, start=0):
    """{rounds: probability} from a start on."""
    if start >= len(laws):
        return {(): Fraction(1)}
    law = Counter()
    for d, mass in enumerate(laws[start], 1):
        if mass:
            for rest, chance in rounds_of(laws, start + d).items():
                law[d, *rest] += mass * chance
    return law


def replayed(target, drafts, k, n, replay=round_laws):
    """{(text, rounds): probability}: the target's text, and its rounds by replay."""
    law = {}
    for text in itertools.product(range(target.vocabulary), repeat=n):
        mass = math.prod(target[text[:j]][x] for j, x in enumerate(text))
        if mass:
            rounds = rounds_of(replay(text, ratios_of(text, target, drafts), k))
            law |= {(text, lengths): mass * chance for lengths, chance in rounds.items() if chance}
    return law


# (k, n, vocabulary, denominator)
SIZES = [(1, 4, 3, 4), (2, 4, 3, 4), (2, 5, 3, 4), (3, 4, 2, 5), (3, 4, 3, 3), (4, 3, 2, 3), (1, 1, 3, 4), (2, 6, 2, 3)]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("size", SIZES)
def test_replay_has_the_joint_law_of_text_and_rounds_of_the_real_acceptor(size, seed):
    k, n, *law = size
    target, drafts = tables(seed, *law)
    assert decoded(target, drafts, k, n) == replayed(target, drafts, k, n)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("size", [(2, 4, 3, 3), (3, 4, 2, 4), (3, 5, 2, 3)])
def test_a_draft_that_knows_its_place_in_the_block_is_replayed_by_offset(size, seed):
    k, n, *law = size
    target, drafts = tables(seed, *law, offsets=k)
    assert decoded(target, drafts, k, n) == replayed(target, drafts, k, n)


@pytest.mark.parametrize("offsets", [1, 3])
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("size", [(1, 4, 3, 4), (2, 4, 3, 4), (2, 5, 2, 5), (3, 4, 2, 4)])
def test_block_verification_is_replayed_from_the_same_ratios(size, seed, offsets):
    k, n, *law = size
    target, drafts = tables(seed, *law, offsets=min(offsets, k))
    replay = functools.partial(round_laws, rule="block")
    assert decoded(target, drafts, k, n, block_round) == replayed(target, drafts, k, n, replay)


def depths(text, k, stop=0):
    """From every start, the drafts made when the draft stops after its first token `stop`, or at k."""
    rest = [[*text[j : j + k], *[None] * k][:k] for j in range(len(text))]
    return [depth_of(x, stop) for x in rest]


@pytest.mark.parametrize("rule", ["token", "block"])
@pytest.mark.parametrize("size", [(2, 4, 3, 3), (3, 4, 2, 4), (3, 5, 2, 3)])
def test_a_draft_that_stops_by_its_own_tokens_is_replayed_by_its_depth_from_every_start(size, rule):
    k, n, *law = size
    target, drafts = tables(0, *law)
    one_round = {"token": token_round, "block": block_round}[rule]
    stopping = decoded(target, drafts, k, n, functools.partial(one_round, stop=0))
    assert stopping == replayed(target, drafts, k, n, functools.partial(round_laws, rule=rule, depth=depths))
    assert stopping != decoded(target, drafts, k, n, one_round), "the stopping changes something"


# --- replays that are wrong ----------------------------------------------------------------------------------------


def swapped(text, ratios, k):
    """min(1, p / q), the acceptance of the drafted token, at the target's token."""
    inverted = [[1 / ratio if ratio else Fraction(10**9) for ratio in row] for row in ratios]
    return round_laws(text, np.array(inverted, dtype=object), k)


def uniform_starts(text, ratios, k):
    """The mean law over all starts that see k drafts, at every start."""
    whole = round_laws(text, ratios, k)[: len(text) - k]
    return [[sum(column) / len(whole) for column in zip(*whole, strict=True)]] * len(text)


def recovered_starts_the_next_round(text, ratios, k):
    """A rejection after i >= 1 accepted drafts emits i tokens: the recovered one is drafted over again."""
    return [[law[0] + law[1], *law[2:-1], 0, law[-1]] for law in round_laws(text, ratios, k)]


def without_bonus(text, ratios, k):
    """k acceptances end the round at the k-th token."""
    return [[*law[:-2], law[-2] + law[-1], 0] for law in round_laws(text, ratios, k)]


def first_offset_only(text, ratios, k):
    """One scoring pass, as if the draft knew nothing of its place in the block."""
    return round_laws(text, ratios[:1], k)


def last_offset_only(text, ratios, k):
    return round_laws(text, ratios[-1:], k)


def by_the_block_rule(text, ratios, k):
    return round_laws(text, ratios, k, "block")


def one_draft_too_few(text, ratios, k):
    return [[*law, 0] for law in round_laws(text, ratios, k - 1)]


WRONG = [
    swapped,
    uniform_starts,
    recovered_starts_the_next_round,
    without_bonus,
    first_offset_only,
    last_offset_only,
    by_the_block_rule,
    one_draft_too_few,
]


@pytest.mark.parametrize("replay", WRONG, ids=lambda replay: replay.__name__)
def test_a_wrong_replay_is_caught(replay):
    target, drafts = tables(0, 3, 4, offsets=2)
    walked = decoded(target, drafts, 2, 4)
    assert walked == replayed(target, drafts, 2, 4)
    assert walked != replayed(target, drafts, 2, 4, replay)


def test_both_sides_are_laws_and_the_text_is_the_targets():
    target, drafts = tables(0, 3, 3)
    walked = decoded(target, drafts, 2, 4)
    assert sum(walked.values()) == 1
    assert all(isinstance(mass, Fraction) for mass in walked.values())
    texts = Counter()
    for (text, _), mass in walked.items():
        texts[text] += mass
    assert all(mass == math.prod(target[text[:j]][x] for j, x in enumerate(text)) for text, mass in texts.items())


@pytest.mark.parametrize("one_round", [token_round, block_round])
def test_the_rules_decide_the_same_in_fractions(one_round):
    target, drafts = tables(0, 3, 4)
    pair = pair_at((), target, drafts, 2)
    assert one_round(pair, number=object) == one_round(pair)
