"""The mathematics of speculative decoding: how much faster, from how drafts are accepted and what time costs.

A draft (`Chain`) is accepted by a law (`Geometric`, `Positional`, `HitMiss`, `Empirical`) and timed by a cost
(`Ratio`, or a `Pair` of forward models: `Linear`, a measured `Table`); `speedup`, `evaluate`, `best_k` and
`break_even` put the three together. Laws come from counts (`Rounds`, `Tally`) through `specmath.estimate`:
`estimate.alpha`, `estimate.block_efficiency`, `fit`. What cannot be known from the counts at hand raises
`NotIdentifiable`. The acceptance rule itself is `verify`, on probabilities that `warp` makes from logits, for
any array library. numpy and scipy.special are all that is imported.
"""

from specmath import estimate
from specmath.acceptance import Empirical, Geometric, HitMiss, Law, NotIdentifiable, Positional, Rounds, Tally
from specmath.acceptor import Verdict, draw, residual, verify
from specmath.cost import Linear, Outside, Pair, Ratio, RoundTime, Table
from specmath.draft import Chain
from specmath.estimate import Estimate, Fit, fit, more_prompts
from specmath.sampling import warp
from specmath.speedup import BestK, Evaluation, best_k, block_efficiency, break_even, evaluate, speedup

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
