"""What every acceptance rule is checked for, and the bugs planted in them, which those checks have to kill.

A mutant changes the real code, its arguments, or where the drafts come from; most were real bugs, named by their issue.
"""

from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy import stats

from specmath import acceptor
from specmath.acceptor import block, chain, k_seq, tree
from specmath.draft import Tree
from tests.strategies import (
    accepted_survival,
    different_children,
    enumerate_rounds,
    enumerate_trees,
    iid_children,
    joint_law,
    random_pair,
    spread_pair,
    top_children,
)

CASES = [
    random_pair(1, 1, 3, 5),
    random_pair(2, 2, 2, 4),
    random_pair(6, 2, 3, 4),
    random_pair(4, 3, 2, 3),
    spread_pair(1, 3, 3),  # a bug in block verification may need three drafts of three tokens to show
]
STARS = [(random_pair(1, 1, 4, 6), Tree((-1, 0, 0))), (random_pair(8, 1, 4, 5), Tree((-1, 0, 0, 0)))]
TREES = [*STARS, (random_pair(7, 2, 3, 4), Tree((-1, 0, 0, 1))), (random_pair(5, 2, 2, 3), Tree((-1, 0, 0, 1, 1)))]


@dataclass(frozen=True)
class Decoder:
    """A rule for chains, and where its drafts come from: `drafts(pair, length)` -> {path: probability}."""

    verify: Any = acceptor.verify
    drafts: Any = lambda pair, length: pair.drafts(length)

    def rounds(self, pair, drafted=None):
        drafted = pair.k if drafted is None else drafted
        return enumerate_rounds(pair, self.verify, self.drafts(pair, drafted), drafted)


@dataclass(frozen=True)
class TreeDecoder:
    """A rule for trees, and how each child is drafted: `children` as in `strategies.planted_trees`."""

    verify: Any = acceptor.verify_tree
    children: Any = iid_children
    trees: Any = field(default_factory=lambda: TREES)

    def rounds(self, pair, shape):
        return enumerate_trees(pair, shape, self.verify, self.children)


def one_hot(tokens, vocabulary, dtype=object):
    return (tokens[..., None] == np.arange(vocabulary)).astype(int).astype(dtype)


def k_seq_on(shape, tokens, q, p, u, v, *, rho, xp):
    """`verify_k_seq` in the dress of `verify_tree`: the siblings of a star share one row of q."""
    return acceptor.verify_k_seq(tokens, q[..., 0, :], p, u, v, rho=rho, xp=xp)


def tree_as_chain(tokens, q, p, u, v, *, xp, drafted=None):
    """`verify_tree` on a path; a node that is not there holds -1 and zeros."""
    k = tokens.shape[-1]
    if drafted is not None:
        used = np.arange(k) < drafted[..., None]
        tokens, q = np.where(used, tokens, -1), np.where(used[..., None], q, 0)
    return acceptor.verify_tree(Tree(tuple(range(-1, k))), tokens, q, p, u, v, xp=xp)


# --- what is checked ------------------------------------------------------------------------------------------


def check_law(decoder):
    for pair in CASES:
        assert joint_law(pair, decoder.rounds(pair)) == pair.target_law()


def check_tree_law(decoder):
    for pair, shape in decoder.trees:
        assert joint_law(pair, decoder.rounds(pair, shape)) == pair.target_law()


def check_acceptance(decoder, survival=lambda pair, i: pair.survival(i)):
    for pair in CASES:
        rounds = decoder.rounds(pair)
        for i in range(pair.k + 1):
            assert accepted_survival(rounds, i) == survival(pair, i)


def check_ragged(decoder):
    for pair in CASES:
        for drafted in range(pair.k):
            assert joint_law(pair, decoder.rounds(pair, drafted)) == pair.target_law()


