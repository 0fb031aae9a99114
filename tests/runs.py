"""Made-up traces and costs with known answers, for the tests of what is concluded from them."""

from dataclasses import replace

from specmath.intervals import Estimate
from validate.compare import predicted_breakdown
from validate.costs import Cell, Costs, Sweep
from validate.fit import EVERYTHING, predicted_speedup, sample_of
from validate.lines import DoneLine, Header, PromptLine, RoundLine
from validate.prediction import Forecast, Prediction
from validate.study_document import study_document
from validate.trace import Trace

STEP, VERIFY = 1.0, {1: 1.0, 2: 1.6, 3: 2.0, 4: 1.8, 5: 1.5}
K = 4


def costs(*, draft=None, step=STEP, name="D"):
    """A table without noise: VERIFY plain steps for n tokens, at every context from 0 to 1000."""
    cells = {Cell("target", n, 1, context): step * v for n, v in VERIFY.items() for context in (0, 1000)}
    if draft:
        cells |= {Cell(name, n, 1, context): step * draft * n for n in (1, 2) for context in (0, 1000)}
    return Costs([Sweep(cells, (1.0, 1.0), (0.0,) * (K + 1))] * 3)


def header(**changed):
    """Of a greedy lookup run."""
    known = {"target": "T", "draft": "lookup", "k": K, "sampler": {"temperature": 0.0}, "rule": "one_hot", "seed": 0}
    return Header(**{**known, "machine": {}, "versions": {}} | changed)


def rounds(prompt, outcomes, *, arm="spec", repeat=0, draft=0.0, slower=1.0):
    """Rounds of (drafted, accepted) at table prices, the last ends the budget; of (drafted, kept, "eos"), the text."""
    lines, context = [], 100
    for i, (drafted, accepted, *eos) in enumerate(outcomes):
        times = {"draft_s": draft * STEP * drafted, "verify_s": slower * STEP * VERIFY[drafted + 1], "accept_s": 0.0}
        end = eos[0] if eos else "budget" if i == len(outcomes) - 1 else None
        counts = {"context": context, "drafted": drafted, "accepted": accepted, "emitted": accepted + 1}
        if eos:
            counts |= {"drafted": accepted, "emitted": accepted, "proposed": drafted if drafted > accepted else None}
        lines.append(RoundLine(prompt=prompt, arm=arm, repeat=repeat, index=i, **counts, beta=None, **times, end=end))
        context += accepted + 1
    return lines


def trace(outcomes_by_prompt, *, domain=lambda prompt: prompt.split("-")[0], slower=1.0, draft=0.0, head=None):
    """Every prompt in the plain, the speculative and the control arm; `slower` multiplies the speculative clock."""
    prompts, lines, done = [], [], []
    for prompt, outcomes in outcomes_by_prompt.items():
        tokens = sum(accepted + (not eos) for _, accepted, *eos in outcomes)
        for arm, repeat in (("plain", 0), ("spec", 0), ("plain", 1)):
            own = outcomes if arm == "spec" else [(0, 0)] * tokens
            made = rounds(prompt, own, arm=arm, repeat=repeat, draft=draft, slower=slower if arm == "spec" else 1.0)
            seconds = sum(r.draft_s + r.verify_s + r.accept_s for r in made)
            prompts.append(PromptLine(prompt, domain(prompt), arm, 100, repeat))
            lines += made
            done.append(DoneLine(prompt, arm, tokens + 1, seconds, 0.1, repeat))
    return Trace(head or header(), tuple(prompts), tuple(lines), tuple(done))


def predicted(traces, prices):
    """A prediction that is right about acceptance: the rounds that happened, at table prices."""
    forecasts = []
    for (draft, k), found in traces.items():
        sample, pair = sample_of(found), prices.pair(draft)
        for domain in (*sample.domains, EVERYTHING):
            of = sample if domain == EVERYTHING else sample.of(domain)
            speedup = predicted_speedup(of, pair, k=k, ahead=len(of.prompts))
            forecasts.append(Forecast(domain, draft, k, speedup, predicted_breakdown(of, pair, k)))
    return Prediction(tuple(forecasts), "2026-01-01T00:00:00Z")


def untried(found, k, value, low):
    """The document of a study of one cell, beside which another k was predicted and not run."""
    traces, prices = {(found.header.draft, found.header.k): found}, costs()
    told = predicted(traces, prices)
    speedup = Estimate(value, low, 2 * value - low, 0.95, 1, "made up")
    other = replace(told.of(EVERYTHING, found.header.draft, found.header.k), k=k, speedup=speedup)
    return study_document(traces, prices, replace(told, forecasts=(*told.forecasts, other)))


def study(*found, prices=None):
    """The document of a study whose cells left these traces."""
    traces, prices = {(trace.header.draft, trace.header.k): trace for trace in found}, prices or costs()
    return study_document(traces, prices, predicted(traces, prices))
