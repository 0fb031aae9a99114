"""What every rule for chains shares: the arguments it is given, and the tokens a round emits."""

from dataclasses import dataclass
from typing import Any

from specmath.sampling import refuse_rows


@dataclass(frozen=True, eq=False)
class Verdict:
    """What a round emits: entries 0..accepted of `tokens` int[..., k+1], the rest -1; `accepted` int[...]."""

    tokens: Any
    accepted: Any


def check_shapes(tokens, q, p, u, v):
    """Refuse arrays whose shapes do not belong to tokens [..., k] and a vocabulary of V."""
    batch, k, vocabulary = tuple(tokens.shape[:-1]), tokens.shape[-1], p.shape[-1]
    expected = {"q": (*batch, k, vocabulary), "p": (*batch, k + 1, vocabulary), "u": (*batch, k), "v": batch}
    for (name, shape), array in zip(expected.items(), (q, p, u, v), strict=True):
        found = tuple(array.shape)
        if found != shape:
            raise ValueError(f"{name} has shape {found}, tokens {(*batch, k)} and V = {vocabulary} need {shape}")


def slots_in_use(tokens, drafted, xp):
    """`drafted`, checked; every slot where it is None."""
    k = tokens.shape[-1]
    if drafted is None:
        return xp.full(tokens.shape[:-1], k, dtype=xp.int64, device=tokens.device)
    refuse_rows((drafted < 0) | (drafted > k), f"drafted is outside 0..{k}, the slots of tokens", xp=xp)
    return drafted


def row(rows, index, xp):
    """rows[..., index, :] for rows [..., n, V] and index int[...]; copies no other row."""
    n, vocabulary = rows.shape[-2:]
    flat = xp.reshape(rows, (-1, vocabulary))
    starts = n * xp.arange(flat.shape[0] // n, device=rows.device)
    return xp.reshape(xp.take(flat, starts + xp.reshape(index, (-1,)), axis=0), (*index.shape, vocabulary))


def emit(tokens, accepted, final, xp):
    """The accepted tokens, the final one, and -1; all -1 where there is no final token."""
    accepted = xp.where(final < 0, -1, accepted)[..., None]
    slots = xp.arange(tokens.shape[-1] + 1, device=tokens.device)
    padded = xp.concat([tokens, final[..., None]], axis=-1)
    emitted = xp.where(slots == accepted, final[..., None], padded)
    return Verdict(tokens=xp.where(slots > accepted, -1, emitted), accepted=accepted[..., 0])
