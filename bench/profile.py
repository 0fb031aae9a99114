"""What it costs to know alpha to one point, and with it the rounds of k = 1..8: scoring, against the decoder at each k.

Prompts made by seed are written, as `specmath profile` does, and scored batch by batch, until alpha is known to the
point. The first of every few is decoded speculatively at every k as well, and written a second time, which is the
control; its seconds stand for the others' by the tokens written. All on one thread, whose pace is the steadier; kept in
runs/profile batch by batch, so that an interrupted bench goes on. Up to an hour. Ratios of seconds.
"""

import json
import pathlib
import sys
import time
from dataclasses import dataclass

import numpy as np
import torch

from specmath.replay import Replay
from validate import folder, scores, texts
from validate.arrays import Arrays
from validate.clock import Clock
from validate.commands.profile import WRITTEN_WITH
from validate.console import say
from validate.decoder import Decoder
from validate.drafters import Lookup, ModelDraft
from validate.generate import generated
from validate.jsonl import Journal
from validate.loading import early, load
from validate.model import Model
from validate.offsets import lookup_draft
from validate.profile import DraftProfile
from validate.sampler import Sampler
from validate.scores import model_draft
from validate.scoring import Scorer
from validate.study import versions
from validate.writing import decoded

FORMAT, VERSION, PLACE = "specmath.bench.profile", 1, pathlib.Path("runs/profile")
RECORD = pathlib.Path(__file__).parent.parent / "figures" / "data"
KIND, TOKENS, DEPTHS, BATCH = "template", 128, range(1, 9), 8
WANTED = {"logged": 20, "written": 5}


@dataclass(frozen=True)
class Plan:
    """A draft, the prompts at which its precision is looked at, every which one is decoded, and what is wanted."""

    draft: str
    looks: tuple[int, ...]
    sparse: int
    precision: float | None = None


PLANS = (Plan("lookup", (64, 128, 256, 320, 384), 32, 0.01), Plan("early:27", (BATCH,), BATCH))


class Bench:
    """One draft beside the target; what a batch of prompts takes, part by part."""

    def __init__(self, plan):
        self.plan, target = plan, load()
        self.prompts = [(p, target.encode(p.messages)) for p in generated([KIND], max(plan.looks))]
        self.vocabulary = target.rows
        draft = None if plan.draft == Lookup.name else early(target, int(plan.draft.partition(":")[2]))
        capacity = max(len(ids) for _, ids in self.prompts) + TOKENS + max(DEPTHS) + 1
        model, host, common = Model(target, capacity=capacity), Arrays.on("cpu"), (Sampler(), Clock("cpu"), target.eos)
        drafter = ModelDraft(host, Model(draft, capacity=capacity), Sampler()) if draft else Lookup(host, target.rows)
        self._writer = Decoder(model, Lookup(host, target.rows), *common, k=WRITTEN_WITH)
        self._arms = {k: Decoder(model, drafter, *common, k=k) for k in DEPTHS}
        self._scorer = Scorer(target, {plan.draft: draft} if draft else {}, Sampler(), say=say)

    def warm(self):
        """Every decoder once, untimed."""
        for decoder in (self._writer, *self._arms.values()):
            list(decoder.start(self.prompts[0][1], budget=16, seed=0).rounds())

    def batch(self, first):
        """Texts of the next prompts, their scores, the seconds of every part; rounds by k of the one decoded."""
        written = [_timed(lambda i=i: self._written(i)) for i in range(first, first + BATCH)]
        made = [text for text, _ in written]
        found, scored = _timed(lambda: list(self._scorer.score(made)))
        record = {"texts": [t.record for t in made], "scores": [scores.record(s) for s in found]}
        record |= {"written": [seconds for _, seconds in written], "scored": scored, "again": None}
        if first % self.plan.sparse:
            return record
        ran = [_timed(lambda k=k: self._rounds(first, k)) for k in DEPTHS]
        record["again"] = _timed(lambda: self._written(first))[1]
        return record | {"rounds": [rounds for rounds, _ in ran], "decoded": [seconds for _, seconds in ran]}

    def _written(self, place):
        prompt, ids = self.prompts[place]
        return decoded(self._writer, ids, prompt, budget=TOKENS, seed=0)

    def _rounds(self, place, k):
        return len(list(self._arms[k].start(self.prompts[place][1], budget=TOKENS, seed=0).rounds()))


