"""Directions in which a broken decoder's tokens lean in every context at once, as bins of tokens.

A text of a large vocabulary hardly meets a context twice, so that what is learned must be pooled: towards the draft,
towards the row before, towards likely tokens or the tail, to one end of the vocabulary, to the token before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from validate.betting import Bins

LIKELIHOOD = np.array([0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 1.0])
RANKS = (1, 2, 4, 8, 16)
RATIOS = (1e-9, 0.1, 0.5, 0.8, 1.0, 1.25, 2.0, 10.0)
POSITIONS, IDS = 16, 16
SUSPECT, DRAFT = "towards ", "the draft"


@dataclass(frozen=True)
class Observations:
    """Tokens int[n] drawn in `contexts` int[n] under the laws p [n, V], in the order in which they came.

    `suspects` are laws [n, V] that a broken decoder may follow instead, by name: the draft's, that of the row before.
    `previous` int[n] is the token before, -1 for none, `position` int[n] the place in the text. `tied` marks
    tokens that p excludes by less than rounding.
    """

    contexts: np.ndarray
    p: np.ndarray
    tokens: np.ndarray
    suspects: Mapping[str, np.ndarray] = field(default_factory=dict)
    previous: np.ndarray | None = None
    position: np.ndarray | None = None
    tied: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def under(self, p: np.ndarray) -> "Observations":
        """The same under other laws."""
        return replace(self, p=p)

    def __getitem__(self, rows: np.ndarray | slice) -> "Observations":
        others = (self.previous, self.position, self.tied)
        suspects = {name: law[rows] for name, law in self.suspects.items()}
        cut = (None if column is None else column[rows] for column in others)
        return Observations(self.contexts[rows], self.p[rows], self.tokens[rows], suspects, *cut)


def directions(seen: Observations) -> dict[str, Bins]:
    """The bins of every direction, by name."""
    ranks = _ranks(seen)
    found = {"likelihood": _likelihood(seen), "rank": ranks, "id": _ids(seen)}
    if seen.position is not None:
        found["rank by position"] = Bins(ranks.a, ranks.pi, np.minimum(seen.position, POSITIONS - 1))
    if seen.previous is not None:
        found["repeat"] = _repeat(seen, seen.previous)
    return found | {SUSPECT + name: _ratio(seen, law) for name, law in seen.suspects.items()}


def _likelihood(seen: Observations) -> Bins:
    """The stretch of [0, 1] that the token holds with the likelier tokens below it: uniform under p."""
    drawn = _at(seen.p, seen.tokens)[:, None]
    ids = np.arange(seen.p.shape[1])
    before = (seen.p > drawn) | ((seen.p == drawn) & (ids < seen.tokens[:, None]))
    low = np.where(before, seen.p, 0).sum(axis=1, keepdims=True)
    edges = np.clip(LIKELIHOOD, low, low + drawn)
    edges[:, -1:] = low + drawn  # what rounding leaves beyond 1
    return Bins(np.diff(edges) / drawn, np.broadcast_to(np.diff(LIKELIHOOD), (len(seen), len(LIKELIHOOD) - 1)))


def _ranks(seen: Observations) -> Bins:
    """How many tokens are likelier: none, one, two or three, and so on by powers of two."""
    wanted = [min(rank, seen.p.shape[1]) - 1 for rank in RANKS]
    ordered = -np.partition(-seen.p, wanted, axis=1)[:, wanted]
    return _hard(seen, [seen.p < ordered[:, i : i + 1] for i in range(len(RANKS))])


def _ids(seen: Observations) -> Bins:
    """The token's place in the vocabulary."""
    vocabulary = seen.p.shape[1]
    bins = np.arange(vocabulary) * min(IDS, vocabulary) // vocabulary
    starts = np.searchsorted(bins, np.arange(bins[-1] + 1))
    a = (bins[seen.tokens][:, None] == np.arange(bins[-1] + 1)).astype(float)
    return Bins(a, np.add.reduceat(seen.p, starts, axis=1))


def _repeat(seen: Observations, previous: np.ndarray) -> Bins:
    """Whether the token is the one before it."""
    chance = np.where(previous >= 0, _at(seen.p, np.maximum(previous, 0)), 0.0)
    same = (seen.tokens == previous).astype(float)
    return Bins(np.stack([same, 1 - same], axis=1), np.stack([chance, 1 - chance], axis=1))


def _ratio(seen: Observations, law: np.ndarray) -> Bins:
    """How much likelier the token is to the suspect than to the target."""
    return _hard(seen, [law >= edge * seen.p for edge in RATIOS], law)


def _hard(seen: Observations, beyond: Sequence[np.ndarray], law: np.ndarray | None = None) -> Bins:
    """The bin of a token is how many edges it is beyond, each [n, V]: where the drawn one is, and the mass in each."""
    bins, count = np.sum(beyond, axis=0), len(beyond) + 1
    other = None if law is None else _masses(law, bins, count)
    own = _at(bins, seen.tokens)
    return Bins((own[:, None] == np.arange(count)).astype(float), _masses(seen.p, bins, count), other=other)


def _masses(law: np.ndarray, bins: np.ndarray, count: int) -> np.ndarray:
    """What a law [n, V] has in each bin [n, count]."""
    return np.stack([np.einsum("nv,nv->n", law, bins == b) for b in range(count)], axis=1)


def _at(rows: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    return rows[np.arange(len(rows)), tokens]
