"""A whole study: texts, scores and costs, a prediction written down before any speculation, and then the run.

    texts.jsonl -> scores.jsonl -> costs.jsonl -> prediction.json -> cells/DRAFT-kK/trace.jsonl

Prompts of all kinds take turns; each is decoded plain, speculatively in every cell, and plain again. Everything is
written as it happens, so that a study interrupted anywhere keeps what it had and goes on from there.
"""

import pathlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from importlib import metadata

from validate import costs, prediction
from validate.arms import Arms, Cell
from validate.console import Step
from validate.corpus import Corpus
from validate.document import version
from validate.fit import EVERYTHING
from validate.lines import Header
from validate.measure import CostBench, spanned
from validate.models import Models, Settings
from validate.scores import DraftScores, Score
from validate.texts import Text
from validate.trace import Writer, traces
from validate.workload import Prompt, digest, interleaved, turns

MEASURED_WITH = ("torch", "transformers", "numpy")
SWEEPS = 12  # at least so many, however few the texts
STAGES = "text", "costs", "scored", "decoded"


class Study:
    """A target and its drafts over a set of prompts; `folder` receives everything."""

    def __init__(
        self,
        settings: Settings,
        prompts: Sequence[Prompt],
        folder: pathlib.Path,
        say: Callable[[str], None] = print,
    ) -> None:
        self.settings, self.prompts, self.folder, self._say = settings, interleaved(prompts), folder, say
        for prompt in prompts:
            if prompt.domain == EVERYTHING:
                raise ValueError(
                    f"prompt {prompt.id!r}: found domain {EVERYTHING!r}, the name of all together; rename it"
                )
        self._models = Models(settings)
        self._lengths = [self._length(prompt) for prompt in prompts]
        self._capacity = max(self._lengths) + settings.budget
        self._corpus = Corpus(self._models, settings, folder, say)

    def steps(self) -> Iterator[Step]:
        """Do what is not done yet, a step at a time."""
        self.folder.mkdir(parents=True, exist_ok=True)
        texts: list[Text] = []
        yield from self._prepared(texts)
        written = [text for text in texts if text.tokens]
        if not written:
            raise ValueError("found no text of at least two tokens, expected one or more: give other prompts")
        scores: dict[str, Score] = {}
        for score in self._corpus.scores(written):
            scores[score.prompt] = score
            yield Step("scored", len(scores), len(written), score.prompt)
        self._predict(written, self._corpus.drafts(written, scores))
        yield from self._run(texts, Arms(self._models, self.settings, written, self._capacity))

    def _prepared(self, texts: list[Text]) -> Iterator[Step]:
        """Each prompt decoded plainly, and a sweep over the costs after each."""
        shapes = spanned(self._lengths, max(self.settings.ks), self.settings.budget)
        bench = CostBench(self._models, self.settings, shapes, self._say)
        journal = costs.journal(self.folder / costs.FILE, bench.measured)
        wanted = max(SWEEPS, len(self.prompts))
        if len(journal.records) < wanted:
            bench.warm()
        for text in self._corpus.texts(self.prompts):
            texts.append(text)
            if len(journal.records) < len(texts):
                journal.append(costs.record(bench.sweep()))
            yield Step("text", len(texts), len(self.prompts), f"{text.prompt} ({text.domain})")
        while len(journal.records) < wanted:
            journal.append(costs.record(bench.sweep()))
            yield Step("costs", len(journal.records), wanted, "sweep")

    def _predict(self, texts: Sequence[Text], drafts: Sequence[DraftScores]) -> None:
        """Write the prediction down, once: a later look never changes it, and what it lacks is not run."""
        if (self.folder / prediction.FILE).exists():
            found = prediction.read(self.folder)
            for cell in self.settings.cells:
                found.of(EVERYTHING, *cell)
        elif any(path.exists() for path in traces(self.folder, self.settings.cells).values()):
            raise ValueError(
                f"{self.folder}: found traces and no {prediction.FILE}, which comes before them: start anew"
            )
        else:
            prices, greedy = costs.read(self.folder / costs.FILE), self.settings.sampler.temperature == 0
            found = prediction.predict(texts, drafts, prices, self._depths, greedy=greedy)
            prediction.write(self.folder, found)

    @property
    def _depths(self) -> range:
        """Every k up to the deepest: what the scores and the costs answer for, whether it will be run or not."""
        return range(1, max(self.settings.ks) + 1)

    def _run(self, texts: Sequence[Text], arms: Arms) -> Iterator[Step]:
        """Decode every text in every cell, each written when all its arms are done."""
        with ExitStack() as open_files:
            writers = {cell: open_files.enter_context(self._writer(cell, arms)) for cell in self.settings.cells}
            if all(text.prompt in writer.finished for writer in writers.values() for text in texts):
                return
            arms.warm()
            for number, (text, turn) in enumerate(zip(texts, turns(texts), strict=True), 1):
                cells = [cell for cell, writer in writers.items() if text.prompt not in writer.finished]
                if not cells:
                    continue
                for cell, lines in arms.decode(text, cells, backwards=turn % 2 == 1).items():
                    for line in lines:
                        writers[cell].write(line)
                yield Step("decoded", number, len(texts), f"{text.prompt} ({text.domain})")

    def _writer(self, cell: Cell, arms: Arms) -> Writer:
        path = traces(self.folder, self.settings.cells)[cell]
        path.parent.mkdir(parents=True, exist_ok=True)
        header = self._header(cell, arms.rule(cell[0]))
        return Writer.resume(path, header, runs=3) if path.exists() else Writer(path, header)

    def _length(self, prompt: Prompt) -> int:
        """Tokens of a prompt, unless it is too long for the models."""
        length, context = len(self._models.target.encode(prompt.messages)), self._models.context
        if length + self.settings.budget + max(self.settings.ks) + 1 > context:
            raise ValueError(
                f"prompt {prompt.id!r} has {length} tokens; with {self.settings.budget} new ones and a draft it "
                f"exceeds the context of {context} tokens: shorten it or lower --tokens"
            )
        return length

    def _header(self, cell: Cell, rule: str) -> Header:
        settings = self.settings
        return Header(
            target=settings.target,
            draft=cell[0],
            k=cell[1],
            sampler=asdict(settings.sampler) | {"max_tokens": settings.budget},
            rule=rule,
            seed=settings.seed,
            machine=settings.machine,
            versions=versions(),
            prompts=digest(self.prompts),
        )


def versions() -> dict[str, str | None]:
    """The releases that measured."""
    return {"specmath": version(), **{name: metadata.version(name) for name in MEASURED_WITH}}
