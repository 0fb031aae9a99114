"""2,000 simulated studies each: how often the 95 % intervals hold the number they estimate, and how often they do not.

Prompts have alphas from a Beta law and 50 rounds of k = 5 each. The estimands are those of equally many rounds per
prompt: E[sum_{i<=k} a^i] / E[sum_{i<k} a^i] for alpha, E[sum_{i<=k} a^i] from i = 0 for tau, tau over the round time
for the speedup; Beta(7, 3) has E[a] = .7, and .733333 as the alpha that accepted / tested estimates.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest

from specmath.estimate import alpha, block_efficiency, bootstrap, rao_blackwell, speedup
from specmath.intervals import Estimate
from tests.studies import coverage, draw_tally, lengths, pooled_alpha, pooled_tau

STUDIES, ROUNDS, K, ROUND_TIME = 2000, 50, 5, 1.2
LAWS = [(7, 3), (1.4, 0.6)]


@dataclass(frozen=True)
class Study:
    """What one study measured: its counts, and the seconds and tokens of both arms by prompt."""

    tally: object
    plain_seconds: object
    seconds: object

    @property
    def tokens(self):
        return self.tally.rounds + self.tally.successes

    @property
    def arms(self):
        return self.plain_seconds, self.tokens, self.seconds, self.tokens


def studies(law, prompts, count=STUDIES, seed=21):
    """Studies whose prompts also differ in pace, the same in both arms, and each arm by 20 % of its own noise."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        tally = draw_tally(rng.beta(*law, prompts), ROUNDS, K, rng)
        pace = rng.lognormal(0, 0.3, prompts)
        plain = (tally.rounds + tally.successes) * pace * rng.gamma(25, 1 / 25, prompts)
        yield Study(tally, plain, ROUND_TIME * ROUNDS * pace * rng.gamma(25, 1 / 25, prompts))


def naive(estimate, tally):
    """Every tested draft taken for an independent trial: the binomial interval."""
    half = 1.959964 * math.sqrt(estimate.value * (1 - estimate.value) / tally.trials.sum())
    return Estimate(estimate.value, estimate.value - half, estimate.value + half, 0.95, 1, "binomial")


@cache
def shares(law, prompts):
    """Coverage of alpha, tau and the speedup, and of the binomial interval for alpha."""
    found = list(studies(law, prompts))
    alphas = [alpha(study.tally) for study in found]
    tau = pooled_tau(*law, K)
    return {
        "alpha": coverage(alphas, pooled_alpha(*law, K)),
        "tau": coverage([block_efficiency(study.tally) for study in found], tau),
        "speedup": coverage([speedup(*study.arms) for study in found], tau / ROUND_TIME),
        "naive": coverage([naive(a, s.tally) for a, s in zip(alphas, found, strict=True)], pooled_alpha(*law, K)),
        "of E[a]": coverage(alphas, law[0] / sum(law)),
    }


@pytest.mark.parametrize("law", LAWS)
def test_clustered_intervals_of_40_prompts_cover_and_the_binomial_one_does_not(law):
    found = shares(law, 40)
    for name in ("alpha", "tau", "speedup"):
        assert 0.93 <= found[name] <= 0.97, (name, found)
    assert found["naive"] < 0.5, "negative control: rounds of one prompt are no trials"
    assert found["of E[a]"] < 0.75, "negative control: the mean over prompts is another number"


def test_the_binomial_interval_covers_two_studies_in_five():
    assert shares((7, 3), 40)["naive"] == pytest.approx(0.42, abs=0.03)


@pytest.mark.parametrize("law", LAWS)
def test_clustered_intervals_of_20_prompts_still_nearly_cover(law):
    found = shares(law, 20)
    for name in ("alpha", "tau", "speedup"):
        assert 0.925 <= found[name] <= 0.97, (name, found)


def test_the_design_effect_of_prompts_that_differ():
    """Standard error .00583 as if binomial against .02088 between prompts, 12.8 times the variance."""
    tallies = [study.tally for study in studies((7, 3), 40, 500)]
    values = np.array([alpha(tally).value for tally in tallies])
    binomial = np.mean([math.sqrt(v * (1 - v) / t.trials.sum()) for v, t in zip(values, tallies, strict=True)])
    assert binomial == pytest.approx(0.00583, rel=0.03)
    assert values.std() == pytest.approx(0.02088, rel=0.06)
    assert np.mean([alpha(tally).half_width for tally in tallies]) / 2.0227 == pytest.approx(0.02088, rel=0.05)


def test_the_interval_from_chances_covers_the_same_alpha_and_is_hardly_shorter_where_prompts_are_what_varies():
    rng, found = np.random.default_rng(22), []
    for _ in range(500):
        alphas = rng.beta(7, 3, 40)
        tested = np.minimum(lengths(alphas, ROUNDS, K, rng) + 1, K).sum(axis=1)
        found.append(rao_blackwell([np.full(n, a) for n, a in zip(tested, alphas, strict=True)]))
    assert 0.92 <= coverage(found, pooled_alpha(7, 3, K)) <= 0.975
    assert np.std([e.value for e in found]) == pytest.approx(0.020, rel=0.08), "against .02088 from the coins"


def resampled(law, prompts, kind):
    """Coverage of the bootstrap intervals of alpha and of the speedup."""
    alphas, speedups = [], []
    for seed, study in enumerate(studies(law, prompts)):
        counts = [study.tally.successes], [study.tally.trials]
        alphas.append(bootstrap(*counts, kind=kind, seed=seed, replicates=1000, bounds=(0.0, 1.0)))
        columns = [study.plain_seconds, study.tokens], [study.tokens, study.seconds]
        speedups.append(bootstrap(*columns, kind=kind, seed=seed, replicates=1000))
    return coverage(alphas, pooled_alpha(*law, K)), coverage(speedups, pooled_tau(*law, K) / ROUND_TIME)


@pytest.mark.slow
@pytest.mark.parametrize("prompts", [20, 40])
def test_the_studentized_bootstrap_covers(prompts):
    of_alpha, of_speedup = resampled((7, 3), prompts, "studentized")
    assert 0.93 <= of_alpha <= 0.97
    assert 0.93 <= of_speedup <= 0.97


@pytest.mark.slow
def test_the_percentile_bootstrap_of_20_prompts_does_not():
    of_alpha, of_speedup = resampled((7, 3), 20, "percentile")
    assert 0.89 <= of_alpha <= 0.93
    assert 0.89 <= of_speedup <= 0.93
