"""`specmath profile`: acceptance of every draft at every depth, from one scoring pass over text of the target."""

import json
import pathlib
from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import Any

from specmath.cost import Pair
from validate import costs, folder, report
from validate import scores as kept
from validate import texts as written
from validate.arrays import Arrays
from validate.clock import Clock
from validate.commands.run import prompts_of
from validate.console import Step, say, watched
from validate.decoder import Decoder
from validate.drafters import Lookup, NGram, Nothing
from validate.jsonl import Journal
from validate.loading import load, load_draft, placement
from validate.model import Model
from validate.offsets import lookup_draft, ngram_draft
from validate.profile_document import Scored, profile_document
from validate.sampler import Sampler
from validate.scores import DraftScores, Score, model_draft
from validate.scoring import Scorer
from validate.texts import Text
from validate.workload import digest
from validate.writing import write

COMMAND, REPORT_JSON, REPORT_TEXT = "profile", "profile.json", "profile.md"
FREE = (Lookup.name, NGram.name)
SCORED_WITH = ("torch", "transformers")

Options = Mapping[str, Any]


def answer(options: dict[str, Any], out: pathlib.Path | None) -> tuple[dict[str, Any], list[str]]:
    """A new profile from its options: its document and the paths of its files."""
    place = folder.new(out, COMMAND)
    options["device"], options["dtype"] = placement(options["device"], options["dtype"])
    return Profiling(options, place).finished()


def resumed(place: pathlib.Path) -> tuple[dict[str, Any], list[str]]:
    """Go on with the profile of a folder, under the options it began with."""
    return Profiling(folder.begun(place, COMMAND), place).finished()


class Profiling:
    """One profile in its folder: texts, their scores, and what they say; what is there already is not done again."""

    def __init__(self, options: Options, place: pathlib.Path) -> None:
        self.options, self.place = options, place
        self.sampler = Sampler(*(options[name] for name in ("temperature", "top_k", "top_p", "min_p")))
        if options["text"] and options["prompts"]:
            raise ValueError(
                "--prompts: found beside --text, expected one of them: text is scored, prompts are decoded"
            )
        self._prompts = [] if options["text"] else prompts_of(options)
        say(f"loading {options['target']}")
        place_of = {name: options[name] for name in ("device", "dtype")}
        self.target = load(options["target"], **place_of)
        models = [name for name in dict.fromkeys(options["draft"]) if name not in FREE]
        loaded = {name: load_draft(name, self.target, **place_of) for name in models}
        self.scorer = Scorer(self.target, loaded, self.sampler, say=say)
        self._given = written.given(pathlib.Path(options["text"]), self.target) if options["text"] else []
        self._prices = costs.read(pathlib.Path(options["costs"])) if options["costs"] else None

    def finished(self) -> tuple[dict[str, Any], list[str]]:
        """Do what is not done yet; the document and the paths of its files."""
        with folder.resumable(self.place, COMMAND):
            if not (self.place / folder.SETTINGS).exists():
                folder.begin(self.place, COMMAND, self.options)
            texts: list[Text] = []
            scores: dict[str, Score] = {}
            for _ in watched(self._steps(texts, scores)):
                pass
            scored = self._scored([t for t in texts if t.tokens], scores)
            document = profile_document(scored, self._pairs(), self.options["k"], str(self.place))
            return document, self._reported(document)

    def _steps(self, texts: list[Text], scores: dict[str, Score]) -> Iterator[Step]:
        for text in self._texts():
            texts.append(text)
            yield Step("text", len(texts), len(self._given or self._prompts), f"{text.prompt} ({text.domain})")
        rounds = [text for text in texts if text.tokens]
        for score in self._scores(rounds):
            scores[score.prompt] = score
            yield Step("scored", len(scores), len(rounds), score.prompt)

    def _texts(self) -> Iterator[Text]:
        """Those that were given, or each prompt decoded plainly."""
        if self._given:
            yield from self._given
            return
        identity = {name: self.options[name] for name in ("target", "tokens", "seed", "dtype")}
        identity |= {"sampler": vars(self.sampler), "prompts": digest(self._prompts)}
        journal = Journal(self.place / written.FILE, written.FORMAT, written.VERSION, identity)
        longest = max(len(self.target.encode(prompt.messages)) for prompt in self._prompts)
        model = Model(self.target, capacity=longest + self.options["tokens"], vocabulary=self.scorer.vocabulary)
        nothing = Nothing(Arrays.on(model.device), self.scorer.vocabulary)
        plain = Decoder(model, nothing, self.sampler, Clock(self.options["device"]), self.target.eos, k=0)
        budget, seed = self.options["tokens"], self.options["seed"]
        yield from write(plain, self.target, self._prompts, journal, budget=budget, seed=seed)

    def _scores(self, texts: list[Text]) -> Iterator[Score]:
        """Those that the journal holds, then the others as they are scored."""
        identity = {name: self.options[name] for name in ("target", "draft", "dtype")}
        identity |= {"sampler": vars(self.sampler), "texts": written.digest(texts)}
        identity |= {"versions": {name: metadata.version(name) for name in SCORED_WITH}}
        journal = Journal(self.place / kept.FILE, kept.FORMAT, kept.VERSION, identity)
        done = {line["prompt"] for line in journal.records}
        yield from map(kept.of_record, journal.records)
        for score in self.scorer.score([text for text in texts if text.prompt not in done]):
            journal.append(kept.record(score))
            yield score

    def _scored(self, texts: list[Text], scores: Mapping[str, Score]) -> Scored:
        """Everything in the order of the texts."""
        if not texts:
            raise ValueError("found no text of at least two tokens, expected one or more: give other prompts")
        ordered = tuple(scores[text.prompt] for text in texts)
        drafts = tuple(self._draft(name, texts, ordered) for name in dict.fromkeys(self.options["draft"]))
        options = self.options
        return Scored(options["target"], self.sampler, options["dtype"], tuple(texts), ordered, drafts)

    def _draft(self, name: str, texts: list[Text], scores: tuple[Score, ...]) -> DraftScores:
        if name == Lookup.name:
            return lookup_draft(texts, self.options["k"], self.scorer.vocabulary)
        if name == NGram.name:
            return ngram_draft(texts, self.scorer.vocabulary)
        return model_draft(scores, name, "standard" if self.sampler.temperature else "one_hot")

    def _pairs(self) -> dict[str, Pair | None]:
        """The prices of each draft: those that cost nothing need the target's table alone; one model draft its own."""
        if self._prices is None:
            return {}
        pair = self._prices.pair()
        models = [name for name in self.options["draft"] if name not in FREE]
        own = pair if pair.draft is not None and len(models) == 1 else None
        return {**dict.fromkeys(FREE, Pair(pair.target, overhead=pair.overhead)), **dict.fromkeys(models, own)}

    def _reported(self, document: Mapping[str, Any]) -> list[str]:
        made = [] if self._given else [written.FILE]
        files = [*made, kept.FILE, folder.SETTINGS, REPORT_JSON, REPORT_TEXT]
        folder.write(self.place, REPORT_JSON, json.dumps(document, allow_nan=False, indent=1).encode())
        folder.write(self.place, REPORT_TEXT, report.markdown(document, files).encode())
        return [str(self.place / name) for name in files]
