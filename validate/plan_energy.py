"""Energy of an option: operations per token over those of plain decoding, and the joules that bound a token."""

from typing import Any

from specmath.cost import Roofline
from specmath.draft import Chain
from specmath.economics import joules_per_token, operations_factor
from specmath.load import Option


def energy(option: Option) -> dict[str, Any] | None:
    """{operations_factor, joules_per_token: {low, high}}; joules are unknown where the board's power is.

    From below what the operations draw at the boards' peak, from above all boards at full power; None without shapes.
    """
    cost = option.candidate.cost
    if not isinstance(cost.target, Roofline):
        return None
    draft = getattr(cost, "draft", None)
    own = draft.shape.active_parameters if isinstance(draft, Roofline) else 0
    active = cost.target.shape.active_parameters
    factor = float(operations_factor(option.law, Chain(option.k), own / active)) if option.k else 1.0
    return {"operations_factor": factor, "joules_per_token": _joules(option, 2.0 * active * factor)}


def _joules(option: Option, operations: float) -> dict[str, float] | None:
    """Bounds of the joules of one token that takes so many FLOP."""
    target = option.candidate.cost.target
    if target.gpu.power is None:
        return None
    board = {"power": target.gpu.power, "flops": target.peak}
    found = joules_per_token(operations, option.tokens_per_second, gpus=option.gpus, **board)
    return {"low": float(found.operations), "high": float(found.time)}
