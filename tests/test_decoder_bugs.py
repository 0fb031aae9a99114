"""Defects of real decoders, by their number, made again in ours and found by the very check that ours passes.

The checks are in `decoder_checks.py`, what is planted in `decoder_mutants.py`; tests of one entry on real
transformers, whose laws come from one forward per prefix, are here.
"""

from dataclasses import FrozenInstanceError
from functools import cache

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests import tiny
from tests.decoder_checks import (
    CHECKS,
    LENGTHS,
    PATTERNS,
    PENALTIES,
    greedy_text,
    masked_law,
    pattern,
    penalised_law,
    requests,
    sampled_law,
    state,
    tie_is_first,
    until,
)
from tests.decoder_mutants import MUTANTS, truncated
from tests.toys import (
    DRAFTS,
    GREEDY,
    HOST,
    SAMPLED,
    Recurrent,
    Scripted,
    Stale,
    decoder_of,
    joint_law,
    llama,
    p_value,
    played,
    remembering,
    tokens,
)
from validate import drafters
from validate.clock import Clock
from validate.decoder import Batch, Decoder
from validate.processors import Allowed, Penalties
from validate.rows import Request, Row, laws

HONEST, PLANTED = 1e-3, 1e-6
honest = cache(lambda name: CHECKS[name]())


def bugs(entry):
    """The planted bugs of an entry."""
    return pytest.mark.parametrize("bug", [name for name in MUTANTS if name.split()[0] == entry])


def shown(bug):
    """The true decoder passes the check, the planted bug does not."""
    assert honest(MUTANTS[bug].check) > HONEST
    assert MUTANTS[bug].value() < PLANTED


def test_every_planted_bug_belongs_to_an_entry_that_is_tested():
    entries = {f"T{int(name[6:8])}" for name in globals() if name.startswith("test_T")}
    assert {name.split()[0] for name in MUTANTS} <= entries


@pytest.mark.parametrize("check", CHECKS)
def test_the_true_decoder_passes_every_check(check):
    assert honest(check) > HONEST


# --- the law ---------------------------------------------------------------------------------------------------------


@bugs("T2")
def test_T02_greedy_draft_with_the_softmax_row(bug):
    shown(bug)


@bugs("T3")
def test_T03_a_sampler_on_one_side_only(bug):
    shown(bug)


def acceptance(decoder, asked):
    rounds = [r for _, made in played(decoder, asked) for r in made]
    return sum(accepted for _, _, _, accepted, *_ in rounds) / sum(drafted for _, _, drafted, *_ in rounds)


def test_T03_acceptance_rises_while_the_law_breaks(monkeypatch):
    asked, draft = requests(300, kinds=[(SAMPLED, ())], budget=8), remembering(3, noise=0.5)
    decoder = decoder_of(remembering(3), draft, rows=32, k=2)
    true = acceptance(decoder, asked)
    assert sampled_law(draft=draft) > HONEST
    monkeypatch.setattr(drafters, "draw", truncated(temperature=0.2))
    assert acceptance(decoder, asked) > true + 0.03
    assert sampled_law(draft=draft) < PLANTED


@bugs("T4")
def test_T04_the_row_judged_is_the_row_drawn_from(bug):
    shown(bug)


class Rounded(drafters.ModelDraft):
    """T4, planted: drafts are drawn in bfloat16, the rows reported are the full ones."""

    def propose(self, rows, ks):
        coins = [row.coins(k).draft[0] for row, k in zip(rows, ks, strict=True)]
        logits = self._model.forward(self._unread(rows), keep=1)
        q = laws(rows, self.arrays, logits, self.name, None)[:, 0]
        low = laws(rows, self.arrays, logits.bfloat16().double(), self.name, None)[:, 0]
        drawn = drafters.draw(low, np.array(coins), xp=np)
        return drafters.Proposal(drawn[:, None], q[:, None], [1] * len(rows))


