"""Runs that never happened, with a planted acceptance, and their files."""

import numpy as np

from tests import runs
from validate import costs
from validate.trace import Writer

ROUNDS = 40


def outcomes(rng, alpha, *, hit=1.0, rounds=ROUNDS, k=runs.K):
    """(drafted, accepted) of rounds with a geometric acceptance behind a hit or a miss."""
    drafted = np.where(rng.random(rounds) < hit, k, 0)
    reached = np.where(alpha == 1, k, rng.geometric(max(1 - alpha, 1e-12), rounds) - 1)
    return [(int(d), int(min(d, a))) for d, a in zip(drafted, reached, strict=True)]


def trace(alphas, *, prompts=6, hit=1.0, rounds=ROUNDS, seed=0, **how):
    """So many prompts of each domain in every arm, at table prices; `how` goes to runs.trace."""
    rng = np.random.default_rng(seed)
    return runs.trace(
        {
            f"{domain}-{i}": outcomes(rng, alpha, hit=hit, rounds=rounds)
            for domain, alpha in alphas.items()
            for i in range(prompts)
        },
        **how,
    )


def write_trace(path, found):
    """The trace as a file, its lines in the order in which a run writes them."""
    with Writer(path, found.header) as writer:
        for begun in found.prompts:
            for line in (begun, *found.rounds, *found.done):
                if line.key == begun.key and (line is begun or line.type != "prompt"):
                    writer.write(line)


def write_costs(path, found):
    """The costs as a file."""
    file = costs.journal(path, found.measured)
    for sweep in found.sweeps:
        file.append(costs.record(sweep))
