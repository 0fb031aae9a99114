"""Bugs of real decoders made again in ours: what is replaced, and the check of `decoder_checks` that must find it."""

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from specmath import acceptor, sampling
from specmath.acceptor import chain
from tests import decoder_checks
from validate import cache, decoder, drafters, masks, model, rows
from validate.rows import Streams

Batch, Decoder, Row, Model, ModelDraft = decoder.Batch, decoder.Decoder, rows.Row, model.Model, drafters.ModelDraft
TRUE = {
    (owner, name): getattr(owner, name)
    for owner, name in (
        (Batch, "_settle"), (Decoder, "judge"), (ModelDraft, "propose"), (decoder, "laws"), (decoder, "recorded"),
        (drafters, "laws"), (drafters, "draw"), (chain, "prefix_length"), (sampling, "_greedy"),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """A planted bug: the check that finds it, and (owner, name, what stands there instead)."""

    check: str
    planted: tuple[tuple[Any, str, Any], ...]

    @contextmanager
    def in_place(self):
        with pytest.MonkeyPatch.context() as patch:
            for owner, name, bug in self.planted:
                patch.setattr(owner, name, bug)
            yield

    def value(self):
        """What the check gives: below PLANTED where the bug is found."""
        with self.in_place():
            try:
                return decoder_checks.CHECKS[self.check]()
            except AssertionError:
                return 0.0
            except ValueError as error:  # what a model refuses by itself
                if "cannot rewind" not in str(error):
                    raise
                return 0.0


def planted(check, owner, **bugs):
    return Mutant(check, tuple((owner, name, bug) for name, bug in bugs.items()))


# --- the law of drafts -----------------------------------------------------------------------------------------------


def likeliest(weights, v, *, xp):
    return weights.argmax(-1)


def truncated(**cut):
    """Drafts are drawn from rows that were cut once more, the rows reported are whole."""

    def drawn(weights, v, *, xp):
        with np.errstate(divide="ignore"):
            return TRUE[drafters, "draw"](sampling.warp(np.log(weights), **cut, xp=xp), v, xp=xp)

    return drawn


def in_bfloat16(self, rows, ks):
    """Drafts are drawn from rows rounded to bfloat16, the rows reported are those before."""
    whole = []

    def rounded(*what):
        whole.append(TRUE[drafters, "laws"](*what))
        return torch.from_numpy(whole[-1]).bfloat16().double().numpy()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drafters, "laws", rounded)
        found = TRUE[ModelDraft, "propose"](self, rows, ks)
    return replace(found, q=np.concatenate(whole, axis=1)) if whole else found


def unwarped(rows, arrays, logits, *rest):
    return sampling.warp(arrays.native(logits), xp=arrays.xp)


def one_sampler(rows, *rest):
    first = rows[0].request.sampler
    return TRUE[decoder, "laws"]([with_request(row, sampler=first) for row in rows], *rest)


def one_set_of_processors(rows, *rest):
    first = rows[0].request.processors
    return TRUE[decoder, "laws"]([with_request(row, processors=first) for row in rows], *rest)


def with_request(row, **changed):
    other = Row(replace(row.request, **changed), row._eos)
    other.committed = row.committed
    return other


def rolled(name):
    """What one row proposes is judged as another's."""

    def judge(self, logits, proposal, rows, ks):
        values = np.roll(getattr(proposal, name), 1, axis=0)
        return TRUE[Decoder, "judge"](self, logits, replace(proposal, **{name: values}), rows, ks)

    return judge


# --- coins -----------------------------------------------------------------------------------------------------------


def coupled(*names):
    """Two streams are one generator's, from its start."""

    def seeded(seed):
        made = dict(zip(("draft", "accept", "recover"), np.random.SeedSequence(seed).spawn(3), strict=True))
        made[names[1]] = made[names[0]]
        return Streams(**{name: np.random.default_rng(sequence) for name, sequence in made.items()})

    return staticmethod(seeded)


def seed_ignored(seed):
    return Streams(*map(np.random.default_rng, np.random.SeedSequence(0).spawn(3)))


def stream_of_all():
    """One generator for all rows, as the order of the batch has it."""
    shared = Streams(*map(np.random.default_rng, np.random.SeedSequence(0).spawn(3)))
    return staticmethod(lambda seed: shared)


def coins_of_the_first(self, logits, proposal, rows, ks):
    """The uniforms of row 0 decide in all rows."""
    first = rows[0].coins(ks[0])

    def rule(tokens, q, p, u, v, **rest):
        return self.rule(tokens, q, p, u * 0 + u[:1], v * 0 + first.recover, **rest)

    return TRUE[Decoder, "judge"](replace(self, rule=rule), logits, proposal, rows, ks)


def coins_of_the_deepest(self, rows, ks):
    """A row draws as many uniforms as the deepest of the batch asks for."""
    for row in rows:
        row.coins(max(ks))
    return TRUE[ModelDraft, "propose"](self, rows, ks)


# --- what is judged --------------------------------------------------------------------------------------------------


def first_is_committed(passes, xp):
    return TRUE[chain, "prefix_length"](np.concatenate([np.ones_like(passes[..., :1]), passes[..., 1:]], -1), xp)


def last_of_equals(logits, xp):
    one = np.zeros(logits.shape)
    last = logits.shape[-1] - 1 - logits[..., ::-1].argmax(-1)
    np.put_along_axis(one, last[..., None], 1.0, -1)
    return one


def last_where_drafted(logits, xp):
    """Plain decoding takes the first of equals, a round of drafts the last."""
    return (
        last_of_equals(logits, xp) if logits.ndim > 2 and logits.shape[1] > 1 else TRUE[sampling, "_greedy"](logits, xp)
    )


def judged(change):
    """The verdict of each row changed."""

    def judge(self, logits, proposal, rows, ks):
        found = TRUE[Decoder, "judge"](self, logits, proposal, rows, ks)
        return [change(verdict, row, k) for verdict, row, k in zip(found, rows, ks, strict=True)]

    return judge


def without_the_last(verdict, row, k):
    return replace(verdict, emitted=verdict.emitted[: verdict.accepted or 1])


def last_draft_twice(verdict, row, k):
    """The accepted draft at the boundary again in place of the token that follows it."""
    kept = verdict.emitted[: verdict.accepted]
    return replace(verdict, emitted=[*kept, kept[-1]] if len(kept) > 0 else verdict.emitted)


def bonus_counted(verdict, row, k):
    return replace(verdict, accepted=len(verdict.emitted))


def padding_is_judged(self, logits, proposal, rows, ks):
    """Slots that drafted nothing count as drafted, with the rows that stand there."""

    def rule(tokens, q, p, u, v, *, xp, drafted):
        blank = q.sum(-1, keepdims=True) == 0
        return acceptor.verify(tokens, np.where(blank, 1 / q.shape[-1], q), p, u, v, xp=xp)

    return TRUE[Decoder, "judge"](replace(self, rule=rule), logits, proposal, rows, ks)


def padding_is_emitted(verdict, row, k):
    """The slot behind the last token is taken for one."""
    return replace(verdict, emitted=[*verdict.emitted, -1] if verdict.accepted < k else verdict.emitted)


# --- caches ----------------------------------------------------------------------------------------------------------


def settled(shift):
    """The target's cache ends `shift(drafted positions)` away from the committed text."""

    def settle(self):
        before = list(self.decoder.target.lengths)
        TRUE[Batch, "_settle"](self)
        for slot, row in enumerate(self.rows):
            length = shift(len(row.committed) - 1, before[slot])
            self.decoder.target.lengths[slot] = max(0, min(length, before[slot]))

    return settle


def swapped(self):
    TRUE[Batch, "_settle"](self)
    lengths = self.decoder.target.lengths
    lengths[: len(self.rows)] = lengths[: len(self.rows)][::-1]


def one_unread(self, rows):
    """The last committed token alone is fed, whatever came before it."""
    for slot, row in enumerate(rows):
        self._model.rewind(self._model.agreed(len(row.committed) - 1, slot), slot)
    return [row.committed[-1:] for row in rows]


def never_rewound(self, rows):
    return [row.committed[-1:] for row in rows]


def one_short(self, rows):
    """The draft forgets one token more than it has to, and is not fed it."""
    for slot, row in enumerate(rows):
        self._model.rewind(max(0, self._model.agreed(len(row.committed) - 1, slot) - 1), slot)
    return [row.committed[-1:] for row in rows]


def nothing(self, *args):
    """What was to be moved stays where it is."""


def length_alone(self, source, slot, length):
    """The length moves, keys and values do not."""


def place_of_the_first(self, slots):
    """Rows of different lengths are all read at the positions of the first."""
    return torch.tensor([self.lengths[slots.start]] * (slots.stop - slots.start))


def all_is_seen(kind, config, seen, at):
    return (seen <= at) | (seen <= at.amax())


# --- processors ------------------------------------------------------------------------------------------------------


def processed(output):
    """Column j of a row is processed as if `output(committed, drafts before it, all drafts)` stood before it."""

    def columns(xp, first, row, logits, drafts):
        found = list(logits)
        for j in range(min(len(found), len(drafts) - first + 1)):
            text = output(row.tokens, list(drafts[: first + j]), list(drafts))
            for processor in row.request.processors if text is not None else ():
                found[j] = processor(found[j], row.request.prompt, text, xp=xp)
        return xp.stack(found)

    return columns


SHARED: list[int] = []


def traces(committed, before, drafts):
    """Counters shared by reference: every draft that was ever judged is left in them."""
    SHARED.extend(before[-1:])
    return [*SHARED[-4:], *committed, *before]


# --- counting --------------------------------------------------------------------------------------------------------


def past_the_end(self, tokens):
    """EOS inside a block goes unseen until the block is over."""
    self.committed += tokens
    return len(tokens)


def ends_at_any(self):
    if any(token in self._eos for token in self.tokens):
        return "eos"
    return "budget" if self.made >= self.request.budget else None


def budget_of_rounds(self, k):
    return k


def uncensored(row, context, proposed, judged, kept, times):
    found = TRUE[decoder, "recorded"](row, context, proposed, judged, kept, times)
    return replace(found, drafted=proposed)


def accepted_as_judged(row, context, proposed, judged, kept, times):
    found = TRUE[decoder, "recorded"](row, context, proposed, judged, kept, times)
    return replace(found, accepted=judged.accepted, drafted=max(found.drafted, judged.accepted))


MUTANTS = {
    "T2 argmax draft, softmax row (transformers #32867)": planted("sampled_law", drafters, draw=likeliest),
    "T3 draft temperature not in q": planted("sampled_law", drafters, draw=truncated(temperature=0.5)),
    "T3 draft top-k not in q (transformers #47932)": planted("sampled_law_of_more", drafters, draw=truncated(top_k=2)),
    "T3 draft top-p not in q": planted("sampled_law", drafters, draw=truncated(top_p=0.7)),
    "T3 draft min-p not in q": planted("sampled_law", drafters, draw=truncated(min_p=0.5)),
    "T3 the sampler reaches the draft alone": planted("own_laws", decoder, laws=unwarped),
    "T4 drawn in bfloat16, scored in double (DeepSpec #31)": planted(
        "rows_as_sampled", ModelDraft, propose=in_bfloat16
    ),
    "T5 draft and accept share a stream": planted("sampled_law", Streams, seeded=coupled("draft", "accept")),
    "T5 draft and recover share a stream (vllm PR 54282)": planted(
        "sampled_law", Streams, seeded=coupled("draft", "recover")
    ),
    "T5 accept and recover share a stream": planted("sampled_law", Streams, seeded=coupled("accept", "recover")),
    "T10 coins in the order of the batch (vllm #6038)": planted("alone_and_together", Streams, seeded=stream_of_all()),
    "T10 coins of the batch's depth": planted("alone_and_together", ModelDraft, propose=coins_of_the_deepest),
    "T11 one sampler for all rows (vllm #9834)": planted("own_laws", decoder, laws=one_sampler),
    "T11 one row's penalties for all": planted("own_laws", decoder, laws=one_set_of_processors),
    "T12 the last draft is never fed (vllm PR 3951)": planted("state", ModelDraft, _unread=one_unread),
    "T12 the draft is not rewound": planted("state", ModelDraft, _unread=never_rewound),
    "T12 the draft's cache one too short": planted("state", ModelDraft, _unread=one_short),
    "T13 the token behind a rejection is dropped (vllm PR 8320)": planted(
        "counting", Decoder, judge=judged(without_the_last)
    ),
    "T14 the first draft is committed unverified (lattice #243)": planted(
        "plain_text", chain, prefix_length=first_is_committed
    ),
    "T14 the last of equals in drafted rounds (lattice #280)": planted(
        "tie_is_first", sampling, _greedy=last_where_drafted
    ),
    "T14 the last of equals": planted("tie_is_first", sampling, _greedy=last_of_equals),
    "T15 a token twice at the boundary (imp #667)": planted("plain_text", Decoder, judge=judged(last_draft_twice)),
    "T16 the cache is reset, not rolled back (aprender PR 2014)": planted(
        "state", Batch, _settle=settled(lambda due, was: due if due == was else 0)
    ),
    "T16 the cache one too long": planted("state", Batch, _settle=settled(lambda due, was: due + 1)),
    "T16 the cache one too short": planted("state", Batch, _settle=settled(lambda due, was: due - 1)),
    "T16 the cache not rolled back": planted("state", Batch, _settle=settled(lambda due, was: was)),
    "T17 lengths of rows swapped": planted("state", Batch, _settle=swapped),
    "T17 a row moves without its keys": planted("state", cache.Store, move=length_alone),
    "T17 a row moves without its draft's cache": planted("state", ModelDraft, move=nothing),
    "T17 a row moves without its index": planted("alone_and_together", drafters.Lookup, move=nothing),
    "T17 the positions of the first row for all": planted("state", Model, _starts=place_of_the_first),
    "T17 rows see what the longest sees": planted("state", masks, _visible=all_is_seen),
    "T19 the last token counts twice (vllm PR 33251)": planted(
        "penalised_law", rows, _processed=processed(lambda committed, before, _: [*committed, *before, *before[-1:]])
    ),
    "T19 penalties stop at the committed text": planted(
        "penalised_law", rows, _processed=processed(lambda committed, before, _: committed)
    ),
    "T19 counters that drafts leave traces in (vmlx-swift #357)": planted(
        "penalised_law", rows, _processed=processed(traces)
    ),
    "T19 drafts count before they are accepted": planted(
        "penalised_law", rows, _processed=processed(lambda committed, before, drafts: [*committed, *drafts])
    ),
    "T19 penalties ignored (TensorRT-LLM PR 17701)": planted(
        "penalised_law", rows, _processed=processed(lambda *_: None)
    ),
    "T20 the mask stops at the first position": planted(
        "masked_law", rows, _processed=processed(lambda committed, before, _: None if before else committed)
    ),
    "T20 the bonus is not masked": planted(
        "masked_law",
        rows,
        _processed=processed(lambda committed, before, drafts: None if before == drafts != [] else committed + before),
    ),
    "T25 q of another row (1Cat-vLLM #656)": planted("sampled_law", Decoder, judge=rolled("q")),
    "T25 drafts of another row": planted("sampled_law", Decoder, judge=rolled("tokens")),
    "T25 the coins of the first row": planted("alone_and_together", Decoder, judge=coins_of_the_first),
    "T28 EOS inside a block unseen": planted("counting", Row, commit=past_the_end),
    "T28 tokens behind EOS kept": Mutant(
        "counting", ((Row, "commit", past_the_end), (Row, "end", property(ends_at_any)))
    ),
    "T28 the budget counts rounds (ferrox PR 311)": planted("counting", Row, room=budget_of_rounds),
    "T28 a round that EOS cut counts as rejected": planted("counting", decoder, recorded=uncensored),
    "T28 counters of the uncut round (fak #12422)": planted("counting", decoder, recorded=accepted_as_judged),
    "T9 the bonus counts as accepted (sglang PR 11572)": planted("counting", Decoder, judge=judged(bonus_counted)),
    "T29 padding is judged": planted("lookup_law", Decoder, judge=padding_is_judged),
    "T29 padding is emitted": planted("known_ids", Decoder, judge=judged(padding_is_emitted)),
}