def check_rounding(decoder):
    """p is one ulp below q at the drafted token and equal elsewhere; u = 1 - eps rejects, nothing is left."""
    for dtype in (np.float32, np.float64):
        q = np.full((1, 4), 0.25, dtype)
        p = np.full((2, 4), 0.25, dtype)
        p[0, 2] = np.nextafter(dtype(0.25), dtype(0))
        u = np.array([np.nextafter(1.0, 0.0)])
        for v, token in ((0.0, 0), (0.3, 1), (0.9, 3), (1.0, 3)):
            verdict = decoder.verify(np.array([2]), q, p, u, np.array(v), xp=np)
            assert (verdict.tokens.tolist(), int(verdict.accepted)) == ([token, -1], 0)


EDGES = (0.0, 5e-324, 1e-45, np.finfo(np.float32).tiny, 0.5, 1 - 2**-24, 1 - 2**-53, 1.0)


def check_boundary(decoder):
    """Whatever u and v in [0, 1], nothing of probability 0 is emitted and every id is below V."""
    q = np.array([[0.5, 0.25, 0.25, 0.0], [0.0, 0.25, 0.5, 0.25]])
    p = np.array([[0.0, 0.7, 0.3, 0.0], [0.0, 0.1, 0.6, 0.3], [0.0, 0.1, 0.9, 0.0]])
    for dtype in (np.float16, np.float32, np.float64):
        for u, v in np.ndindex(len(EDGES), len(EDGES)):
            for tokens in ([0, 1], [1, 2], [1, 1], [2, 3]):
                coins = np.full(2, EDGES[u])
                verdict = decoder.verify(
                    np.array(tokens), q.astype(dtype), p.astype(dtype), coins, np.array(EDGES[v]), xp=np
                )
                emitted = verdict.tokens[: int(verdict.accepted) + 1]
                assert all(0 <= token < 4 and p[i, token] > 0 for i, token in enumerate(emitted))


CHECKS = {
    "law": check_law,
    "tree law": check_tree_law,
    "acceptance": check_acceptance,
    "ragged": check_ragged,
    "rounding": check_rounding,
    "boundary": check_boundary,
}


def sampled_p_value(rule=acceptor.verify, vocabulary=8, couple=None, n=200_000):
    """Chi-square of the first two emitted tokens of n rounds of two drafts against the target's law."""
    rng, V = np.random.default_rng(7), vocabulary
    p, q = rng.dirichlet(np.full(V, 0.7), (2, 1 + V + V * V))  # rows: after nothing, after x, after x y
    w, u, v, last = rng.random((n, 2)), rng.random((n, 2)), rng.random(n), rng.random(n)
    first = acceptor.draw(np.tile(q[0], (n, 1)), w[:, 0], xp=np)
    second = acceptor.draw(q[1 + first], w[:, 1], xp=np)
    tokens = np.stack([first, second], -1)
    rows = np.stack([0 * first, 1 + first, 1 + V + V * first + second], -1)
    coupled = {"draft, accept": (w, v), "draft, recover": (u, w[:, 0]), "accept, recover": (u, u[:, 0])}
    u, v = coupled.get(couple, (u, v))
    emitted = rule(tokens, q[rows[:, :2]], p[rows], u, v, xp=np).tokens
    after = acceptor.draw(p[1 + emitted[:, 0]], last, xp=np)
    seen = np.bincount(V * emitted[:, 0] + np.where(emitted[:, 1] < 0, after, emitted[:, 1]), minlength=V * V)
    return stats.chisquare(seen, n * (p[0][:, None] * p[1 : 1 + V]).ravel()).pvalue


# --- what is planted in a chain ------------------------------------------------------------------------------------

TRUE = {
    name: getattr(module, name)
    for module, names in (
        (chain, ("verify", "residual", "draw", "draft_row", "prefix_length")),
        (block, ("_final_law", "_joint_ratios", "_spare_masses", "_coins")),
        (tree, ("_arrival",)),
    )
    for name in names
}


def excess(p, q):
    return np.where(p > q, p - q, 0)


def softmax_of_residual(p, q, *, xp):
    """softmax(max(p - q, 0)), the series of exp cut after its square where numbers are exact."""
    x = excess(p, q)
    weights = 1 + x + x * x / 2 if x.dtype == object else np.exp(x)
    return weights / weights.sum(-1, keepdims=True)


