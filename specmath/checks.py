"""`check_acceptance`: does a law of one's own keep the promises that every formula of the package relies on?"""

import numpy as np
from scipy.special import chdtrc

from specmath.acceptance import Geometric
from specmath.draft import Chain, Tree
from specmath.tally import NotIdentifiable

SIGMAS, SURPRISE = 5, 1e-6
TEXTS, BURN_IN, WALKED, WALK_DEPTH = 200, 1500, 500, 16


def check_acceptance(law, k, *, draws=100_000, seed=7):
    """Raises AssertionError, in a sentence naming the claim, where `law` contradicts itself in rounds of depth k.

    Takes an instance of any subclass of `Law`. survival is a survival curve, each method is what it is named
    after in terms of the others, scalars and arrays agree, and `draws` samples have the pmf (chi-square, a
    false alarm in a million). A law that answers for trees adds up over branches; one that walks a text (`walk`)
    has, after 1,500 rounds, rounds of the law it claims; one that draws prompts (`alphas`) has the tokens per
    round it claims, by rounds and by tokens. What these leave open is whether the law is that of your decoder.

    >>> check_acceptance(Geometric(0.8), 4)
    """
    curve = _check_curve(law, k)
    _check_depths(law, k)
    _check_numbers(law, k, curve)
    _check_drafted(law, k, curve)
    _check_shapes(law, k, curve)
    _check_sample(law, k, draws, seed)
    if hasattr(law, "walk"):
        _check_walk(law, min(k, WALK_DEPTH), np.random.default_rng(seed))
    if hasattr(law, "alphas") and hasattr(law, "block_efficiency_by_token"):
        _check_prompts(law, k, law.alphas(np.random.default_rng(seed), draws))


def _claim(holds, sentence):
    if not np.all(holds):
        raise AssertionError(sentence)


def _agree(sentence, found, expected):
    found, expected = np.asarray(found, dtype=float), np.asarray(expected, dtype=float)
    if found.shape != expected.shape:
        raise AssertionError(f"{sentence}: found shape {found.shape}, expected {expected.shape}")
    apart = np.argwhere(~np.isclose(found, expected, rtol=1e-9, atol=1e-12, equal_nan=True))
    if len(apart):
        cell = tuple(apart[0].tolist())
        place = f" in cell {list(cell)}" if cell else ""
        raise AssertionError(f"{sentence}: found {found[cell]}{place}, expected {expected[cell]}")


def _check_curve(law, k):
    """The curve in rounds of depth k, by one position at a time."""
    on_chain = law.on(Chain(k))
    curve = np.array([float(on_chain.survival(i)) for i in range(k + 1)])
    _claim(curve[0] == 1, f"survival(0) is 1: found {curve[0]}")
    _claim((curve >= 0) & (curve <= 1), f"survival is a probability: found {curve.tolist()}")
    _claim(np.diff(curve) <= 0, f"survival never rises: found {curve.tolist()}")
    _agree("survival of an array is that of each entry", on_chain.survival(np.arange(k + 1)), curve)
    _agree("curve(k) is survival(0), .., survival(k) in rounds of depth k", law.curve(k), curve)
    return curve


