"""What one round did to a row."""

from dataclasses import dataclass

from validate.rows import Row


@dataclass(frozen=True)
class Round:
    """What one round did to a row: counts in tokens, `context` the tokens committed before it; times in seconds, those
    of the whole batch.

    Drafts that EOS cut off count neither as drafted nor as accepted, they are censored, not rejected; `proposed`
    counts them too, since they were drafted and verified.
    `beta` holds sum_x min(p, q) at every tested draft when the target samples; None when it is greedy.
    """

    context: int
    proposed: int
    drafted: int
    accepted: int
    emitted: tuple[int, ...]
    beta: tuple[float, ...] | None
    draft_s: float
    verify_s: float
    accept_s: float
    end: str | None


@dataclass(frozen=True)
class Judged:
    """What the acceptor says of one row: the tokens to emit, how many of them are accepted drafts, and beta."""

    emitted: list[int]
    accepted: int
    beta: tuple[float, ...] | None


def recorded(row: Row, context: int, proposed: int, judged: Judged, kept: int, times: tuple[float, ...]) -> Round:
    """A round that proposed so many drafts after `context` tokens, and of whose emitted tokens `kept` stayed."""
    whole = kept == len(judged.emitted)
    drafted = proposed if whole else kept
    return Round(
        context=context,
        proposed=proposed,
        drafted=drafted,
        accepted=judged.accepted if whole else kept,
        emitted=tuple(judged.emitted[:kept]),
        beta=None if judged.beta is None else judged.beta[:drafted],
        draft_s=times[0],
        verify_s=times[1],
        accept_s=times[2],
        end=row.end,
    )
