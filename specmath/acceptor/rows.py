"""What the rules share: the arguments they are given, rows at a node or a position, and the tokens a round emits."""

from dataclasses import dataclass
from typing import Any

from specmath.sampling import refuse_rows


@dataclass(frozen=True, eq=False)
class Verdict:
    """What a round emits: entries 0..accepted of `tokens` int[..., depth+1], the rest -1; `accepted` int[...].

    `path` int[..., depth] holds the nodes of a tree that were accepted, from the root's child on, then -1;
    None for a chain, where draft i is node i.
    """

    tokens: Any
    accepted: Any
    path: Any = None


def check_shapes(tokens, q, p, u, v, *, draft_rows=True):
    """Refuse arrays whose shapes do not belong to tokens [..., k] and a vocabulary of V."""
    batch, k, vocabulary = tuple(tokens.shape[:-1]), tokens.shape[-1], p.shape[-1]
    q_shape = (*batch, k, vocabulary) if draft_rows else (*batch, vocabulary)
    expected = {"q": q_shape, "p": (*batch, k + 1, vocabulary), "u": (*batch, k), "v": batch}
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


def at_tokens(tokens, q, p, drafted, xp):
    """Which slots hold a drafted token of the vocabulary, bool[..., k], and q and p at it."""
    k, vocabulary = q.shape[-2:]
    in_use = xp.arange(k, device=tokens.device) < drafted[..., None]
    real = in_use & known(tokens, vocabulary)
    ids = xp.where(real, tokens, 0)[..., None]
    q_x, p_x = (xp.take_along_axis(law[..., :k, :], ids, axis=-1)[..., 0] for law in (q, p))
    return real, q_x, p_x


def known(tokens, vocabulary):
    """Which tokens the target can emit at all."""
    return (tokens >= 0) & (tokens < vocabulary)


def prefix_length(passes, xp):
    """How many hold before the first that does not."""
    return xp.sum(xp.cumulative_prod(xp.astype(passes, xp.int64), axis=-1), axis=-1)


def row(rows, index, xp):
    """rows[..., index, :] for rows [..., n, V] and index int[...]; copies no other row."""
    n, vocabulary = rows.shape[-2:]
    flat = xp.reshape(rows, (-1, vocabulary))
    starts = n * xp.arange(flat.shape[0] // n, device=rows.device)
    return xp.reshape(xp.take(flat, starts + xp.reshape(index, (-1,)), axis=0), (*index.shape, vocabulary))


def draft_row(q, accepted, rejected, xp):
    """The draft's law [..., V] behind the last accepted token, zeros where nothing was rejected there."""
    if q.shape[-2] == 0:
        return xp.zeros((*q.shape[:-2], q.shape[-1]), dtype=q.dtype, device=q.device)
    return xp.where(rejected[..., None], row(q, xp.where(rejected, accepted, 0), xp), 0)


def emit(tokens, accepted, final, xp, path=None):
    """The accepted tokens, the final one, and -1; all -1 where there is no final token."""
    accepted = xp.where(final < 0, -1, accepted)[..., None]
    slots = xp.arange(tokens.shape[-1] + 1, device=tokens.device)
    padded = xp.concat([tokens, final[..., None]], axis=-1)
    emitted = xp.where(slots == accepted, final[..., None], padded)
    path = path if path is None else xp.where(accepted < 0, -1, path)
    return Verdict(tokens=xp.where(slots > accepted, -1, emitted), accepted=accepted[..., 0], path=path)