def _check_depths(law, k):
    """What the law says without a k is what it says of rounds that deep."""
    depths = np.unique([0, min(1, k), k // 2, k])
    ends = [float(law.on(Chain(int(i))).survival(int(i))) for i in depths]
    _agree("survival(i) is that of rounds of depth i", [float(law.survival(int(i))) for i in depths], ends)
    _agree("survival of an array of depths is that of each", law.survival(depths), ends)
    _agree("mean of an array of depths is that of each", law.mean(depths), [float(law.mean(int(i))) for i in depths])
    for i in depths[depths > 0].tolist():
        before, conditional = float(law.on(Chain(i)).survival(i - 1)), float(law.conditional(i))
        if before > 0:
            _claim(0 <= conditional <= 1, f"conditional({i}) is a probability: found {conditional}")
            _agree("conditional(i) times survival(i - 1) is survival(i)", conditional * before, law.survival(i))


def _check_numbers(law, k, curve):
    """pmf, mean, means, var and block efficiency, each from the curve."""
    lengths, mean = np.arange(k + 1), float(law.mean(k))
    pmf = np.append(curve[:-1] - curve[1:], curve[-1])
    _agree("pmf(k) is the fall of survival, and survival(k) at k", law.pmf(k), pmf)
    _agree("mean(k) is survival(1) + .. + survival(k)", mean, curve[1:].sum())
    _agree("mean(k) is the mean of pmf(k)", mean, pmf @ lengths)
    _agree("block_efficiency(k) is 1 + mean(k)", law.block_efficiency(k), 1 + mean)
    _agree("var(k) is the variance of pmf(k)", law.var(k), pmf @ (lengths - mean) ** 2)
    depths = min(k, 8)
    expected = [float(law.mean(i)) for i in range(depths + 1)]
    _agree("means(k) lists mean(0), .., mean(k)", [float(value) for value in law.means(depths)], expected)


def _check_drafted(law, k, curve):
    weights = np.asarray(law.drafted(k), dtype=float)
    _claim(weights >= 0, f"drafted(k) holds probabilities: found {weights.tolist()}")
    _agree("drafted(k) holds k + 1 of them that sum to 1", [len(weights), weights.sum()], [k + 1, 1])
    at_least = np.cumsum(weights[::-1])[::-1]
    _claim(curve <= at_least + 1e-9, "nothing is accepted that was not drafted: survival(i) <= P(drafted >= i)")


def _check_shapes(law, k, curve):
    """A tree without siblings is a chain; with them, at most one is accepted, so what each begins is added up."""
    _agree("a tree without siblings is a chain", law.on(Tree(tuple(range(-1, k)))).curve(k), curve)
    try:
        left, right, both = (law.on(Tree((-1, 0, 0, *more))).curve(2) for more in ((1,), (2,), (1, 2)))
    except NotIdentifiable:
        return
    _agree("a node's children change nothing at its depth", [left[1], right[1]], [both[1]] * 2)
    _claim(
        float(both[2]) >= float(left[2] + right[2]) - 1e-9,
        f"siblings exclude one another, so branches add up: found {both[2]}, expected {left[2]} + {right[2]} or more",
    )


def _check_sample(law, k, draws, seed):
    """Chi-square over the lengths expected five times or more, the others taken as one."""
    sample, again = (np.asarray(law.sample(k, np.random.default_rng(seed), draws)) for _ in range(2))
    _agree("sample(k, rng, size) draws from rng and nothing else", sample, again)
    _agree("sample(k, rng, size) has that size", sample.shape, (draws,))
    _claim((sample >= 0) & (sample <= k) & (sample == np.floor(sample)), "a sample is one of 0, .., k")
    seen, expected = np.bincount(sample.astype(int), minlength=k + 1), draws * np.asarray(law.pmf(k), dtype=float)
    _claim(seen[expected < draws * 1e-12] == 0, "a sample is never what pmf(k) excludes")
    common = expected >= 5
    cells = [(seen[common], expected[common]), (seen[~common].sum(), expected[~common].sum())]
    surplus = sum(np.sum((found - mass) ** 2 / np.maximum(mass, 1)) for found, mass in cells)
    chance = chdtrc(max(common.sum(), 1), surplus)
    _claim(chance > SURPRISE, f"samples have the law of pmf(k): found a chi-square with chance {chance:.1e}")


def _check_walk(law, k, rng):
    """Rounds along texts, once the first state is forgotten, against the curve; texts are the units of the error."""
    rounds = law.walk(k, rng, TEXTS, BURN_IN + WALKED)
    accepted = np.asarray(rounds.accepted)[np.argsort(rounds.prompt, kind="stable")].reshape(TEXTS, -1)[:, BURN_IN:]
    by_text = np.mean(accepted[..., None] >= np.arange(1, k + 1), axis=1)
    expected = np.asarray(law.curve(k), dtype=float)[1:]
    error = np.sqrt(by_text.var(axis=0) / TEXTS + expected * (1 - expected) / accepted.size)
    apart = np.abs(by_text.mean(axis=0) - expected)
    _claim(
        apart <= SIGMAS * error + 1e-9,
        f"rounds along a text have the law of on(Chain(k)): found {by_text.mean(axis=0).tolist()}, "
        f"expected {expected.tolist()}",
    )


def _check_prompts(law, k, alphas):
    """Equal rounds per prompt against equal tokens per prompt."""
    tau = Geometric(alphas).block_efficiency(k)
    for weighting, values, expected in (
        ("block_efficiency(k) is that of prompts with equal rounds", tau, law.block_efficiency(k)),
        ("block_efficiency_by_token(k) is that of equal tokens", 1 / tau, 1 / law.block_efficiency_by_token(k)),
    ):
        apart, error = abs(values.mean() - float(expected)), values.std() / np.sqrt(len(values))
        _claim(
            apart <= SIGMAS * error + 1e-9, f"{weighting}: off by {apart:.2g}, {apart / max(error, 1e-300):.0f} sigma"
        )
