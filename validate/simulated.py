"""A plan checked by simulating its requests, iteration by iteration: what the fixed point says beside what happens."""

import math
from typing import Any

import numpy as np

from specmath.arrivals import Requests, lengths
from specmath.events import simulate
from specmath.load import Option
from specmath.traffic import Slo, Traffic
from validate import inputs

DRAWN, SEED, WARMING = 4000, 0, 0.1
SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def simulated(option: Option, traffic: Traffic, slo: Slo, log: inputs.Requests | None = None) -> dict[str, Any]:
    """Latencies [s] of the requests of a log over all replicas, or of drawn ones on one; the first tenth is left out.

    Drawn requests arrive at random, their outputs are as if geometric, their prompts alike; of a log without arrivals
    only the lengths are its own. Where another rate is asked for, the gaps of a log are all scaled to it.
    """
    rng = np.random.default_rng(SEED)
    requests, replicas = _requests(option, traffic, log, rng)
    served = simulate(option.deployment.held, requests, rng=rng, replicas=replicas).after(WARMING)
    columns = {"ttft": served.ttft, "tpot": served.tpot[served.tokens > 1], "e2e": served.e2e}
    means = {"ttft": float(served.ttft.mean()), "tpot": served.mean_tpot, "e2e": float(served.e2e.mean())}
    found = {name: _told(column, getattr(option.state, name), means[name]) for name, column in columns.items()}
    gaps = {name: served.gaps(share) for name, share in SHARES.items()}
    found["itl"] = {"predicted": option.state.itl, "mean": served.itl, **gaps}
    return {
        "requests": len(requests),
        "replicas": replicas,
        "arrivals": _arrivals(traffic, log),
        "lengths": "drawn" if log is None else "given",
        "kept": float(np.mean(served.good(slo))),
        "latency": found,
    }


def _told(column: np.ndarray, predicted: float, mean: float) -> dict[str, float]:
    shares = {name: float(np.quantile(column, share)) if len(column) else 0.0 for name, share in SHARES.items()}
    return {"predicted": predicted, "mean": mean, **shares}


def _slower(traffic: Traffic, log: inputs.Requests) -> float:
    """Times the gaps of a log for the rate that was asked for; 1 for its own."""
    span = 0.0 if log.arrivals is None else float(log.arrivals[-1])
    return (len(log.output_tokens) - 1) / span / traffic.rate if span else 1.0


def _arrivals(traffic: Traffic, log: inputs.Requests | None) -> str:
    if log is None or log.arrivals is None:
        return "poisson"
    return "given" if math.isclose(_slower(traffic, log), 1.0) else "scaled"


def _requests(option: Option, traffic: Traffic, log: inputs.Requests | None, rng: Any) -> tuple[Requests, int]:
    if log is not None and log.arrivals is not None:
        return Requests(log.arrivals * _slower(traffic, log), log.output_tokens, log.prompt_tokens), option.replicas
    outputs = lengths(traffic.output, DRAWN, rng) if log is None else log.output_tokens
    prompts = None if log is None else log.prompt_tokens
    return Requests.poisson(traffic.rate / option.replicas, outputs, rng=rng, prompts=prompts), 1
