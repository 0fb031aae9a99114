"""Drafts that cost nothing, over texts that are written: prompt lookup by offset, n-grams, and what could be copied.

A one-hot draft is accepted, given the text, exactly where it names the text's own token, greedy or sampled:
min(1, q / p) is 1 there and 0 elsewhere.
"""

from collections.abc import Sequence

import numpy as np

from validate.arrays import Arrays
from validate.drafters import Lookup, NGram
from validate.scores import DraftScores
from validate.texts import Text, units

UNBOUNDED = 1 << 20  # drafts without end
MEMORY = 3  # tokens looked up in the prompt, to tell what could be copied


def lookup_draft(texts: Sequence[Text], k: int, vocabulary: int) -> DraftScores:
    """Prompt lookup as the decoder runs it, from every token of every text, k drafts at most.

    Its draft is fixed where the round starts, so that its law depends on the offset: ratios [k, n], row i for the
    token as draft i + 1, zero where the draft is shorter; lengths [n] of the drafts.
    """
    ratios, lengths = zip(*(_looked_up(text, k, vocabulary) for text in texts), strict=True)
    return DraftScores(Lookup.name, Lookup.rule, ratios, None, lengths)


def ngram_draft(texts: Sequence[Text], vocabulary: int) -> DraftScores:
    """N-grams of the other texts of the domain, prompts and outputs: ratios [n], since only the last tokens count.

    Where it has no draft a round stops there, as it does at a wrong one; lengths [n] are 0 where it drafts nothing and
    without end elsewhere: where its own drafts lead to tokens that it never saw, they end sooner than they are priced.
    """
    drafts = NGrams(texts, vocabulary)
    ratios, lengths = zip(*(_by_memory(text, drafts.of(text)) for text in texts), strict=True)
    return DraftScores(NGram.name, NGram.rule, ratios, None, lengths)


class NGrams:
    """The n-gram draft for each of some texts: of the domain's others, without its own conversation."""

    def __init__(self, texts: Sequence[Text], vocabulary: int) -> None:
        self._unit = dict(zip((text.prompt for text in texts), units(texts), strict=True))
        self._texts = texts
        host, domains = Arrays.on("cpu"), dict.fromkeys(text.domain for text in texts)
        self._all = {domain: NGram(host, vocabulary, self._tokens(domain)) for domain in domains}

    def of(self, text: Text) -> NGram:
        """The draft for one of the texts."""
        return self._all[text.domain].without(self._tokens(text.domain, self._unit[text.prompt]))

    def _tokens(self, domain: str, unit: int | None = None) -> list[tuple[int, ...]]:
        return [
            text.context + text.output
            for text in self._texts
            if text.domain == domain and unit in (None, self._unit[text.prompt])
        ]


def copyable(text: Text) -> tuple[np.ndarray, np.ndarray]:
    """(found, right), bool [n]: the last three tokens stand in the prompt; what followed them there is the token."""
    follower = {text.context[i : i + MEMORY]: text.context[i + MEMORY] for i in range(len(text.context) - MEMORY)}
    whole = text.context + text.output
    first = len(text.context) + 1
    proposals = [follower.get(whole[at - MEMORY : at]) for at in range(first, len(whole))]
    found = np.array([token is not None for token in proposals], dtype=bool)
    return found, np.array([a == b for a, b in zip(proposals, text.output[1:], strict=True)], dtype=bool)


def _looked_up(text: Text, k: int, vocabulary: int) -> tuple[np.ndarray, np.ndarray]:
    drafter = Lookup(Arrays.on("cpu"), vocabulary)
    drafter.start(text.context)
    ratios, lengths = np.zeros((k, text.tokens)), np.zeros(text.tokens, dtype=int)
    for start in range(text.tokens):
        drafts = drafter.tokens([*text.context, *text.output[: start + 1]], k)
        lengths[start] = len(drafts)
        for i, (draft, token) in enumerate(zip(drafts, text.output[start + 1 :], strict=False)):
            ratios[i, start + i] = draft == token
    return ratios, lengths


def _by_memory(text: Text, draft: NGram) -> tuple[np.ndarray, np.ndarray]:
    """Whether each token is the draft's own; and, for each start, 0 where it drafts nothing, else UNBOUNDED."""
    whole, first = text.context + text.output, len(text.context) + 1
    drafts = [draft.after(whole[max(at - draft.order, 0) : at]) for at in range(first, len(whole))]
    right = np.array([a == b for a, b in zip(drafts, text.output[1:], strict=True)], dtype=float)
    known = np.array([token is not None for token in drafts])
    return right, np.where(known, UNBOUNDED, 0)