def residual_without_fallback(p, q, *, xp):
    with np.errstate(invalid="ignore"):
        return excess(p, q) / excess(p, q).sum(-1, keepdims=True)


def unclipped_draw(weights, v, *, xp):
    cumulative = np.cumsum(weights, -1, dtype=weights.dtype)
    return (cumulative <= v[..., None] * cumulative[..., -1:]).sum(-1)


def shifted_draw(weights, v, *, xp):
    return np.minimum(TRUE["draw"](weights, v, xp=xp) + 1, weights.shape[-1] - 1)


def first_is_committed(passes, xp):
    passes = np.concatenate([np.ones_like(passes[..., :1]), passes[..., 1:]], axis=-1)
    return TRUE["prefix_length"](passes, xp)


def verify_as_one_hot(tokens, q, p, u, v, **rest):
    return TRUE["verify"](tokens, one_hot(tokens, q.shape[-1]), p, u, v, **rest)


def bonus_from_the_row_before(tokens, q, p, u, v, **rest):
    p = np.concatenate([p[..., :-1, :], p[..., -2:-1, :]], axis=-2)
    return TRUE["verify"](tokens, q, p, u, v, **rest)


def coin_used_twice(tokens, q, p, u, v, **rest):
    """The coin that rejected draws the recovered token too."""
    accepted = TRUE["verify"](tokens, q, p, u, v, **rest).accepted
    last = np.minimum(accepted, tokens.shape[-1] - 1)
    v = np.where(accepted < tokens.shape[-1], np.take_along_axis(u, last[..., None], -1)[..., 0], v)
    return TRUE["verify"](tokens, q, p, u, v, **rest)


def padding_is_verified(tokens, q, p, u, v, *, xp, drafted):
    """Slots that drafted nothing, filled with a token and its row, count as drafted."""
    used = np.arange(tokens.shape[-1]) < drafted[:, None]
    tokens, u = np.where(used, tokens, 0), np.where(used, u, Fraction(0))
    q = np.where(used[..., None], q, Fraction(1, q.shape[-1]))
    p = np.where((np.arange(p.shape[-2]) <= drafted[:, None])[..., None], p, Fraction(1, p.shape[-1]))
    return TRUE["verify"](tokens, q, p, u, v, xp=xp)


def truncated_drafts(pair, length):
    """Drafts drawn without the first token wherever another has mass, while q is reported whole."""
    cut = {x: (0, *law[1:]) if any(law[1:]) else law for x, law in pair.q.items()}
    law = {x: tuple(Fraction(mass) / sum(cut[x]) for mass in cut[x]) for x in cut}
    return type(pair)(pair.k, pair.vocabulary, pair.denominator, pair.p, law).drafts(length)


def sampler_match(tokens, q, p, u, v, *, xp, drafted=None):
    """Draw from p at every slot with its own coin, emit those draws as far as they equal the drafted tokens."""
    own = acceptor.draw(p, np.concatenate([u, v[..., None]], axis=-1), xp=np)
    accepted = np.cumprod(own[..., :-1] == tokens, axis=-1).sum(-1)
    return acceptor.Verdict(np.where(np.arange(own.shape[-1]) <= accepted[..., None], own, -1), accepted)


# --- what is planted in block verification -------------------------------------------------------------------------


def residual_of_the_token_rule(p, q, ratios, accepted, drafted, xp):
    return TRUE["_final_law"](p, q, 0 * ratios + 1, accepted, drafted, xp)


def shortest_prefix(passes, xp):
    return np.where(passes.any(-1), passes.argmax(-1) + 1, 0) if passes.shape[-1] else 0 * passes.sum(-1)


def clipped_token_by_token(q_x, p_x, xp):
    """prod min(1, p / q), the token rule's survival."""
    ratios = np.where(p_x < q_x, p_x / np.where(q_x > 0, q_x, 1), np.where(p_x > 0, 1, 0))
    return np.concatenate([TRUE["_joint_ratios"](q_x, p_x, xp)[..., :1], np.cumprod(ratios, -1)], axis=-1)


