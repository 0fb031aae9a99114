"""The texts of a piece of work and their scores, kept in its folder: what is there already is not done again."""

import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from typing import Any

from validate import scores as kept
from validate import texts as written
from validate.arrays import Arrays
from validate.clock import Clock
from validate.decoder import Decoder
from validate.drafters import Lookup, NGram, Nothing
from validate.jsonl import Journal
from validate.model import Model
from validate.models import Models, Settings
from validate.offsets import lookup_draft, ngram_draft
from validate.scores import DraftScores, Score, model_draft
from validate.scoring import Scorer
from validate.texts import Text
from validate.workload import Prompt, digest
from validate.writing import write

SCORED_WITH = ("torch", "transformers")


class Corpus:
    """What the target wrote under some settings, scored under every draft that is a model."""

    def __init__(
        self, models: Models, settings: Settings, folder: pathlib.Path, say: Callable[[str], None] = print
    ) -> None:
        self._models, self._settings, self._folder, self._say = models, settings, folder, say

    def texts(self, prompts: Sequence[Prompt], k: int = 0) -> Iterator[Text]:
        """Each prompt decoded, in their order: plainly, or with k drafts of prompt lookup, whose text has the same law.

        Only plain decoding leaves seconds that say what plain decoding takes.
        """
        settings, models = self._settings, self._models
        identity = self._identity("target", "seed", "dtype") | {"tokens": settings.budget, "prompts": digest(prompts)}
        identity |= {"lookup": k} if k else {}
        journal = Journal(self._folder / written.FILE, written.FORMAT, written.VERSION, identity)
        longest = max(len(models.target.encode(prompt.messages)) for prompt in prompts)
        model = Model(models.target, capacity=longest + settings.budget, vocabulary=models.vocabulary)
        drafter = (Lookup if k else Nothing)(Arrays.on(model.device), models.vocabulary)
        decoder = Decoder(model, drafter, settings.sampler, Clock(settings.device), models.target.eos, k=k)
        yield from write(decoder, models.target, prompts, journal, budget=settings.budget, seed=settings.seed)

    def scores(self, texts: Sequence[Text]) -> Iterator[Score]:
        """The scores of texts of at least two tokens: those that the journal holds, then the others as they come."""
        identity = self._identity("target", "dtype")
        identity |= {"draft": list(self._settings.drafts), "texts": written.digest(texts)}
        identity |= {"versions": {name: metadata.version(name) for name in SCORED_WITH}}
        journal = Journal(self._folder / kept.FILE, kept.FORMAT, kept.VERSION, identity)
        done = {line["prompt"] for line in journal.records}
        yield from map(kept.of_record, journal.records)
        scorer = Scorer(self._models.target, self._models.drafts, self._settings.sampler, say=self._say)
        for score in scorer.score([text for text in texts if text.prompt not in done]):
            journal.append(kept.record(score))
            yield score

    def drafts(self, texts: Sequence[Text], scores: Mapping[str, Score]) -> tuple[DraftScores, ...]:
        """Every draft over the texts, to the deepest k of the settings."""
        return tuple(self._draft(name, texts, scores) for name in dict.fromkeys(self._settings.drafts))

    def _draft(self, name: str, texts: Sequence[Text], scores: Mapping[str, Score]) -> DraftScores:
        if name == Lookup.name:
            return lookup_draft(texts, max(self._settings.ks), self._models.vocabulary)
        if name == NGram.name:
            return ngram_draft(texts, self._models.vocabulary)
        rule = "standard" if self._settings.sampler.temperature else "one_hot"
        return model_draft([scores[text.prompt] for text in texts], name, rule)

    def _identity(self, *names: str) -> dict[str, Any]:
        return {name: getattr(self._settings, name) for name in names} | {"sampler": vars(self._settings.sampler)}
