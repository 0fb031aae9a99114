"""Real decoders under the lossless test: honest ones do not fail, lossy rules and bugs re-made in ours are found."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests.decoder_checks import ALTERNATING
from tests.decoder_mutants import MUTANTS, Decoder, Mutant, judged
from tests.lossy_rules import RULES
from tests.toys import Recurrent, Stale
from tests.trials import Trial, alpha, greedy, sampled
from validate.processors import Penalties
from validate.sampler import Sampler

SAMPLE, FEW = 30_000, 6000
SEEDS = range(1, 8)  # of 60 seeds the honest decoder is failed in 2 within 3000 tokens, and 0 is one of them
PENALTIES = (Penalties(presence=0.5, frequency=0.8),)
LONG = Trial(budget=20, k=2)  # many rounds follow a rejection, and a full acceptance: what a cache's bug needs
LOOKUP, EARLY, NGRAM = (Trial(draft=name) for name in ("lookup", "early", "ngram"))
PENALISED, MASKED = Trial(processors=PENALTIES, budget=8), Trial(processors=(ALTERNATING,))
MIXED = Trial(sampler=Sampler(0.5), others=(Sampler(1.0),))
ENDING = Trial(eos=frozenset({3}), budget=10)
RECURRENT = Trial(draft="ngram", recurrent=Recurrent, vocabulary=6)
HONEST = {
    "a model": Trial(),
    "lookup": LOOKUP,
    "early exit": EARLY,
    "n-grams": NGRAM,
    "penalties": PENALISED,
    "a mask": MASKED,
    "a mixed batch": MIXED,
    "EOS": ENDING,
    "a recurrent model": RECURRENT,
}


def padding_ends_a_text(verdict, row, k):
    """The slot behind the last token is taken for it where the budget ends the text."""
    over = row.made + len(verdict.emitted) >= row.request.budget
    return replace(verdict, emitted=[*verdict.emitted[:-1], -1] if over else verdict.emitted)


def of(entries, trial, *, but=()):
    """Planted bugs of entries, as a trial sees them."""
    names = [name for name in MUTANTS if name.startswith(entries) and not name.startswith(but)]
    return {name: replace(trial, planted=(MUTANTS[name],)) for name in names}


REFUSED = ("T16 the cache is reset", "T16 the cache one too short")
BUGS = {
    **{name: replace(Trial(), rule=rule) for name, rule in RULES.items()},
    **of(("T2 ", "T3 ", "T4 ", "T5 ", "T13 ", "T15 ", "T25 "), Trial()),
    **of(("T16 ", "T17 a row moves without its keys", "T17 the positions", "T17 rows see"), LONG, but=REFUSED),
    **of(("T11 one sampler",), MIXED),
    "T18 a recurrent state is not rewound (vllm #39273)": replace(RECURRENT, recurrent=Stale),
    **of(("T19 ",), PENALISED),
    **of(("T20 ",), MASKED),
    **of(("T28 EOS", "T28 tokens", "T28 the budget"), ENDING),
    "T29 padding ends a text": replace(
        LOOKUP, planted=(Mutant("known_ids", ((Decoder, "judge", judged(padding_ends_a_text)),)),)
    ),
}
LOSSLESS = of(("T12 ",), LONG)  # the row shown is the one drawn from