def clipped_at_the_end(q_x, p_x, xp):
    """min(1, prod p / q)."""
    ratios = np.where(q_x > 0, p_x / np.where(q_x > 0, q_x, 1), 0)
    first = TRUE["_joint_ratios"](q_x, p_x, xp)[..., :1]
    return np.minimum(np.concatenate([first, np.cumprod(ratios, -1)], axis=-1), 1)


def kept_with_the_ratio_itself(ratios, q_x, p_x, spare, drafted, xp):
    return ratios[..., :-1] * p_x, q_x


def spare_mass_without_1_minus_w(ratios, q_x, p_x, spare, drafted, xp):
    low, high = TRUE["_coins"](ratios, q_x, p_x, spare, drafted, xp)
    whole = np.arange(1, ratios.shape[-1]) == drafted[..., None]
    return low, np.where(whole, high, 1)


def spare_mass_of_p_itself(ratios, q, p, drafted, xp):
    return TRUE["_spare_masses"](0 * ratios + 1, q, p, drafted, xp)


def last_prefix_without_the_whole(ratios, q_x, p_x, spare, drafted, xp):
    """The full draft is kept with s / (s + 1 - w) too, as if another followed."""
    return spare, spare + 1 - ratios[..., 1:]


# --- what is planted in trees ----------------------------------------------------------------------------------------


def top_children_with_q(pair, prefix, earlier, child):
    return top_children(pair, prefix, earlier, child)[0], pair.q[prefix]


def different_children_with_q(pair, prefix, earlier, child):
    return different_children(pair, prefix, earlier, child)[0], pair.q[prefix]


def only_the_entry(shape, tokens, q, p, u, v, *, xp):
    """Rows of q emptied but for the token: the ratio stays, the residual loses the rejected entry alone."""
    return acceptor.verify_tree(shape, tokens, q * one_hot(tokens, q.shape[-1], q.dtype), p, u, v, xp=xp)


def without_renormalising(law, q, rejected, xp):
    return np.where(rejected[..., None], excess(law, q), law)


def bonus_from_the_root(shape, node, p, xp):
    return TRUE["_arrival"](shape, node if shape.children[node] else 0, p, xp)


def k_seq_with_residual_of_q(shape, tokens, q, p, u, v, *, xp):
    """Recovers from max(p - q, 0), as if there had been one draft."""

    def wrong(law, used, *, xp):
        return TRUE["residual"](law, np.where(used.any(-1, keepdims=True), q[..., 0, :], used), xp=xp)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(k_seq, "residual", wrong)
        return k_seq_on(shape, tokens, q, p, u, v, rho=shape.size, xp=xp)


# --- the table -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mutant:
    """A planted bug: the check that kills it, the decoder it sits in, and what is replaced inside `module`."""

    check: str
    decoder: Any = field(default_factory=Decoder)
    module: ModuleType = chain
    replaced: dict = field(default_factory=dict)

    def survives(self):
        with pytest.MonkeyPatch.context() as patch:
            for name, bug in self.replaced.items():
                patch.setattr(self.module, name, bug)
            try:
                CHECKS[self.check](self.decoder)
            except (AssertionError, ValueError):
                return False
            return True


def in_chain(check, **replaced):
    return Mutant(check, replaced=replaced)


def in_block(check, **replaced):
    return Mutant(check, Decoder(acceptor.verify_block), block, replaced)


def in_tree(**replaced):
    return Mutant("tree law", TreeDecoder(), tree, replaced)


def in_k_seq(**replaced):
    return Mutant("tree law", TreeDecoder(partial(k_seq_on, rho=3), trees=STARS), k_seq, replaced)


def argmax_drafts(pair, length):
    return pair.argmax_drafts(length)


