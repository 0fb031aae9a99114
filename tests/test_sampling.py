"""Logits to probabilities: against a scalar oracle, against transformers, and as part of a lossless round."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from specmath import acceptor, sampling
from tests.strategies import LIBRARIES

PARAMETERS = st.fixed_dictionaries(
    {
        "temperature": st.sampled_from([0, 0.3, 0.7, 1.0, 1.0, 1.9]),
        "top_k": st.integers(0, 8),
        "top_p": st.sampled_from([0.0917, 0.5131, 0.9017, 1.0]),
        "min_p": st.sampled_from([0.0, 0.0531, 0.3017, 0.99]),
    }
)
ROWS = st.lists(st.sampled_from([-math.inf, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0]), min_size=1, max_size=7).filter(
    lambda row: max(row) > -math.inf
)


def scalar_warp(row, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0):
    """The oracle: one row, one number at a time."""
    if temperature == 0:
        return [float(x == row.index(max(row))) for x in range(len(row))]
    weights = [math.exp((logit - max(row)) / temperature) for logit in row]
    ranked = sorted(weights, reverse=True)
    if 0 < top_k < len(row):
        weights = [w if w >= ranked[top_k - 1] else 0.0 for w in weights]
    total, mass = sum(weights), 0.0
    for bar in sorted(weights, reverse=True):
        mass += bar
        if mass >= top_p * total * (1 - 1e-12):
            break
    weights = [w if w >= bar and w >= min_p else 0.0 for w in weights]
    return [w / sum(weights) for w in weights]


@pytest.mark.parametrize("library", LIBRARIES)
@given(st.lists(ROWS, min_size=1, max_size=3), PARAMETERS)
def test_warp_is_the_scalar_oracle_in_every_library(library, rows, parameters):
    xp, convert = LIBRARIES[library]
    width = max(map(len, rows))
    rows = [row + [-math.inf] * (width - len(row)) for row in rows]
    found = np.asarray(sampling.warp(convert(np.array(rows)), **parameters, xp=xp))
    assert np.allclose(found, [scalar_warp(row, **parameters) for row in rows], rtol=1e-12, atol=0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "parameters",
    [
        {"temperature": 0.7},
        {"top_k": 50},
        {"top_p": 0.9},
        {"min_p": 0.05},
        {"temperature": 1.4, "top_k": 200, "top_p": 0.8, "min_p": 0.02},
    ],
)
def test_warp_gives_the_laws_that_transformers_samples_from(parameters, dtype):
    warpers = pytest.importorskip("transformers.generation.logits_process")
    torch, _ = LIBRARIES["torch"]
    dtype = getattr(torch, dtype)
    made = {
        "temperature": warpers.TemperatureLogitsWarper,
        "top_k": warpers.TopKLogitsWarper,
        "top_p": warpers.TopPLogitsWarper,
        "min_p": warpers.MinPLogitsWarper,
    }
    logits = 3 * torch.randn(32, 2000, generator=torch.Generator().manual_seed(4), dtype=dtype)
    theirs = logits
    for name, value in parameters.items():
        theirs = made[name](value)(None, theirs)
    theirs, ours = torch.softmax(theirs, -1), sampling.warp(logits, **parameters, xp=torch)
    assert bool(((ours > 0) == (theirs > 0)).all())
    assert torch.allclose(ours, theirs, rtol=8 * torch.finfo(dtype).eps, atol=0)


# --- greedy and ties ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("library", ["numpy", "read-only numpy", "torch"])
def test_at_temperature_0_the_first_of_equal_logits_wins(library, dtype):
    xp, convert = LIBRARIES.get(library) or pytest.skip("needs torch")
    rng = np.random.default_rng(6)
    for width in (1, 5, 70, 5000):
        logits = rng.integers(0, 4, (6, width)).astype(dtype)
        found = np.asarray(sampling.warp(convert(logits), temperature=0, xp=xp))
        first = [row.index(max(row)) for row in logits.tolist()]
        assert np.array_equal(found, np.eye(width)[first])


def test_a_tie_that_only_half_precision_has_goes_to_the_first_too():
    logits = np.array([1.0, 9.0001, 9.0002])
    assert sampling.warp(logits, temperature=0, xp=np).tolist() == [0, 0, 1]
    assert sampling.warp(logits.astype(np.float16), temperature=0, xp=np).tolist() == [0, 1, 0]


def test_all_that_tie_at_the_boundary_of_top_k_or_top_p_stay():
    logits = np.log(np.array([0.2, 0.2, 0.4, 0.2]))
    assert np.allclose(sampling.warp(logits, top_k=2, xp=np), [0.2, 0.2, 0.4, 0.2])
    assert np.allclose(sampling.warp(logits, top_p=0.5, xp=np), [0.2, 0.2, 0.4, 0.2])
    assert np.allclose(sampling.warp(logits, top_p=0.3, xp=np), [0, 0, 1, 0])


@given(ROWS, PARAMETERS)
def test_forbidden_tokens_get_nothing_and_the_rest_sums_to_1(row, parameters):
    found = sampling.warp(np.array(row), **parameters, xp=np)
    assert (found[np.isneginf(row)] == 0).all()
    assert np.isclose(found.sum(), 1)


@pytest.mark.parametrize("temperature", [1e-3, 1e-12, 1e-40, 1e-300])
def test_tiny_temperatures_go_to_the_largest_logit_without_nan(temperature):
    for dtype in (np.float32, np.float64):
        logits = np.array([[-50.0, 8.0, 7.0, -np.inf]], dtype)
        assert sampling.warp(logits, temperature=temperature, xp=np).tolist() == [[0, 1, 0, 0]]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_half_precision_comes_back_in_single_and_the_rest_as_it_came(dtype):
    torch, _ = LIBRARIES.get("torch") or pytest.skip("needs torch")
    logits = torch.tensor([[1.0, 2.0, 3.0]], dtype=getattr(torch, dtype))
    for temperature in (0, 0.5, 1.0):
        expected = torch.float64 if dtype == "float64" else torch.float32
        assert sampling.warp(logits, temperature=temperature, xp=torch).dtype == expected


# --- refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameter", "values"),
    [
        ("temperature", [-0.1, math.nan, math.inf]),
        ("top_k", [-1, 2.5, math.nan, math.inf]),
        ("top_p", [0, -0.5, 1.01, math.nan]),
        ("min_p", [-0.1, 1, math.nan]),
    ],
)
def test_a_parameter_outside_its_domain_is_named(parameter, values):
    for value in values:
        with pytest.raises(ValueError, match=f"{parameter} is {value}, expected"):
            sampling.warp(np.zeros(3), **{parameter: value}, xp=np)


BAD_ROWS = [[math.nan] * 3, [0.0, math.nan, 1.0], [-math.inf] * 3, [0.0, math.inf, 1.0]]


@pytest.mark.parametrize("bad", BAD_ROWS)
@pytest.mark.parametrize("temperature", [0, 1.0])
@pytest.mark.parametrize("library", LIBRARIES)
def test_a_row_without_a_finite_maximum_is_named(library, temperature, bad):
    xp, convert = LIBRARIES[library]
    with pytest.raises(ValueError, match="row 3 of 4: no finite largest logit"):
        sampling.warp(
            convert(np.array([[[0.0, 1, 2], [0, 1, -np.inf]], [[2, 1, 0], bad]])), temperature=temperature, xp=xp
        )
    with pytest.raises(ValueError, match="row 0 of 1"):
        sampling.warp(convert(np.array(bad)), temperature=temperature, xp=xp)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("bad", BAD_ROWS)
@pytest.mark.parametrize("parameters", [{"temperature": 0}, {}, {"top_k": 2}, {"top_p": 0.5}, {"min_p": 0.1}])
@pytest.mark.parametrize("library", LIBRARIES)
def test_in_device_memory_such_a_row_can_never_be_drawn_from(library, parameters, bad, monkeypatch):
    monkeypatch.setattr(sampling, "HOST_MEMORY", None)
    xp, convert = LIBRARIES[library]
    law = sampling.warp(convert(np.array([[0.0, 1.0, 2.0], bad])), **parameters, xp=xp)
    drawn = np.asarray(acceptor.draw(law, convert(np.array([0.5, 0.5])), xp=xp))
    assert drawn[0] >= 0
    assert drawn[1] == -1


# --- the same processors on both sides, or the law breaks ----------------------------------------------------------


def emitted_law(drawn_from, q, p):
    """Law of the first token of a round of one, through verify, integrated over the cells between its thresholds."""
    v, widths = cells([0, *np.cumsum(p), *np.cumsum(acceptor.residual(p, q, xp=np)), 1])
    law = np.zeros(len(p))
    for x in np.flatnonzero(drawn_from):
        u, heights = cells([0, min(1, p[x] / q[x]) if q[x] else 1, 1])
        for (i, height), (j, width) in itertools.product(enumerate(heights), enumerate(widths)):
            verdict = acceptor.verify(np.array([x]), q[None], np.stack([p, p]), u[[i]], v[j], xp=np)
            law[verdict.tokens[0]] += drawn_from[x] * height * width
    return law


def cells(thresholds):
    edges = np.unique(np.clip(thresholds, 0, 1))
    return (edges[1:] + edges[:-1]) / 2, np.diff(edges)


PROCESSORS = [{"temperature": 0.5}, {"top_k": 2}, {"top_p": 0.6}, {"min_p": 0.5}]
TARGET, DRAFT = np.log([0.15, 0.25, 0.2, 0.4]), np.log([0.12, 0.23, 0.3, 0.35])


@pytest.mark.parametrize("processor", PROCESSORS)
def test_processors_on_both_sides_or_on_the_draft_alone_keep_the_targets_law(processor):
    for on_target in (processor, {}):
        q, p = sampling.warp(DRAFT, **processor, xp=np), sampling.warp(TARGET, **on_target, xp=np)
        assert np.allclose(emitted_law(q, q, p), p, atol=1e-12)


@pytest.mark.parametrize("processor", PROCESSORS)
def test_a_draft_row_reported_without_its_processor_breaks_the_law(processor):
    q, raw, p = (sampling.warp(DRAFT, **processor, xp=np), sampling.warp(DRAFT, xp=np), sampling.warp(TARGET, xp=np))
    assert np.abs(emitted_law(q, raw, p) - p).sum() / 2 > 0.02


def test_acceptance_can_rise_while_the_law_breaks():
    q, raw, p = sampling.warp(DRAFT, top_k=2, xp=np), sampling.warp(DRAFT, xp=np), sampling.warp(TARGET, xp=np)
    honest, reported = np.minimum(p, q).sum(), (q * np.minimum(1, p / raw)).sum()
    assert reported > honest + 0.1
    assert np.abs(emitted_law(q, raw, p) - p).sum() / 2 > 0.1
