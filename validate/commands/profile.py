"""`specmath profile`: acceptance of every draft at every depth, from one scoring pass over text of the target."""

import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from specmath.cost import Pair
from validate import costs, folder, outcome, report
from validate.commands.run import settings_of
from validate.console import Step, say, watched
from validate.corpus import Corpus
from validate.costs import FREE
from validate.loading import placement
from validate.logged import given
from validate.models import Models
from validate.profile import Scored
from validate.profile_document import profile_document
from validate.scores import Score
from validate.texts import Text
from validate.workload import Prompt

COMMAND, STAGES = "profile", ("text", "scored")
WRITTEN_WITH = 4  # drafts of prompt lookup: the same law, in fewer forwards
REPORT_JSON, REPORT_TEXT = outcome.PROFILE

Options = Mapping[str, Any]


def answer(options: dict[str, Any], place: pathlib.Path, prompts: Sequence[Prompt]) -> tuple[dict[str, Any], list[str]]:
    """A profile, new or gone on with, from its options: its document and the paths of its files."""
    options["device"], options["dtype"] = placement(options["device"], options["dtype"])
    return Profiling(options, place, prompts).finished()


class Profiling:
    """One profile in its folder: texts, their scores, and what they say; what is there already is not done again."""

    def __init__(self, options: Options, place: pathlib.Path, prompts: Sequence[Prompt]) -> None:
        self.options, self.place, self._prompts = options, place, prompts
        self.settings = settings_of(options, drafts=options["draft"], ks=[options["k"]])
        self.models = Models(self.settings)
        self.corpus = Corpus(self.models, self.settings, place, say)
        self._given = self._read(pathlib.Path(options["text"])) if options["text"] else []
        self._prices = costs.read(pathlib.Path(options["costs"])) if options["costs"] else None

    def finished(self) -> tuple[dict[str, Any], list[str]]:
        """Do what is not done yet; the document and the paths of its files."""
        with folder.resumable(self.place, COMMAND):
            folder.begin(self.place, COMMAND, self.options)
            texts: list[Text] = []
            scores: dict[str, Score] = {}
            for _ in watched(self._steps(texts, scores), STAGES):
                pass
            scored = self._scored([t for t in texts if t.tokens], scores)
            measured = self._prices.measured if self._prices else None
            document = profile_document(scored, self._pairs(), self.options["k"], str(self.place), measured)
            return document, self._reported(document)

    def _read(self, path: pathlib.Path) -> list[Text]:
        return given(path, self.models.target, self.models.vocabulary, say)

    def _steps(self, texts: list[Text], scores: dict[str, Score]) -> Iterator[Step]:
        for text in self._given or self.corpus.texts(self._prompts, WRITTEN_WITH):
            texts.append(text)
            yield Step("text", len(texts), len(self._given or self._prompts), f"{text.prompt} ({text.domain})")
        rounds = [text for text in texts if text.tokens]
        for score in self.corpus.scores(rounds):
            scores[score.prompt] = score
            yield Step("scored", len(scores), len(rounds), score.prompt)

    def _scored(self, texts: list[Text], scores: Mapping[str, Score]) -> Scored:
        """Everything in the order of the texts."""
        if not texts:
            raise ValueError("found no text of at least two tokens, expected one or more: give other prompts")
        ordered, settings = tuple(scores[text.prompt] for text in texts), self.settings
        drafts = self.corpus.drafts(texts, scores)
        return Scored(settings.target, settings.sampler, tuple(texts), ordered, drafts)

    def _pairs(self) -> dict[str, Pair]:
        """The prices of each draft whose forwards were timed; those from text need the target's alone."""
        prices = self._prices
        if prices is None:
            return {}
        return {name: prices.pair(name) for name in self.settings.drafts if name in (*FREE, *prices.models)}

    def _reported(self, document: Mapping[str, Any]) -> list[str]:
        files = [*outcome.sources(self.place, COMMAND, self.options), REPORT_JSON, REPORT_TEXT]
        folder.write(self.place, REPORT_JSON, json.dumps(document, allow_nan=False, indent=1).encode())
        folder.write(self.place, REPORT_TEXT, report.markdown(document, files).encode())
        return [str(self.place / name) for name in files]
