"""Operations and joules of an option: counted by hand, with and without a draft, and what is not known."""

from dataclasses import replace

import pytest

from specmath import Candidate, Linear, Pair, Roofline, Slo, Traffic, plan
from specmath.hardware import gpu
from validate.plan_energy import energy

TRAFFIC = Traffic(8.0, 1000, 300)


def chosen(target, draft, k):
    found = plan(Candidate("draft", 0.7, Pair(target, draft), k), TRAFFIC, Slo(), gpu="h100")
    return next(option for option in found.ranked if option.k == k), found.without


def test_operations_of_a_round_over_its_tokens():
    """(k + 1) forwards of the target and k of the draft for 2.19 tokens (Leviathan et al. 2023, Theorem 3.11)."""
    target, draft = Roofline("Llama-3.1-8B", "h100"), Roofline("Llama-3.2-1B", "h100").drafting()
    drafting, plain = chosen(target, draft, 2)
    share = draft.shape.active_parameters / target.shape.active_parameters
    assert energy(drafting)["operations_factor"] == pytest.approx((3 + 2 * share) / 2.19)
    assert energy(plain)["operations_factor"] == 1.0
    low = 2 * target.shape.active_parameters * 700 / 989e12
    assert energy(plain)["joules_per_token"]["low"] == pytest.approx(low)
    assert energy(plain)["joules_per_token"]["high"] == pytest.approx(700 * plain.gpus / 2400)


def test_lookup_drafts_for_no_operations():
    target = Roofline("Llama-3.1-8B", "h100")
    drafting, _ = chosen(target, None, 2)
    assert energy(drafting)["operations_factor"] == pytest.approx(3 / 2.19)


def test_what_is_not_known():
    silent = replace(gpu("h100"), power=None)
    drafting, _ = chosen(Roofline("Llama-3.1-8B", silent), None, 1)
    assert energy(drafting)["joules_per_token"] is None
    measured, _ = chosen(Linear(0.01, 1e-5), None, 1)
    assert energy(measured) is None
