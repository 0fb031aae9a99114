"""Texts written on the spot: every prompt decoded by the target, kept as it is done."""

from collections.abc import Iterator, Sequence

from validate.decoder import Decoder
from validate.jsonl import Journal
from validate.loading import Loaded
from validate.texts import Text, of_record
from validate.workload import Prompt, seed_of


def write(
    decoder: Decoder, target: Loaded, prompts: Sequence[Prompt], journal: Journal, *, budget: int, seed: int
) -> Iterator[Text]:
    """The text of each prompt, in their order: those that the journal holds, and the others as they are decoded.

    A text's seconds are those of its rounds alone, where it was decoded plainly: the prefill and what is written
    between rounds do not count.
    """
    done = {text.prompt: text for text in map(of_record, journal.records)}
    for prompt in prompts:
        if prompt.id not in done:
            ids = target.encode(prompt.messages)
            done[prompt.id] = decoded(decoder, ids, prompt, budget=budget, seed=seed)
            journal.append(done[prompt.id].record)
        yield done[prompt.id]


def decoded(decoder: Decoder, ids: Sequence[int], prompt: Prompt, *, budget: int, seed: int) -> Text:
    """One prompt decoded; its seconds are kept where nothing was drafted."""
    try:
        generation = decoder.start(ids, budget=budget, seed=seed_of(seed, prompt.id))
        seconds = sum(r.draft_s + r.verify_s + r.accept_s for r in generation.rounds())
    except ValueError as error:
        raise ValueError(f"prompt {prompt.id!r}, {error}") from error
    plain = None if decoder.k else seconds
    return Text(prompt.id, prompt.domain, tuple(ids), tuple(generation.tokens), generation.end, plain)
