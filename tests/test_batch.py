"""Rows side by side: one seed gives one text wherever its row stands, rows of any lengths, and what goes wrong."""

import sys
from functools import partial

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests import tiny
from tests.decoder_checks import LENGTHS, greedy_text, mixed_requests, requests, tied
from tests.toys import (
    DRAFTS,
    GREEDY,
    HOST,
    SAMPLED,
    Watched,
    continued,
    decoder_of,
    llama,
    other,
    played,
    remembering,
    tokens,
)
from validate import decoder as decoder_module
from validate import drafters
from validate.decoder import Batch
from validate.model import Model
from validate.rows import Request, Row

# --- T10: seeds ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("draft", DRAFTS)
def test_T10_a_seed_gives_the_same_tokens_alone_and_in_any_batch_row_and_order(draft):
    """Exactly, in double precision; the rounds are the same too."""
    target, asked = llama(seed=2, sharpness=12), mixed_requests(7, budget=6)
    draft = llama(seed=2, sharpness=12, noise=0.3) if draft == "model" else draft
    alone = [played(decoder_of(target, draft), [request])[0] for request in asked]
    for rows in (2, 3, 8):
        assert played(decoder_of(target, draft, rows=rows), asked) == alone
        assert played(decoder_of(target, draft, rows=rows), asked[::-1]) == alone[::-1]


def test_T10_another_seed_gives_other_tokens_and_at_temperature_0_the_same():
    target = remembering()
    for sampler, texts in ((SAMPLED, 40), (GREEDY, 1)):
        asked = [Request([1, 2], 20, seed, sampler) for seed in range(40)]
        made = tokens(decoder_of(target, remembering(noise=0.9), rows=8), asked)
        assert len(set(map(tuple, made))) == texts


GAPS = {"float32": 1e-4, "bfloat16": 0.1}  # below which a decision counts as a tie of rounding


def margins(decoder, request):
    """The closest decision of the prefill and of every round of a request: a coin to its bound, or two top logits."""
    found, true = [[]], drafters.draw

    def draw(weights, v, *, xp):
        shares = np.cumsum(weights, -1) / weights.sum(-1, keepdims=True)
        found[-1].append(np.abs(shares[..., :-1] - np.asarray(v)[..., None]).min())
        return true(weights, v, xp=xp)

    def forward(self, *fed, **more):
        logits = Model.forward(self, *fed, **more)
        if request.sampler == GREEDY:
            best = logits.topk(2).values
            found[-1].append(float((best[..., 0] - best[..., 1]).min()))
        return logits

    def rule(drafts, q, p, u, v, **more):
        picked = [np.take_along_axis(law[:, : drafts.shape[1]], drafts[..., None], -1)[..., 0] for law in (q, p)]
        found[-1] += np.abs(u * picked[0] - picked[1]).ravel().tolist()
        return decoder_module.verify(drafts, q, p, u, v, **more)

    kind = type("Measured", (Model,), {"forward": forward})
    with pytest.MonkeyPatch.context() as patch:
        for module in (drafters, decoder_module, sys.modules["specmath.acceptor.chain"]):
            patch.setattr(module, "draw", draw)
        batch = Batch(decoder(kind=kind, rule=rule))
        batch.add(Row(request, frozenset()))
        while batch.rows:
            found.append([])
            batch.round()
    return [min(values) for values in found]


def divergences(asked, decoder, **batch):
    """How close to a tie each request was decided that says something else in a batch than alone."""
    found = []
    for request, together in zip(asked, played(decoder(rows=8, **batch), asked), strict=True):
        alone = played(decoder(), [request])[0]
        if alone[0] != together[0]:
            rounds = zip(alone[1], together[1], strict=False)
            same = next(i for i, (a, b) in enumerate(rounds, alone[0][0] == together[0][0]) if a != b)
            found.append(margins(decoder, request)[same])
    return found


TWO_LAWS = {"kinds": [(GREEDY, ()), (SAMPLED, ())], "prompts": LENGTHS, "budget": 16}


@pytest.mark.parametrize("dtype", GAPS)
def test_T10_in_single_and_half_precision_a_divergence_is_a_tie_and_is_counted(dtype, record_property):
    networks = [tiny.llama(vocabulary=12, seed=2, sharpness=6, noise=noise) for noise in (0.0, 0.3)]
    for loaded in networks:
        loaded.network.to(getattr(torch, dtype))
    found = divergences(requests(8, **TWO_LAWS), partial(decoder_of, *networks))
    record_property("diverged", len(found))
    assert all(closest < GAPS[dtype] for closest in found), found


def rounding(size):
    """A model that rounds otherwise where several rows are read at once."""

    def forward(self, fed, **more):
        logits = Model.forward(self, fed, **more)
        shift = size * torch.sin(torch.arange(float(logits.numel()))).reshape(logits.shape)
        return logits + shift if logits.ndim == 3 and len(logits) > 1 else logits

    return type("Rounding", (Model,), {"forward": forward})


