"""A whole plan: 5 drafts, k = 0 to 10, 12 loads, 4 tensor parallelisms; one after another, interleaved with itself."""

import statistics
import time

from specmath import Geometric, HitMiss, Pair, Roofline
from specmath.candidates import Candidate
from specmath.cost import Share
from specmath.plan import sweep
from specmath.serving import Slo, Traffic

RUNS, TARGET = 5, 1.0
DEPTHS, LOADS, PARALLEL = range(11), [2.0**i for i in range(-2, 10)], (1, 2, 4, 8)


def candidates():
    """Five drafts of Llama-3.1-8B at every tensor parallelism."""
    for tp in PARALLEL:
        target = Roofline("Llama-3.1-8B", "H100 SXM", tp=tp)
        small = Roofline("Llama-3.2-1B", "H100 SXM").drafting()
        head = Roofline(target.shape.head(), "H100 SXM", tp=tp).drafting()
        yield Candidate("1B", Geometric(0.75), Pair(target, small), DEPTHS)
        yield Candidate("1B, other law", Geometric(0.6), Pair(target, small), DEPTHS)
        yield Candidate("EAGLE", Geometric(0.7), Pair(target, head), DEPTHS)
        yield Candidate("parallel head", Geometric(0.65), Pair(target, head, one_pass=True), DEPTHS)
        yield Candidate("lookup", HitMiss(0.4, 0.8), Pair(target, Share(target, 0.006)), DEPTHS)


def main():
    """Seconds of the sweep, the median and the worst; the first is of a cold process."""
    traffics = [Traffic(rate, 1000, 300) for rate in LOADS]
    seconds = []
    for _ in range(RUNS):
        started = time.perf_counter()
        plans = sweep(candidates(), traffics, Slo(tpot=0.02, ttft=2.0), gpu="H100 SXM", price=3.0)
        seconds.append(time.perf_counter() - started)
    median = statistics.median(seconds)
    count = f"{len(plans)} loads, {len(plans[0].ranked)} options that keep the promise"
    print(f"{count}: first {seconds[0]:.2f} s, median {median:.2f} s   (target: at most {TARGET:.0f} s)")
    for plan in plans:
        best = plan.choice
        print(f"  {plan.question.traffic.rate:6.2f} req/s: {best.name} k = {best.k} tp {best.tp}, {best.gpus} GPUs")
