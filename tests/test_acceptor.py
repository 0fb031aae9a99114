"""The acceptor on every array library, at the edges of rounding, and on input that is no law."""

from fractions import Fraction
from functools import partial

import numpy as np
import pytest

from specmath import acceptor, sampling
from specmath.draft import Tree
from tests.strategies import LIBRARIES, random_round

# --- the same code on every array library ------------------------------------------------------------------------


def scalar_round(tokens, q, p, u, v, drafted):
    """The oracle: one round, one number at a time."""
    weights, accepted = p[drafted].tolist(), 0
    while accepted < drafted:
        x = tokens[accepted]
        if not u[accepted] * float(q[accepted, x]) < float(p[accepted, x]):
            weights = [max(float(a) - float(b), 0.0) for a, b in zip(p[accepted], q[accepted], strict=True)]
            break
        accepted += 1
    weights = weights if sum(weights) else p[accepted].tolist()
    threshold, mass = float(v) * sum(weights), 0.0
    for x, weight in enumerate(weights):
        mass += weight
        if weight and mass > threshold:
            return [*tokens[:accepted].tolist(), x] + [-1] * (len(tokens) - accepted), accepted
    raise AssertionError("v below 1 always finds a token")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("library", LIBRARIES)
def test_every_library_emits_exactly_what_a_scalar_loop_emits(library, dtype):
    xp, convert = LIBRARIES[library]
    rng = np.random.default_rng(5)
    for case in range(240):
        batch, k, vocabulary = [(), (1,), (5,), (2, 3)][case % 4], case % 5, int(rng.integers(1, 9))
        *arrays, drafted = random_round(rng, batch, k, vocabulary, dtype)
        verdict = acceptor.verify(*map(convert, arrays), xp=xp, drafted=convert(drafted))
        tokens, accepted = np.asarray(verdict.tokens), np.asarray(verdict.accepted)
        assert tokens.shape == (*batch, k + 1)
        assert accepted.shape == batch
        for row in np.ndindex(*batch):
            expected = scalar_round(*(array[row] for array in arrays), int(drafted[row]))
            assert (tokens[row].tolist(), int(accepted[row])) == expected
            assert 0 <= accepted[row] <= drafted[row]
            assert np.sum(tokens[row] >= 0) == accepted[row] + 1


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_rows_are_compared_and_summed_in_double(dtype):
    torch, convert = LIBRARIES.get("torch") or pytest.skip("needs torch")
    rng = np.random.default_rng(8)
    for _ in range(50):
        tokens, q, p, u, v, drafted = map(convert, random_round(rng, (4,), 3, 50))
        half_q, half_p = q.to(getattr(torch, dtype)), p.to(getattr(torch, dtype))
        half = acceptor.verify(tokens, half_q, half_p, u, v, xp=torch, drafted=drafted)
        full = acceptor.verify(tokens, half_q.double(), half_p.double(), u, v, xp=torch, drafted=drafted)
        assert half.tokens.tolist() == full.tokens.tolist()


TREE = Tree((-1, 0, 0, 1, 1))
RULES = {
    "token": acceptor.verify,
    "block": acceptor.verify_block,
    "tree": partial(acceptor.verify_tree, TREE),
    "k-SEQ": lambda tokens, q, *rest, xp: acceptor.verify_k_seq(tokens, q[..., 0, :], *rest, rho=4.0, xp=xp),
    "lenience": partial(acceptor.lossy_lenience, lenience=0.7),
    "typical": lambda tokens, q, p, u, v, *, xp: acceptor.lossy_typical(tokens, p, v, epsilon=0.2, delta=0.5, xp=xp),
}


@pytest.mark.gpu
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_gpu_emits_the_same_tokens_without_being_waited_for(rule):
    torch, _ = LIBRARIES.get("torch") or pytest.skip("needs torch")
    if not torch.cuda.is_available():
        pytest.skip("needs CUDA")
    rng = np.random.default_rng(9)
    for _ in range(30):
        *arrays, _ = random_round(rng, (6,), TREE.size, 60)
        arrays[1:3] = (np.where(np.isnan(rows), 1 / 60, rows) for rows in arrays[1:3])
        there = [torch.asarray(array, device="cuda") for array in arrays]
        there[2][0, :] = torch.nan
        try:
            torch.cuda.set_sync_debug_mode("error")
            verdict = rule(*there, xp=torch)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        tokens, accepted = verdict.tokens.cpu().numpy(), verdict.accepted.cpu().numpy()
        assert accepted[0] == -1
        host = rule(*(array[1:] for array in arrays), xp=np)
        assert tokens[1:].tolist() == host.tokens.tolist()