def test_T10_a_tie_is_told_from_a_batch_that_says_something_else():
    target = tied("float64")
    target.network.table += 1e-6 * torch.randn(target.network.table.shape, generator=torch.Generator().manual_seed(0))
    asked, decoder = requests(12, **TWO_LAWS), partial(decoder_of, target, remembering(noise=0.9))
    assert divergences(asked, decoder) == []
    ties = divergences(asked, decoder, kind=rounding(1e-5))
    assert ties
    assert max(ties) < GAPS["float32"]
    assert max(divergences(asked, decoder, kind=rounding(1.0))) > 1000 * GAPS["float32"]


# --- rows of very different lengths ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["llama", "mistral", "gemma2", "gemma3", "gpt2"])
def test_rows_of_1_and_200_tokens_see_each_their_own_text(kind):
    """Logits of every forward are a fresh prefill's, at the end of what the network has positions for too."""
    target, draft = other(kind), other(kind)
    with torch.no_grad():
        for weight in draft.network.parameters():
            weight += 0.05 * torch.randn_like(weight)
    prompts = ([3], list(np.arange(200) * 7 % 12), [4, 1, 9], list(np.arange(244) * 5 % 12))
    asked = [Request(list(map(int, prompt)), 12, seed, SAMPLED) for seed, prompt in enumerate(prompts)]
    model = Watched(draft, capacity=256, rows=3)
    decoder = decoder_of(
        target, drafters.ModelDraft(HOST, model, SAMPLED), rows=3, kind=Watched,
        capacity=256,
    )  # fmt: skip
    alone = [tokens(decoder_of(target, draft, capacity=256), [request])[0] for request in asked]
    assert tokens(decoder, asked) == alone


def test_a_network_that_makes_its_own_masks_is_refused_side_by_side():
    """GPT-Neo masks by where the cache ends, whatever mask it is given: shorter rows would see another text."""
    target = other("gpt_neo")
    prompts = [Request([1, 2, 3], 8), Request([4] * 9, 8)]
    made = tokens(decoder_of(target, "lookup"), prompts)
    assert made == [greedy_text(target, request.prompt, 8) for request in prompts]
    with pytest.raises(ValueError, match="GPTNeoForCausalLM makes its own masks; expected one sequence at a time"):
        tokens(decoder_of(target, "lookup", rows=2), prompts)


@pytest.mark.parametrize("draft", ["nothing", "lookup", "model", "early"])
def test_a_prompt_at_the_context_limit_is_decoded_and_one_beyond_is_refused(draft):
    target = llama(seed=1, context=16)
    draft = llama(seed=1, context=16, noise=0.2) if draft == "model" else draft
    asked = [Request([1, 2, 3] * 4, 4), Request([5], 15), Request([2] * 15, 1)]
    made = tokens(decoder_of(target, draft, rows=3, capacity=16, k=5), asked)
    assert made == [greedy_text(target, request.prompt, request.budget) for request in asked]
    with pytest.raises(ValueError, match="13 tokens and 4 new ones do not fit the context of 16 tokens"):
        tokens(decoder_of(target, draft, rows=3, capacity=16), [*asked, Request([1] * 13, 4)])


@pytest.mark.parametrize("budget", [0, -2])
def test_a_budget_of_nothing_is_refused(budget):
    with pytest.raises(ValueError, match=f"the budget is {budget}; expected at least one token"):
        tokens(decoder_of(remembering()), [Request([1], budget)])


# --- T28 -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 3, 8])
def test_T28_rows_end_at_their_own_budget_or_eos_while_others_go_on(rows):
    target = remembering(seed=3)
    for k in (1, 5, 9):
        asked = [Request(prompt, budget) for prompt in LENGTHS for budget in (1, 2, 5, 13)]
        made = continued(decoder_of(target, target, rows=rows, k=k, eos={2}), asked)
        for request, row in zip(asked, made, strict=True):
            plain = greedy_text(target, request.prompt, request.budget)
            cut = plain.index(2) + 1 if 2 in plain else request.budget
            assert (row.tokens, row.end) == (plain[:cut], "eos" if 2 in plain else "budget")


# --- what goes wrong -------------------------------------------------------------------------------------------------


def failing(error, at, *, rows_above=0):
    """A model whose forward number `at` fails, or every one of more rows than it has memory for."""
    calls = iter(range(10**9))

    class Failing(Model):
        def forward(self, fed, **more):
            logits = super().forward(fed, **more)
            if next(calls) == at or (rows_above and logits.ndim == 3 and len(logits) > rows_above):
                raise error
            return logits

    return Failing


OUT_OF_MEMORY = [torch.OutOfMemoryError("planted"), RuntimeError("DefaultCPUAllocator: can't allocate memory: planted")]


def with_failing(who, error, at, rows, **more):
    target, draft = remembering(), remembering(noise=0.9)
    kinds = {"target": Model, "draft": Model} | {who: failing(error, at, **more)}
    drafter = drafters.ModelDraft(HOST, kinds["draft"](draft, capacity=64, rows=rows), SAMPLED)
    return decoder_of(target, drafter, rows=rows, kind=kinds["target"])