def drafted_p_value(kind, slots=500, turns=32):
    """Chi-square of many drafts after one text against the row that is reported for them."""
    draft = remembering(8)
    draft.network.table += 48  # where bfloat16 is coarse and the law is what it was
    decoder = decoder_of(remembering(8), kind(HOST, drafters.Model(draft, capacity=8, rows=slots), SAMPLED))
    seen, q = np.zeros(8), None
    for slot in range(slots):
        decoder.drafter.start([1, 2], slot)
    for turn in range(turns):
        rows = [Row(Request([1, 2, 0], 9, slots * turn + slot, SAMPLED), frozenset()) for slot in range(slots)]
        proposal = decoder.drafter.propose(rows, [1] * slots)
        seen, q = seen + np.bincount(proposal.tokens[:, 0], minlength=8), proposal.q[0, 0]
    return p_value([(x,) for x in range(8) for _ in range(int(seen[x]))], {(x,): q[x] for x in range(8)})


def test_T04_a_row_sampled_in_bfloat16_is_flagged_by_its_draws():
    assert drafted_p_value(drafters.ModelDraft) > HONEST
    assert drafted_p_value(Rounded) < PLANTED


@bugs("T5")
def test_T05_two_of_the_three_streams_coupled(bug):
    shown(bug)


# --- seeds and batches -----------------------------------------------------------------------------------------------


@bugs("T9")
def test_T09_the_bonus_is_no_draft(bug):
    shown(bug)


@bugs("T10")
def test_T10_coins_that_are_not_the_rows_own(bug):
    shown(bug)


@bugs("T11")
def test_T11_another_rows_sampling_parameters(bug):
    shown(bug)


@pytest.mark.parametrize("rows", [1, 2, 3, 8])
def test_T25_the_law_holds_at_every_batch_with_ragged_acceptance(rows):
    assert sampled_law(rows=rows, n=600, k=3) > HONEST


@bugs("T25")
def test_T25_what_belongs_to_another_row(bug):
    shown(bug)


def test_T25_the_law_of_a_real_transformer_in_a_ragged_batch():
    target, draft = (llama(vocabulary=4, sharpness=12, noise=noise) for noise in (0.0, 0.35))
    decoder, prompts = decoder_of(target, draft, rows=32, k=2), ([1, 2], [3, 0, 1, 1, 2])
    asked = [Request(prompts[seed % 2], 4 + seed % 3, seed, SAMPLED) for seed in range(500)]
    made = tokens(decoder, asked)
    for i, prompt in enumerate(prompts):
        law = joint_law(target, prompt, 3, lambda logits, output: SAMPLED(logits, xp=np))
        assert p_value([text[:3] for text in made[i::2]], law) > HONEST


# --- state -----------------------------------------------------------------------------------------------------------


@bugs("T12")
def test_T12_the_draft_has_not_read_what_was_committed(bug):
    shown(bug)


def test_T12_T16_caches_of_real_transformers_after_any_pattern_are_a_fresh_prefills():
    """Lengths, positions and logits of target and draft, asserted at every forward; full acceptance is among them."""
    assert state(llama(vocabulary=4, seed=1), llama(vocabulary=4, seed=1, noise=0.3)) == 1


def test_T12_the_patterns_hold_every_count_of_accepted_drafts():
    target, asked = remembering(), requests(6, kinds=[(GREEDY, ())], prompts=LENGTHS, budget=14)
    known = {tuple(request.prompt): greedy_text(target, request.prompt, 20) for request in asked}
    made = played(decoder_of(target, Scripted(4, known, pattern), rows=3, k=4), asked)
    counts = {(drafted, accepted) for _, rounds in made for _, _, drafted, accepted, *_ in rounds}
    assert counts == set(PATTERNS)


@bugs("T13")
def test_T13_the_token_behind_a_rejection(bug):
    shown(bug)


@bugs("T14")
def test_T14_ties_and_first_drafts(bug):
    shown(bug)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_T14_of_equal_logits_the_first_wins_in_every_dtype(dtype):
    assert tie_is_first(dtype) == 1