# --- rounding and edges --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_p_equal_to_q_to_one_ulp_never_yields_nan_or_an_impossible_token(dtype):
    rng = np.random.default_rng(3)
    for _ in range(200):
        q = rng.dirichlet(np.full(6, 0.5), 1).astype(dtype) * (rng.random((1, 6)) < 0.8)
        nudged = np.nextafter(q, rng.choice([0, 2], q.shape).astype(dtype))
        p = np.concatenate([np.where(q > 0, nudged, 0), np.full((1, 6), 1 / 6, dtype)])
        if not q.any():
            continue
        verdict = acceptor.verify(np.array([q[0].argmax()]), q, p, np.ones(1), np.array(rng.random()), xp=np)
        emitted = verdict.tokens[: verdict.accepted + 1]
        assert all(p[i, token] > 0 for i, token in enumerate(emitted))
        assert np.isfinite(acceptor.residual(p[0], q[0], xp=np)).all()


def test_a_tail_of_50_000_tokens_too_light_for_single_precision_keeps_its_mass():
    weights = np.array([1.0] + [1e-8] * 50_000, np.float32)
    v = np.linspace(0.9996, 1.0, 9)[:-1]
    exact = np.floor((v * 1.0005 - 1) / 1e-8) + 1
    assert np.abs(acceptor.draw(np.tile(weights, (8, 1)), v, xp=np) - exact).max() <= 2
    assert np.cumsum(weights)[-1] == 1.0  # what summing in single precision would make of the tail


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_every_uniform_from_0_to_1_draws_a_token_that_has_weight(dtype):
    weights = np.array([0, 0.1, 0, 0.2, 0.7, 0, 0], dtype)
    drawn = [int(acceptor.draw(weights, np.array(v), xp=np)) for v in (0.0, 5e-324, 0.5, 1 - 2**-53, 1.0)]
    assert drawn == [1, 1, 4, 4, 4]


def test_a_quantile_on_the_boundary_of_two_tokens_draws_the_later_one():
    weights = np.array([0.25, 0.0, 0.25, 0.5])
    drawn = [int(acceptor.draw(weights, np.array(v), xp=np)) for v in (0.0, 0.25, 0.5, np.nextafter(0.5, 0))]
    assert drawn == [0, 2, 3, 2]


def test_the_residual_is_normalised_and_without_mass_it_is_p_as_it_came():
    p = np.array([[0.5, 0.5], [0.5, 0.5], [0.25, 0.5]])
    q = np.array([[0.25, 0.25], [0.5, 0.5], [0.25, 0.75]])
    assert acceptor.residual(p, q, xp=np).tolist() == [[0.5, 0.5], [0.5, 0.5], [0.25, 0.5]]
    assert acceptor.residual(p.astype(np.float32), q.astype(np.float32), xp=np).dtype == np.float64


def test_one_hot_p_accepts_its_own_token_and_recovers_it_otherwise():
    p, q = np.eye(4)[[2, 1, 0]], np.full((2, 4), 0.25)
    coins = np.array([0.999, 0.999]), np.array(0.5)
    assert acceptor.verify(np.array([2, 1]), q, p, *coins, xp=np).tokens.tolist() == [2, 1, 0]
    assert acceptor.verify(np.array([2, 3]), q, p, *coins, xp=np).tokens.tolist() == [2, 1, -1]


def test_disjoint_supports_accept_nothing_and_recover_from_p_itself():
    p, q = np.array([[0, 0, 0.5, 0.5], [1, 0, 0, 0]]), np.array([[0.5, 0.5, 0, 0]])
    verdicts = [acceptor.verify(np.array([1]), q, p, np.zeros(1), np.array(v), xp=np) for v in (0.0, 0.49, 0.51, 1.0)]
    assert [verdict.tokens.tolist() for verdict in verdicts] == [[2, -1], [2, -1], [3, -1], [3, -1]]