@pytest.mark.parametrize("who", ["target", "draft"])
@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["device", "host"])
def test_where_memory_runs_out_fewer_rows_go_on_with_the_same_tokens(who, error):
    """In a prefill beside other rows, in a drafting step, in a verification; once, or with every batch of so many."""
    asked = mixed_requests(9)
    true = tokens(decoder_of(remembering(), remembering(noise=0.9)), asked)
    for at in range(1, 9):
        assert tokens(with_failing(who, error, at, rows=4), asked) == true
    for most in (1, 2):
        assert tokens(with_failing(who, error, -1, rows=8, rows_above=most), asked) == true


@pytest.mark.parametrize("who", ["target", "draft"])
def test_one_row_that_fits_no_memory_raises(who):
    for at in range(3):
        with pytest.raises(torch.OutOfMemoryError, match="planted"):
            tokens(with_failing(who, OUT_OF_MEMORY[0], at, rows=1), mixed_requests(1))


def test_an_error_that_is_none_of_memory_is_raised():
    with pytest.raises(RuntimeError, match="something else"):
        tokens(with_failing("target", RuntimeError("something else"), 6, rows=4), mixed_requests(9))


class Interrupt:
    """A tracer that raises KeyboardInterrupt before the n-th line that the decoder's files run."""

    FILES = tuple(f"validate/{name}.py" for name in ("decoder", "rows", "drafters", "model", "cache", "masks"))

    def __init__(self, n):
        self.left = n

    def __call__(self, frame, event, argument):
        if not frame.f_code.co_filename.endswith(self.FILES):
            return None
        if event == "line":
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
        return self


def interrupted(make, asked, n):
    """(tokens of all rows, whether an interrupt came) when the n-th line of the rounds is interrupted."""
    batch, tracer, before = Batch(make()), Interrupt(n), sys.gettrace()
    rows = [batch.add(Row(request, frozenset())) for request in asked]
    while batch.rows:
        try:
            sys.settrace(tracer if tracer.left > 0 else before)
            batch.round()
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
    return [row.tokens for row in rows], tracer.left <= 0


@pytest.mark.parametrize("draft", ["model", "lookup"])
def test_an_interrupt_at_any_line_of_a_round_changes_no_token(draft):
    """Drafting, verifying, judging, committing, rewinding, and a row that leaves: the round is repeated as if new."""
    target, draft = remembering(), remembering(noise=0.9) if draft == "model" else draft
    asked = [Request([1, 2][: 1 + i], budget, i, SAMPLED) for i, budget in enumerate((2, 4))]

    def make():
        return decoder_of(target, draft, rows=2, k=2)

    true, _ = interrupted(make, asked, 0)
    n, came = 1, True
    while came:
        made, came = interrupted(make, asked, n)
        assert made == true, f"interrupted before line {n}"
        n += 1
    assert n > 500


def spoiled(token):
    """A network in whose texts one token makes every number a NaN."""
    loaded = llama(vocabulary=12, seed=1)
    with torch.no_grad():
        loaded.network.model.embed_tokens.weight[token] = torch.nan
    return loaded


class Saying(drafters.Written):
    """Drafts one token in one row."""

    name = "saying"

    def __init__(self, arrays, vocabulary, slot, token):
        super().__init__(arrays, vocabulary)
        self._slot, self._token = slot, token

    def _tokens(self, committed, k, slot):
        return [self._token] if slot == self._slot else []


@pytest.mark.parametrize("slot", [0, 1, 2])
def test_a_row_whose_logits_are_nan_is_named(slot):
    prompts = [[1, 2, 3, 4][: 2 + i] for i in range(3)]
    said = {greedy_text(llama(vocabulary=12, seed=1), prompt, 1)[0] for prompt in prompts}
    token = max(set(range(5, 12)) - said)
    drafter = Saying(HOST, 12, slot, token)
    where = rf"one of 3 sequences at positions 3, 4, 5: .* NaN or infinity in sequence {slot + 1};"
    with pytest.raises(ValueError, match=where):
        tokens(decoder_of(spoiled(token), drafter, rows=3), [Request(prompt, 8) for prompt in prompts])


@pytest.mark.parametrize("draft", ["nothing", "model"])
def test_what_a_failed_row_left_in_its_slot_reaches_no_later_row(draft):
    """A masked position weighs zero, and zero times NaN is NaN."""
    loaded = spoiled(11)
    decoder = decoder_of(loaded, loaded if draft == "model" else draft, rows=2, vocabulary=11)
    asked = [Request([1, 2, 3], 8), Request([1] * 20, 8)]
    true = tokens(decoder, asked)
    for prompt in ([1, 2] + [11] * 9, [11] * 22):
        with pytest.raises(ValueError, match="the logits of tiny-1 hold NaN"):
            tokens(decoder, [asked[0], Request(prompt, 8)])
        with pytest.raises(ValueError, match="the logits of tiny-1 hold NaN"):
            tokens(decoder, [Request(prompt, 8)])
        assert tokens(decoder, asked) == true
