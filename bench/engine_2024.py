"""vLLM's latencies over queries per second of October 2024, its first engine: a miss, and what overhead explains it.

Lengths and acceptance were not published: outputs of 120 tokens give the plain latencies, prompts are taken as 230
tokens of ShareGPT and 838 of CNN/DailyMail (as in the rows of arXiv 2601.11580), and tau is set so that the row at 1
query per second comes out. What is left to be predicted is how latency grows with the load under speculation, which
that engine's Python per request and step decided: the seconds that fit best are printed.
"""

from dataclasses import replace

import numpy as np
from scipy.optimize import brentq

from bench.published import rows
from specmath import Pair, Roofline, Share, Traffic
from specmath.efficiency import efficiency
from specmath.serving import Overloaded, Station, Steady, steady

PROMPTS = {"draft_model": 230, "ngram": 838}
OUTPUT, BATCH, K = 120, 256, 4
DRAFTS = {"draft_model": "Qwen2.5-0.5B", "ngram": None}
PER_SEQUENCE = np.arange(0, 2.01e-3, 5e-5)


def station(row, tau=1.0, per_sequence=0.0):
    """A replica of the row's method at so many tokens per round, every one alike; plain where tau is 1."""
    own = efficiency(row["hardware"], tp=4, engine="vllm-2024")
    target = Roofline("Llama-3.1-70B", row["hardware"], tp=4, efficiency=replace(own, per_sequence=per_sequence))
    name = DRAFTS[row["method"]]
    draft = Roofline(name, row["hardware"]).drafting() if name else Share(target, 0.006)
    traffic = Traffic(1.0, PROMPTS[row["method"]], OUTPUT)
    if tau == 1.0:
        return Station.of(Pair(target), None, 0, traffic, max_batch=BATCH)
    alpha = brentq(lambda a: sum(a**i for i in range(K + 1)) - tau, 0, 1)
    return Station.of(Pair(target, draft, one_pass=name is None), alpha, K, traffic, max_batch=BATCH)


def latency(station, rate):
    """Mean seconds of a request, infinite where the replica is overloaded."""
    found: Steady | Overloaded = steady(station, rate)
    return np.inf if isinstance(found, Overloaded) else found.e2e


def explained(chosen, tau_at):
    """(seconds per request and step, tau, predicted latencies) with the least mean |error|."""
    measured, rates = (np.array([float(row[name]) for row in chosen]) for name in ("with", "load"))

    def at(per_sequence):
        tau = tau_at(per_sequence)
        found = np.array([latency(station(chosen[0], tau, per_sequence), rate) for rate in rates])
        return float(np.mean(np.abs(found / measured - 1))), per_sequence, tau, found

    return min((at(float(seconds)) for seconds in PER_SEQUENCE), key=lambda entry: entry[0])


def length(row, per_sequence):
    """tau with which the latency at 1 query per second is the published one, at most all that a round can emit."""

    def excess(tau):
        return latency(station(row, tau, per_sequence), float(row["load"])) - float(row["with"])

    return float(brentq(excess, 1.001, K + 1)) if excess(K + 1) < 0 else float(K + 1)


def main():
    """Both methods: measured and predicted, without and with the overhead."""
    for method in DRAFTS:
        chosen = [row for row in rows("vLLM-2024") if row["method"] == method]
        rates = [float(row["load"]) for row in chosen]
        plain = [latency(station(chosen[0]), rate) for rate in rates]
        tau = length(chosen[0], 0.0)
        drafted = [latency(station(chosen[0], tau), rate) for rate in rates]
        error, seconds, other, found = explained(chosen, lambda value, row=chosen[0]: length(row, value))
        was, then = (_each([row[name] for row in chosen]) for name in ("without", "with"))
        print(f"{method}, queries per second {_each(rates, 0)}: mean seconds of a request")
        print(f"  plain measured {was}  predicted {_each(plain)}")
        print(f"  k = {K} measured {then}  predicted {_each(drafted)} (tau {tau:.2f})")
        why = f"with {1e3 * seconds:.2f} ms per request and step and tau {other:.2f}"
        print(f"  {why}: {_each(found)}, mean |error| {error:.0%}")


def _each(values, digits=2):
    return " ".join(f"{float(value):.{digits}f}" for value in values)
