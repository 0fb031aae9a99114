"""Counts of what was accepted, never rates: `Tally` by prompt and position, `Pooled` totals, `Rounds`.

A round drafts some tokens and accepts a prefix of them. Draft i is *tested* if all drafts before it were
accepted; the first test that fails is the round's one rejection. A round whose drafts were all accepted is
censored: what a further draft would have met was never seen. Every estimate is a quotient of these counts,
and is taken where the estimate is named.
"""

from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

RULES = ("standard", "one_hot", "match", "block", "lossy", "synthetic", "unknown")


class NotIdentifiable(ValueError):
    """The data cannot answer, however many there are; `.missing` names what they would have to hold.

    >>> str(NotIdentifiable("per-position counts", "a survival curve"))
    'a survival curve cannot be identified: per-position counts missing'
    """

    def __init__(self, missing: str, what: str = "this", how: str = ""):
        super().__init__(missing, what, how)
        self.missing, self.what, self.how = missing, what, how

    def __str__(self):
        ending = f"; {self.how}" if self.how else ""
        return f"{self.what} cannot be identified: {self.missing} missing{ending}"


@dataclass(frozen=True, eq=False)
class Tally:
    """Counts by prompt (rows) and by position in the draft (columns).

    at_risk[p, i]   rounds of prompt p that tested draft i + 1
    accepted[p, i]  those of them that accepted it
    rounds[p]       all rounds, those that drafted nothing included; at_risk[:, 0] unless given
    rule            the acceptance rule they were made under, one of `RULES`

    Raises ValueError naming the first cell that cannot be: accepted > at_risk, a position tested more often
    than the one before it was accepted, a count that is negative or no integer.

    >>> Tally([[100, 80]], [[80, 60]]).rejections
    array([40])
    """

    at_risk: Any
    accepted: Any
    _: KW_ONLY
    rounds: Any = None
    rule: str = "standard"

    def __post_init__(self):
        at_risk, accepted = _counts("at_risk", self.at_risk, 2), _counts("accepted", self.accepted, 2)
        _same_shape("accepted", accepted, "at_risk", at_risk.shape)
        if self.rounds is None and not at_risk.shape[1]:
            raise ValueError("rounds: found none beside a tally without positions, expected one count per prompt")
        rounds = _counts("rounds", at_risk[:, 0] if self.rounds is None else self.rounds, 1)
        _same_shape("rounds", rounds, "at_risk[:, 0]", at_risk.shape[:1])
        _at_most("accepted", accepted, "at_risk", at_risk)
        _at_most("at_risk of the next position", at_risk[:, 1:], "accepted", accepted[:, :-1])
        _at_most("at_risk", at_risk[:, :1], "rounds", rounds[:, None])
        _check_rule(self.rule)
        for name, value in (("at_risk", at_risk), ("accepted", accepted), ("rounds", rounds)):
            object.__setattr__(self, name, value)

    @staticmethod
    def pooled(rounds, drafted, accepted, *, k, rule="unknown"):
        """Totals without positions or prompts, as some engines report them: see `Pooled`."""
        return Pooled(rounds, drafted, accepted, k=k, rule=rule)

    @property
    def k(self):
        """Positions counted."""
        return self.at_risk.shape[1]

    @property
    def trials(self):
        """Drafts tested, by prompt."""
        return self.at_risk.sum(axis=1)

    @property
    def successes(self):
        """Drafts accepted, by prompt."""
        return self.accepted.sum(axis=1)

    @property
    def rejections(self):
        """Rounds that ended in a rejection, by prompt."""
        return self.trials - self.successes

    @property
    def hits(self):
        """Rounds that drafted anything, by prompt."""
        return self.at_risk[:, :1].sum(axis=1)