@bugs("T15")
def test_T15_a_token_twice_at_the_boundary(bug):
    shown(bug)


def test_T15_a_prompt_that_repeats_a_list_goes_on_as_in_plain_decoding():
    target = llama(vocabulary=12, seed=1)
    asked = [Request(prompt, 24) for prompt in ([1, 5, 2, 7] * 4, [3, 3, 9] * 5, [8] * 7)]
    for draft in ("lookup", "early", llama(vocabulary=12, seed=1, noise=0.2)):
        made = tokens(decoder_of(target, draft, rows=3, k=5), asked)
        assert made == [greedy_text(target, request.prompt, 24) for request in asked]


def test_T15_the_positions_of_what_is_fed_go_up_by_one_in_every_row():
    target, fed = llama(vocabulary=4, seed=1), []
    rotary = target.network.model.rotary_emb
    rotary.register_forward_pre_hook(lambda _, args, named: fed.append([*args, *named.values()][1]), with_kwargs=True)
    state(target, remembering(noise=0.9))
    steps = [row.diff() for positions in fed for row in positions]
    assert all((step == 1).all() for step in steps)
    assert {len(step) for step in steps} >= {0, 1, 2, 3, 4}


@bugs("T16")
def test_T16_the_target_cache_is_not_the_committed_text(bug):
    shown(bug)


@bugs("T17")
def test_T17_rows_in_each_others_places(bug):
    shown(bug)


PROMPTS = ([1, 5, 2, 7, 3, 3, 0, 6], [4], [2, 9, 2, 9, 2, 9], [11, 0, 3])


@cache
def generated(**settings):
    """What transformers' generate says, in single precision."""
    target = tiny.llama(vocabulary=12, seed=1)
    made = []
    for prompt in PROMPTS:
        ids = torch.tensor([prompt])
        output = target.network.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=16, do_sample=False, **settings
        )
        made.append(output[0, len(prompt) :].tolist())
    return made


def same_as_generate(draft, k, rows, *processors, **settings):
    target = tiny.llama(vocabulary=12, seed=1)
    draft = tiny.llama(vocabulary=12, seed=1, noise=0.2) if draft == "model" else draft
    asked = [Request(prompt, 16, 0, GREEDY, processors) for prompt in PROMPTS]
    assert tokens(decoder_of(target, draft, rows=rows, k=k), asked) == generated(**settings)


@pytest.mark.parametrize("draft", DRAFTS)
@pytest.mark.parametrize("k", range(1, 9))
def test_T17_greedy_tokens_of_a_batch_are_those_of_generate(draft, k):
    same_as_generate(draft, k, rows=1 + k % 4)


@pytest.mark.slow
@pytest.mark.parametrize("rows", range(1, 5))
@pytest.mark.parametrize("draft", DRAFTS)
@pytest.mark.parametrize("k", range(1, 9))
def test_T17_greedy_tokens_of_any_batch_are_those_of_generate(draft, k, rows):
    same_as_generate(draft, k, rows)


def sometimes(row):
    """Rounds of three drafts, some right, and rounds of none."""
    return (3, row.made % 4) if row.made % 3 else (0, 0)


def recurrent_texts(kind, rows):
    """(texts, what plain decoding says) of a model that has a state."""
    asked = [Request(prompt, 15) for prompt in ([1, 2], [5, 0, 3, 1], [4], [2, 2, 2])]

    def decoder(model, drafter):
        return Decoder(model, drafter, GREEDY, Clock("cpu"), frozenset(), 3)

    plain = tokens(decoder(Recurrent(), drafters.Nothing(HOST, 6)), asked)
    known = {tuple(request.prompt): text + [0] * 5 for request, text in zip(asked, plain, strict=True)}
    return tokens(decoder(kind(rows), Scripted(6, known, sometimes)), asked), plain


