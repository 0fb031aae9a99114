"""The mathematics of speculative decoding: how much faster, from how drafts are accepted and what time costs.

A draft (`Chain`, `Tree`) is accepted by a law (`Geometric`, `Positional`, `Curve`, `BetaGeometric`, `Markov`,
`HitMiss`, `Ranked`, `Padded`, `Empirical`; `check_acceptance` tries one of your own) and timed by a cost (`Ratio`, or
a `Pair` of forward models: `Linear`, a measured `Table`); `speedup`, `evaluate`, `best_k`, `break_even` and `fleet`
put the three together, `optimal_tree` and `best_tree` look for the shape. Laws come from counts (`Rounds`, `Tally`)
through `estimate`, `fit` and `select`, decisions through `decide` and `prompts_needed`; scored text needs no law:
`Replay`, with the drafts that choose their depth in `policies`. What cannot be known from the data at hand raises
`NotIdentifiable`. The acceptance rules themselves are `verify`, `verify_block` and `verify_tree`, on probabilities
that `warp` makes from logits, for any array library. Beside them stand the modules `regimes` (early exit, one-shot
heads, adaptive stopping, overlap, cascades), `divergence` (from probabilities to alpha), `siblings` (several drafts
at one position) and `simulate`. Shapes of models and devices (`ModelShape`, `Gpu`) are in `hardware`.
`plan` sizes a fleet: every `Candidate` under a `Traffic` and an `Slo`, as a ranked `Plan`, or `Infeasible`. Money asks
for a dated `Price` (`cost_per_million`, `gpus_needed`; more in the modules `economics` and `training`);
`LearningCurve` says what more training data buys a draft.

numpy is all that is imported at first; the rest comes when it is asked for.
"""

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any

from specmath.acceptance import (
    BetaGeometric,
    Curve,
    Empirical,
    Geometric,
    HitMiss,
    Law,
    Markov,
    NotIdentifiable,
    Padded,
    Positional,
    Ranked,
    Rounds,
    Tally,
)
from specmath.cost import Linear, Outside, Pair, Ratio, Roofline, RoundTime, Share, Table
from specmath.draft import Chain, Tree
from specmath.speedup import BestK, Evaluation, best_k, block_efficiency, break_even, evaluate, fleet, speedup

if TYPE_CHECKING:
    from specmath import (
        divergence,
        economics,
        estimate,
        hardware,
        policies,
        regimes,
        siblings,
        simulate,
        training,
    )
    from specmath.acceptor import Verdict, draw, residual, verify, verify_block, verify_tree
    from specmath.candidates import Candidate, Operation
    from specmath.checks import check_acceptance
    from specmath.decision import Decision, decide
    from specmath.economics import Electricity, Price, cost_per_million, gpus_needed, operations_factor
    from specmath.fitting import Fit, fit
    from specmath.hardware import Gpu
    from specmath.intervals import Estimate, more_prompts, prompts_needed
    from specmath.learning import LearningCurve
    from specmath.obstacle import Infeasible
    from specmath.plan import Plan, plan
    from specmath.regimes import best_tree
    from specmath.replay import Replay
    from specmath.sampling import warp
    from specmath.selection import select
    from specmath.serving import Slo, Traffic
    from specmath.shapes import ModelShape
    from specmath.tree_search import optimal_tree

__all__ = [
    "BestK",
    "BetaGeometric",
    "Candidate",
    "Chain",
    "Curve",
    "Decision",
    "Electricity",
    "Empirical",
    "Estimate",
    "Evaluation",
    "Fit",
    "Geometric",
    "Gpu",
    "HitMiss",
    "Infeasible",
    "Law",
    "LearningCurve",
    "Linear",
    "Markov",
    "ModelShape",
    "NotIdentifiable",
    "Operation",
    "Outside",
    "Padded",
    "Pair",
    "Plan",
    "Positional",
    "Price",
    "Ranked",
    "Ratio",
    "Replay",
    "Roofline",
    "RoundTime",
    "Rounds",
    "Share",
    "Slo",
    "Table",
    "Tally",
    "Traffic",
    "Tree",
    "Verdict",
    "best_k",
    "best_tree",
    "block_efficiency",
    "break_even",
    "check_acceptance",
    "cost_per_million",
    "decide",
    "divergence",
    "draw",
    "economics",
    "estimate",
    "evaluate",
    "fit",
    "fleet",
    "gpus_needed",
    "hardware",
    "more_prompts",
    "operations_factor",
    "optimal_tree",
    "plan",
    "policies",
    "prompts_needed",
    "regimes",
    "residual",
    "select",
    "siblings",
    "simulate",
    "speedup",
    "training",
    "verify",
    "verify_block",
    "verify_tree",
    "warp",
]

LATER = {
    "acceptor": ("Verdict", "draw", "residual", "verify", "verify_block", "verify_tree"),
    "candidates": ("Candidate", "Operation"),
    "checks": ("check_acceptance",),
    "decision": ("Decision", "decide"),
    "economics": ("Electricity", "Price", "cost_per_million", "gpus_needed", "operations_factor"),
    "fitting": ("Fit", "fit"),
    "hardware": ("Gpu",),
    "intervals": ("Estimate", "more_prompts", "prompts_needed"),
    "learning": ("LearningCurve",),
    "obstacle": ("Infeasible",),
    "plan": ("Plan",),
    "regimes": ("best_tree",),
    "replay": ("Replay",),
    "sampling": ("warp",),
    "selection": ("select",),
    "serving": ("Slo", "Traffic"),
    "shapes": ("ModelShape",),
    "tree_search": ("optimal_tree",),
}
MODULES = (
    "divergence",
    "economics",
    "estimate",
    "hardware",
    "policies",
    "regimes",
    "siblings",
    "simulate",
    "training",
)


def __getattr__(name: str) -> Any:
    """Import what a first look at a speedup does not need, when it is asked for (PEP 562)."""
    if name in MODULES:
        return importlib.import_module(f"specmath.{name}")
    for module, names in LATER.items():
        if name in names:
            return getattr(importlib.import_module(f"specmath.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name, obj=sys.modules[__name__])


class _Package(types.ModuleType):
    """specmath: its `plan` is the function, though importing the module of that name would put itself there."""

    @property
    def plan(self):
        return importlib.import_module("specmath.plan").plan

    @plan.setter
    def plan(self, module):
        """Nothing: the module stays where modules are."""


sys.modules[__name__].__class__ = _Package


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