def spoiled(rng):
    arrays = random_round(rng, (3,), 2, 5)
    tokens, q, p, u, v, _ = (array.copy() for array in arrays)
    p[1] = np.nan
    return tokens.clip(0, 4), np.full_like(q, 0.2), np.where(np.isnan(p), [[[0.2]], [[np.nan]], [[0.2]]], p), u, v


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_row_of_nan_raises_and_is_named(library):
    xp, convert = LIBRARIES[library]
    with pytest.raises(ValueError, match="row 1 of 3"):
        acceptor.verify(*map(convert, spoiled(np.random.default_rng(1))), xp=xp)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_row_of_nan_in_device_memory_ends_as_minus_one_and_leaves_the_others_alone(library, monkeypatch):
    monkeypatch.setattr(sampling, "HOST_MEMORY", None)
    xp, convert = LIBRARIES[library]
    arrays = spoiled(np.random.default_rng(1))
    verdict = acceptor.verify(*map(convert, arrays), xp=xp)
    assert np.asarray(verdict.tokens)[1].tolist() == [-1, -1, -1]
    assert np.asarray(verdict.accepted).tolist()[1] == -1
    alone = acceptor.verify(*(array[[0, 2]] for array in arrays), xp=np)
    assert np.asarray(verdict.tokens)[[0, 2]].tolist() == alone.tokens.tolist()


@pytest.mark.parametrize("weights", [[0.0, 0.0], [np.nan, 1.0], [1.0, np.inf], [-np.inf, 1.0]])
def test_weights_that_are_no_law_are_refused(weights):
    with pytest.raises(ValueError, match="row 0 of 1: no law to draw from"):
        acceptor.draw(np.array(weights), np.array(0.5), xp=np)


def test_weights_that_are_no_law_draw_minus_one_where_nothing_is_waited_for(monkeypatch):
    monkeypatch.setattr(sampling, "HOST_MEMORY", None)
    weights = np.array([[0.5, 0.5], [0.0, 0.0], [np.nan, 1.0]])
    assert acceptor.draw(weights, np.array([0.7, 0.7, 0.7]), xp=np).tolist() == [1, -1, -1]


def test_shapes_and_counts_that_do_not_fit_are_refused_in_one_line():
    tokens, q, p, u, v, _ = random_round(np.random.default_rng(2), (3,), 2, 5)
    with pytest.raises(ValueError, match=r"p has shape \(3, 2, 5\), tokens \(3, 2\) and V = 5 need \(3, 3, 5\)"):
        acceptor.verify(tokens, q, p[:, :2], u, v, xp=np)
    with pytest.raises(ValueError, match=r"row 1 of 3: drafted is outside 0\.\.2"):
        acceptor.verify(tokens, q, p, u, v, xp=np, drafted=np.array([2, 3, 0]))


def first_beyond(weights, v):
    """The oracle: add up one after another, in fractions."""
    exact, total, seen = [Fraction(w) for w in weights], sum(map(Fraction, weights)), 0
    for x, weight in enumerate(exact):
        seen += weight
        if seen > v * total or seen == total:
            return x
    raise AssertionError


@pytest.mark.parametrize("vocabulary", [1, 2, 255, 256, 257, 1000, 1536])
@pytest.mark.parametrize("library", LIBRARIES)
def test_a_draw_is_the_first_token_beyond_its_quantile_over_any_vocabulary(library, vocabulary):
    """Weights are small integers, which no sum rounds, most of them zero, at both ends and over whole blocks too."""
    xp, convert = LIBRARIES[library]
    rng = np.random.default_rng(vocabulary)
    weights = rng.integers(0, 4, (60, vocabulary)) * (rng.random((60, vocabulary)) < 0.1)
    weights[:20, : vocabulary // 2] = 0
    weights[20:40, vocabulary // 2 :] = 0
    weights[np.arange(60), rng.integers(0, vocabulary, 60)] += 1
    eighths = rng.integers(0, 9, 60)
    drawn = acceptor.draw(convert(weights.astype(float)), convert(eighths / 8), xp=xp)
    expected = [first_beyond(row.tolist(), Fraction(int(e), 8)) for row, e in zip(weights, eighths, strict=True)]
    assert np.asarray(drawn).tolist() == expected
    assert all(weights[i, x] > 0 for i, x in enumerate(expected))


def test_a_draw_never_lands_on_a_token_without_weight_whatever_rounds():
    rng = np.random.default_rng(3)
    weights = rng.random((400, 700)) ** 20 * (rng.random((400, 700)) < 0.2)
    sums = np.cumsum(weights, axis=-1)
    edges = sums[np.arange(400), rng.integers(0, 700, 400)] / sums[:, -1]
    for v in (edges, np.nextafter(edges, 2), np.nextafter(edges, -1), np.ones(400), np.zeros(400)):
        drawn = acceptor.draw(weights, np.clip(v, 0, 1), xp=np)
        assert (weights[np.arange(400), drawn] > 0).all()
