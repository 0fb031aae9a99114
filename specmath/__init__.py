"""The mathematics of speculative decoding: how much faster, from how drafts are accepted and what time costs.

A draft (`Chain`) is accepted by a law (`Geometric`, `Positional`, `HitMiss`, `Empirical`) and timed by a cost
(`Ratio`, or a `Pair` of forward models: `Linear`, a measured `Table`); `speedup`, `evaluate`, `best_k` and
`break_even` put the three together. Laws come from counts (`Rounds`, `Tally`) through `specmath.estimate`:
`estimate.alpha`, `estimate.block_efficiency`, `fit`. What cannot be known from the counts at hand raises
`NotIdentifiable`. The acceptance rule itself is `verify`, on probabilities that `warp` makes from logits, for
any array library. numpy is all that is imported, and scipy.special once something of `specmath.estimate` is used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from specmath.acceptance import Empirical, Geometric, HitMiss, Law, NotIdentifiable, Positional, Rounds, Tally
from specmath.acceptor import Verdict, draw, residual, verify
from specmath.cost import Linear, Outside, Pair, Ratio, RoundTime, Table
from specmath.draft import Chain
from specmath.sampling import warp
from specmath.speedup import BestK, Evaluation, best_k, block_efficiency, break_even, evaluate, speedup

if TYPE_CHECKING:
    from specmath import estimate
    from specmath.estimate import Estimate, Fit, fit, more_prompts

__all__ = [
    "BestK",
    "Chain",
    "Empirical",
    "Estimate",
    "Evaluation",
    "Fit",
    "Geometric",
    "HitMiss",
    "Law",
    "Linear",
    "NotIdentifiable",
    "Outside",
    "Pair",
    "Positional",
    "Ratio",
    "RoundTime",
    "Rounds",
    "Table",
    "Tally",
    "Verdict",
    "best_k",
    "block_efficiency",
    "break_even",
    "draw",
    "estimate",
    "evaluate",
    "fit",
    "more_prompts",
    "residual",
    "speedup",
    "verify",
    "warp",
]


def __getattr__(name: str) -> Any:
    """Load what needs scipy.special when it is asked for (PEP 562): that takes longer than all the rest."""
    if name not in ("estimate", "Estimate", "Fit", "fit", "more_prompts"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    estimates = importlib.import_module("specmath.estimate")
    return estimates if name == "estimate" else getattr(estimates, name)