@dataclass(frozen=True)
class Pooled:
    """Totals over everything: rounds, drafted tokens, accepted tokens, at a depth of at most k.

    They identify the block efficiency 1 + accepted / rounds and, where every round drafted k, a geometric
    alpha. Positions, prompts and, with varying draft lengths, the rejections are gone: whatever needs them
    raises NotIdentifiable.

    >>> Pooled(43_221, 259_326, 63_669, k=6).full
    True
    """

    rounds: int
    drafted: int
    accepted: int
    _: KW_ONLY
    k: int
    rule: str = "unknown"

    def __post_init__(self):
        for name in ("rounds", "drafted", "accepted", "k"):
            object.__setattr__(self, name, int(_counts(name, getattr(self, name), 0)))
        _at_most("accepted", self.accepted, "drafted", self.drafted)
        _at_most("drafted", self.drafted, "rounds times k", self.rounds * self.k)
        _check_rule(self.rule)

    @property
    def full(self):
        """Did every round draft k tokens?"""
        return self.drafted == self.rounds * self.k

    @property
    def at_risk(self):
        """Never known from totals."""
        raise NotIdentifiable(
            "per-position counts", "acceptance by position", "read counters by position or a trace of rounds"
        )


@dataclass(frozen=True, eq=False)
class Rounds:
    """Rounds in the order they ran: the prompt, the drafted and the accepted length of each.

    accepted < drafted means that draft accepted + 1 was rejected; accepted == drafted means censored, not
    rejected. A round cut short by the end of its text is entered with drafted = accepted, for the same
    reason.

    >>> Rounds(["a", "a", "b"], [3, 2, 0], [1, 2, 0]).tally().at_risk
    array([[2, 2, 0],
           [0, 0, 0]])
    """

    prompt: Any
    drafted: Any
    accepted: Any
    _: KW_ONLY
    rule: str = "standard"

    def __post_init__(self):
        prompt = np.array(self.prompt)
        drafted, accepted = _counts("drafted", self.drafted, 1), _counts("accepted", self.accepted, 1)
        _same_shape("accepted", accepted, "drafted", drafted.shape)
        _same_shape("prompt", prompt, "drafted", drafted.shape)
        _at_most("accepted", accepted, "drafted", drafted)
        _check_rule(self.rule)
        prompt.setflags(write=False)
        for name, value in (("prompt", prompt), ("drafted", drafted), ("accepted", accepted)):
            object.__setattr__(self, name, value)

    def tally(self, k=None):
        """Counts of the first k positions (all, if k is None); prompts in the order they first appear."""
        positions = np.arange(self.drafted.max(initial=0) if k is None else k)
        tested = np.minimum(self.accepted + 1, self.drafted)
        _, first, row = np.unique(self.prompt, return_index=True, return_inverse=True)
        row = np.argsort(np.argsort(first))[row]
        counts = np.zeros((2, len(first), len(positions)), dtype=int)
        np.add.at(counts[0], row, tested[:, None] > positions)
        np.add.at(counts[1], row, self.accepted[:, None] > positions)
        return Tally(*counts, rounds=np.bincount(row, minlength=len(first)), rule=self.rule)


def _counts(name, value, axes):
    """A read-only array of non-negative integers with so many axes."""
    array = np.array(value)
    if array.ndim != axes:
        raise ValueError(f"{name}: found {array.ndim} axes, expected {axes} ({_AXES[axes]})")
    if array.size == 0:
        array = array.astype(int)
    if array.dtype.kind not in "iuf":
        raise ValueError(f"{name}: found entries of type {array.dtype}, expected counts, integers >= 0")
    bad = np.argwhere(~((array >= 0) & (array == np.floor(array)) & np.isfinite(array)))
    if len(bad):
        cell = bad[0].tolist()
        place = f" in cell {cell}" if cell else ""
        raise ValueError(f"{name}: found {array[tuple(cell)]}{place}, expected a count, an integer >= 0")
    array = array.astype(int)
    array.setflags(write=False)
    return array


_AXES = {0: "one number", 1: "one entry per row", 2: "prompts and positions"}


def _same_shape(name, array, other, shape):
    if array.shape != shape:
        raise ValueError(f"{name}: found shape {array.shape}, expected {shape}, as {other}")


def _at_most(name, array, bound_name, bound):
    """Refuses the first cell where a count exceeds its bound."""
    above = np.argwhere(np.asarray(array) > bound)
    if len(above):
        cell = tuple(above[0].tolist())
        found, limit = np.asarray(array)[cell], np.broadcast_to(bound, np.shape(array))[cell]
        place = f" in cell {list(cell)}" if cell else ""
        raise ValueError(f"{name}: found {found}{place}, expected at most {bound_name} = {limit}")


def _check_rule(rule):
    if rule not in RULES:
        raise ValueError(f"rule: found {rule!r}, expected one of {', '.join(RULES)}")