def main():
    """Lookup, the draft that makes decoding cheapest, as far as the precision takes; a model draft on a few prompts."""
    torch.set_num_threads(1)
    PLACE.mkdir(parents=True, exist_ok=True)
    record, missed = {"threads": 1, "versions": versions(), "wanted": WANTED, "drafts": []}, []
    for plan in PLANS:
        bench = Bench(plan)
        about = {"draft": plan.draft, "kind": KIND, "tokens": TOKENS, "batch": BATCH, "sparse": plan.sparse}
        about |= {"lookup": WRITTEN_WITH}
        journal = Journal(PLACE / f"{plan.draft.replace(':', '-')}.jsonl", FORMAT, VERSION, about)
        _measured(bench, journal)
        record["drafts"].append(_found(bench, journal.records))
        _report(record["drafts"][-1])
        missed += [f"{plan.draft}: {name}" for name in failures(record["drafts"][-1], plan.precision)]
    folder.write(RECORD, "profile_cost.json", json.dumps(record, allow_nan=False, indent=1).encode())
    if missed:
        sys.exit(f"not held: {', '.join(missed)}")


def _measured(bench, journal):
    """Batch after batch until the precision is reached at a look, or the prompts end."""
    if not _known(bench, journal.records):
        bench.warm()
    while not _known(bench, journal.records):
        journal.append(bench.batch(BATCH * len(journal.records)))
        say(f"{bench.plan.draft}: {BATCH * len(journal.records)} prompts written and scored")


def _known(bench, records):
    """Whether this is a look at which the precision is reached, or the last one."""
    done, plan = BATCH * len(records), bench.plan
    if not plan.precision or done not in plan.looks:
        return done == max(plan.looks)
    return done == max(plan.looks) or _profile(bench, records).alpha.half_width <= plan.precision


def _profile(bench, records):
    """The profile over all texts, in their order."""
    made = tuple(texts.of_record(line) for record in records for line in record["texts"])
    if bench.plan.draft == Lookup.name:
        return DraftProfile(lookup_draft(made, max(DEPTHS), bench.vocabulary), made, greedy=True)
    found = {s.prompt: s for record in records for s in map(scores.of_record, record["scores"])}
    draft = model_draft([found[text.prompt] for text in made], bench.plan.draft, "one_hot")
    return DraftProfile(draft, made, greedy=True)


def _found(bench, records):
    """What was measured, beside what was wanted."""
    profile, ran = _profile(bench, records), [record for record in records if record["again"]]
    share = sum(len(r["texts"][0]["output"]) for r in ran) / sum(len(t.output) for t in profile.texts)
    seconds = {"scored": sum(r["scored"] for r in records), "written": sum(sum(r["written"]) for r in records)}
    seconds["decoded"] = sum(sum(r["decoded"]) for r in ran) / share
    again = sum(r["again"] for r in ran) / sum(r["written"][0] for r in ran)
    return {
        "draft": bench.plan.draft,
        "kind": KIND,
        "tokens": TOKENS,
        "prompts": len(profile.texts),
        "prompts_decoded": len(ran),
        "alpha": profile.alpha.value,
        "half_width": profile.alpha.half_width,
        "seconds": seconds,
        "control": again,
        "equal_depths": _equal(profile, ran),
        "ratios": ratios(seconds),
    }


def ratios(seconds):
    """The decoder's seconds at every k over what the profile takes, of logged text and of text written on the spot."""
    logged, spot = seconds["scored"], seconds["scored"] + seconds["written"]
    return {"logged": seconds["decoded"] / logged, "written": seconds["decoded"] / spot}


def failures(found, precision):
    """Which of the bounds do not hold."""
    missed = [name for name, wanted in WANTED.items() if found["ratios"][name] < wanted]
    missed += ["precision"] if precision and found["half_width"] > precision else []
    return missed + (["rounds"] if found["equal_depths"] < len(DEPTHS) else [])


def _report(found):
    deepest, seconds = max(DEPTHS), found["seconds"]
    print(f"{found['draft']}: {found['prompts']} prompts of {KIND}, {TOKENS} tokens, greedy, k = 1..{deepest}")
    print(f"  alpha {found['alpha']:.3f} +- {found['half_width']:.3f}")
    for name, wanted in WANTED.items():
        print(f"  decoded at every k / profile of {name} text  {found['ratios'][name]:6.1f}   at least {wanted} wanted")
    print(f"  written again / written (control)           {found['control']:6.3f}")
    parts = ", ".join(f"{name} {value:.0f}" for name, value in seconds.items())
    print(f"  seconds: {parts} (decoded: from {found['prompts_decoded']} prompts)")
    print(f"  rounds of the decoded prompts equal the replayed ones at {found['equal_depths']} of {len(DEPTHS)} depths")


def _equal(profile, ran):
    """Depths at which every decoded prompt had the rounds that replay says."""
    place = {text.prompt: i for i, text in enumerate(profile.texts)}
    decoded_ones = [place[record["texts"][0]["prompt"]] for record in ran]
    replay = Replay(profile.draft.ratios)
    return sum(
        np.array_equal(np.rint(replay.rounds(k))[decoded_ones], [record["rounds"][k - 1] for record in ran])
        for k in DEPTHS
    )


def _timed(work):
    started = time.perf_counter()
    result = work()
    return result, time.perf_counter() - started