MUTANTS = {
    "resamples from p": in_chain("law", residual=lambda p, q, *, xp: p),
    "inverted ratio": in_chain("law", _accepts=lambda u, q, p: u * p < q),
    "wrong bonus row": Mutant("law", Decoder(bonus_from_the_row_before)),
    "counts accepts behind a rejection": in_chain("law", prefix_length=lambda passes, xp: passes.sum(-1)),
    "draw off by one": in_chain("law", draw=shifted_draw),
    "u reused as v (sglang PR 7231)": Mutant("law", Decoder(coin_used_twice)),
    "no fallback without residual mass": in_chain("rounding", residual=residual_without_fallback),
    "softmax of the residual (transformers PR 28508)": in_chain("law", residual=softmax_of_residual),
    "softmax q for an argmax draft (transformers #32867)": Mutant("law", Decoder(drafts=argmax_drafts)),
    "draft truncated, q reported whole (transformers #47932)": Mutant("law", Decoder(drafts=truncated_drafts)),
    "<= for < (sglang #35771)": in_chain("boundary", _accepts=lambda u, q, p: u * q <= p),
    "draw unclipped (sglang PR 30822)": in_chain("boundary", draw=unclipped_draw),
    "first token committed unverified (lattice #243)": in_chain("law", prefix_length=first_is_committed),
    "fresh draw on mismatch (mlx-swift-lm PR 459)": Mutant(
        "law", Decoder(verify_as_one_hot), chain, {"residual": lambda p, q, *, xp: p}
    ),
    "q ignored (vllm #40149)": Mutant("acceptance", Decoder(verify_as_one_hot)),
    "padding verified as drafted": Mutant("ragged", Decoder(padding_is_verified)),
    "residual against the first draft row": in_chain(
        "law", draft_row=lambda q, accepted, rejected, xp: TRUE["draft_row"](q, 0 * accepted, rejected, xp)
    ),
    "block: residual of the token rule": in_block("law", _final_law=residual_of_the_token_rule),
    "block: stops at the first rejection": in_block("law", _last=TRUE["prefix_length"]),
    "block: keeps the shortest prefix": in_block("law", _last=shortest_prefix),
    "block: ratio clipped token by token": in_block("law", _joint_ratios=clipped_token_by_token),
    "block: ratio clipped at the end": in_block("law", _joint_ratios=clipped_at_the_end),
    "block: prefix kept with w": in_block("law", _coins=kept_with_the_ratio_itself),
    "block: prefix kept with s": in_block("law", _coins=spare_mass_without_1_minus_w),
    "block: spare mass of p, not w p": in_block("law", _spare_masses=spare_mass_of_p_itself),
    "block: whole draft kept like a prefix": in_block("law", _coins=last_prefix_without_the_whole),
    "block: softmax of the residual": in_block("law", residual=softmax_of_residual),
    "block: no fallback without residual mass": in_block("rounding", residual=residual_without_fallback),
    "block: draw unclipped": in_block("boundary", draw=unclipped_draw),
    "tree: draft's ratio on top-k children (EAGLE #221)": Mutant(
        "tree law", TreeDecoder(children=top_children_with_q), tree
    ),
    "tree: q not renormalised without replacement": Mutant(
        "tree law", TreeDecoder(children=different_children_with_q), tree
    ),
    "tree: only the rejected entry subtracted (EAGLE PR 47)": Mutant("tree law", TreeDecoder(only_the_entry), tree),
    "tree: p not updated between siblings": in_tree(_left=lambda law, q, rejected, xp: law),
    "tree: residual not renormalised between siblings": in_tree(_left=without_renormalising),
    "tree: softmax of the residual": in_tree(residual=softmax_of_residual),
    "tree: bonus from the root's row": in_tree(_arrival=bonus_from_the_root),
    "k-SEQ: rho = 1": Mutant("tree law", TreeDecoder(partial(k_seq_on, rho=1), trees=STARS), k_seq),
    "k-SEQ: recovers from p - q": Mutant("tree law", TreeDecoder(k_seq_with_residual_of_q, trees=STARS), k_seq),
    "k-SEQ: recovers as after one draft": in_k_seq(_attempts=lambda overlap, k: 1),
    "k-SEQ: recovers from p": in_k_seq(_attempts=lambda overlap, k: 0),
}
