"""Texts that a tiny model really wrote, and the rounds that really made them, for the tests of scoring and replay."""

from validate.arrays import Arrays
from validate.clock import Clock
from validate.decoder import Decoder
from validate.drafters import Nothing
from validate.model import Model
from validate.rows import Request, Row
from validate.sampler import Sampler
from validate.texts import Text

HOST = Arrays.on("cpu")
GREEDY = Sampler()


def row(committed, *, seed=0, sampler=GREEDY):
    """A sequence of which so much is committed."""
    return Row(Request(committed, 1000, seed, sampler), frozenset())


def drafts(drafter, committed, k):
    """The tokens that a drafter proposes after one text."""
    proposal = drafter.propose([row(committed)], [k])
    return proposal.tokens[0, : proposal.drafted[0]].tolist()


def decoded(target, drafter, prompt, *, k, budget=24, seed=0, sampler=GREEDY):
    """(tokens, rounds, end) of one prompt under a drafter."""
    model = Model(target, capacity=len(prompt) + budget + k + 1)
    decoder = Decoder(model, drafter, sampler, Clock("cpu"), target.eos, k)
    generation = decoder.start(prompt, budget=budget, seed=seed)
    rounds = list(generation.rounds())
    return generation.tokens, rounds, generation.end


def text(target, prompt, *, name="p", budget=24, seed=0, sampler=GREEDY, domain="d"):
    """What the target writes after a prompt, plainly."""
    tokens, rounds, end = decoded(
        target, Nothing(HOST, target.rows), prompt, k=0, budget=budget, seed=seed, sampler=sampler
    )
    seconds = sum(r.draft_s + r.verify_s + r.accept_s for r in rounds)
    return Text(name, domain, tuple(prompt), tuple(tokens), end, seconds)