@pytest.mark.parametrize("rows", [1, 3])
def test_T18_a_state_that_is_rewound_is_lossless_and_one_that_is_not_is_found(rows):
    made, plain = recurrent_texts(Recurrent, rows)
    assert made == plain
    stale, plain = recurrent_texts(Stale, rows)
    assert stale != plain


# --- processors ------------------------------------------------------------------------------------------------------


@bugs("T19")
def test_T19_penalties_of_another_text(bug):
    shown(bug)


def test_T19_the_law_of_plain_decoding_under_the_same_penalties():
    assert penalised_law(draft="nothing", n=800) > HONEST
    assert penalised_law(draft="lookup", n=800) > HONEST


@pytest.mark.parametrize("draft", DRAFTS)
def test_T19_penalised_greedy_tokens_are_those_of_generate(draft):
    assert generated(repetition_penalty=1.3) != generated()
    same_as_generate(draft, 4, 3, Penalties(repetition=1.3), repetition_penalty=1.3)


def test_T19_after_a_round_the_penalised_law_is_that_of_the_committed_tokens():
    with pytest.raises(FrozenInstanceError):
        PENALTIES.frequency = 0.0
    decoder = decoder_of(remembering(), remembering(noise=0.9), rows=2)
    batch, logits = Batch(decoder), torch.ones(1, 1, 4, dtype=torch.float64)
    rows = [batch.add(Row(Request(prompt, 12, 0, SAMPLED, (PENALTIES,)), frozenset())) for prompt in ([1, 2], [3])]
    while batch.rows:
        batch.round()
        for row in rows:
            rebuilt = Row(row.request, frozenset())
            rebuilt.commit(row.tokens)
            both = [laws([r], HOST, logits, "toy", [[]]) for r in (row, rebuilt)]
            assert np.array_equal(*both)


@bugs("T20")
def test_T20_the_mask_stops_somewhere(bug):
    shown(bug)


@pytest.mark.parametrize("draft", ["nothing", "lookup", "ngram"])
def test_T20_the_masked_law_holds_for_drafts_that_know_no_grammar(draft):
    assert masked_law(draft=draft, n=800) > HONEST


FOLLOWS = {None: (0, 1), 0: (1, 2), 1: (0, 3), 2: (3,)}  # 3 ends a text: nothing is said of what follows it
ENDING = Allowed(lambda output: FOLLOWS[output[-1] if output else None])


@pytest.mark.parametrize("draft", ["model", "lookup", "ngram", "nothing"])
def test_T20_a_grammar_is_asked_only_for_what_can_follow(draft):
    """Neither behind EOS nor behind a forbidden draft nor in padding, where it would not know what to say."""
    draft = remembering(noise=0.9) if draft == "model" else draft
    asked = [Request(prompt, 3 + seed % 9, seed, SAMPLED, (ENDING,)) for seed in range(30) for prompt in LENGTHS]
    for text in tokens(decoder_of(remembering(), draft, rows=5, k=4, eos={3}), asked):
        assert all(after in FOLLOWS[before] for before, after in zip([None, *text], text, strict=False))
        assert text == until(text, {3})


@pytest.mark.parametrize("ids", [(), (4, 9), (-1,)], ids=["none", "beyond the vocabulary", "below it"])
@pytest.mark.parametrize("draft", ["nothing", "model"])
def test_T20_a_row_whose_mask_allows_nothing_fails_closed(ids, draft):
    draft = remembering(noise=0.9) if draft == "model" else draft
    closing = Allowed(lambda output: ids if len(output) >= 3 else (0, 1, 2, 3))
    asked = [Request([1, 2], 9, 0, SAMPLED), Request([1], 9, 1, SAMPLED, (closing,))]
    with pytest.raises(ValueError, match=r"of 2 sequences .*the grammar allows no token of 4 after an output of 3"):
        tokens(decoder_of(remembering(), draft, rows=2), asked)


# --- counting --------------------------------------------------------------------------------------------------------


@bugs("T28")
def test_T28_eos_and_budgets(bug):
    shown(bug)


@bugs("T29")
def test_T29_padded_slots(bug):
    shown(bug)
