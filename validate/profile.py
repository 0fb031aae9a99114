"""What scored texts say of their drafts: acceptance with intervals, every depth, and where it comes from.

alpha of a draft that depends on the tokens before alone is a mean over all tokens of the text: of beta where the
target samples, of agreement where it is greedy (every token weighs the same). A draft by offset has none at a token
by itself: its alpha is accepted / tested over the replayed rounds of the deepest k. Conversations are the units
throughout: the texts of one prompt, and those whose prompt goes on from it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

import numpy as np

from specmath.cost import Outside, Pair
from specmath.estimate import Estimate, difference, quotient, ratio
from specmath.replay import Replay
from specmath.tally import NotIdentifiable
from validate.offsets import copyable
from validate.pricing import priced
from validate.sampler import Sampler
from validate.scores import TILTS, DraftScores, Score
from validate.texts import Text, units

K_MAX = 8
BANDS = ((1, 16), (17, 32), (33, 64), (65, 128), (129, None))
CONTEXTS = ((1, 128), (129, 512), (513, 1536), (1537, None))
FALSE_ALARM = 1e-4  # of the target's own corpora at most this share is taken for foreign

Band = tuple[int, int | None]


@dataclass(frozen=True, eq=False)
class DraftProfile:
    """One draft over some texts, which it has been scored on."""

    draft: DraftScores
    texts: tuple[Text, ...]
    greedy: bool
    k_max: int = K_MAX

    @cached_property
    def replay(self) -> Replay:
        """The rounds of every k."""
        return Replay(self.draft.ratios)

    @cached_property
    def units(self) -> list[int]:
        """The conversation of each text: repeats of a prompt and turns after it are no evidence of their own."""
        return units(self.texts)

    def by_unit(self, column: Sequence[float] | np.ndarray) -> np.ndarray:
        """Totals of a column over the texts of each conversation."""
        return np.bincount(self.units, weights=column)

    @property
    def depths(self) -> range:
        """1 to the deepest k."""
        return range(1, self.k_max + 1)

    @property
    def by_offset(self) -> bool:
        """Whether its law depends on the place in the block."""
        return bool(self.draft.ratios) and self.draft.ratios[0].ndim > 1

    @cached_property
    def chances(self) -> tuple[np.ndarray, ...]:
        """Acceptance [n] of each token: beta where it is known and the target samples, else the coin given the text."""
        if self.draft.betas is not None and not self.greedy:
            return self.draft.betas
        return tuple(np.minimum(np.atleast_2d(r)[0], 1) for r in self.draft.ratios)

    @property
    def drafted(self) -> tuple[np.ndarray, ...]:
        """Where there is a draft for a token at all, bool [n]."""
        if self.draft.lengths is None:
            return tuple(np.ones(text.tokens, dtype=bool) for text in self.texts)
        return tuple(lengths > 0 for lengths in self.draft.lengths)

    @cached_property
    def columns(self) -> tuple[np.ndarray, np.ndarray]:
        """What alpha divides, by conversation: accepted, and tested."""
        if not self.by_offset:
            accepted = [c[at].sum() for c, at in zip(self.chances, self.drafted, strict=True)]
            return self.by_unit(accepted), self.by_unit([at.sum() for at in self.drafted])
        counters = [Replay([r]).counters(self.k_max) for r in self.draft.ratios]
        tested = [self._tested(i) for i in range(len(self.texts))]
        return self.by_unit([c.accepted for c in counters]), self.by_unit(tested)

    def _tested(self, place: int) -> float:
        """Drafts that were tested: those accepted, and a rejected one wherever a round had more to offer."""
        ratios, lengths = self.draft.ratios[place], self.draft.lengths
        starts = Replay([ratios]).starts(self.k_max)[0]
        n = len(starts)
        depth = np.minimum(self.k_max, n - np.arange(n))
        depth = depth if lengths is None else np.minimum(depth, lengths[place])
        tested, survival = 0.0, starts.copy()
        for i in range(self.k_max):
            survival = survival * (depth > i)
            tested += survival.sum()
            coin = np.zeros(n)
            coin[: max(n - i, 0)] = np.minimum(ratios[i, i:], 1)
            survival = survival * coin
        return float(tested)

    @property
    def alpha(self) -> Estimate | None:
        """Acceptance of a tested draft, its interval clustered by text; None where nothing was drafted."""
        method = "accepted / tested over replayed rounds" if self.by_offset else "mean acceptance of a token"
        try:
            return ratio(*self.columns, method=method, bounds=(0.0, 1.0))
        except NotIdentifiable:
            return None

    def block_efficiency(self, k: int, rule: str = "token") -> Estimate:
        """Tokens per round."""
        tokens, rounds = self.by_unit(self.replay.tokens), self.by_unit(self.replay.rounds(k, rule))
        return ratio(tokens, rounds, method="tokens / replayed rounds", bounds=(1.0, k + 1.0))

    def speedup(self, k: int, pair: Pair, level: float = 0.95) -> Estimate | None:
        """Plain seconds over seconds at the table's prices, totals; None for a k whose forwards were not measured."""
        try:
            parts = priced(self.replay, self.draft, self.texts, pair, k)
        except Outside:
            return None
        plain, seconds = self.by_unit(parts.plain), self.by_unit(parts.seconds)
        return quotient([plain], [seconds], level, method="plain / replayed seconds at table prices")

    def block_gain(self, k: int) -> Estimate | None:
        """Rounds of the token rule over rounds of block verification, paired by text; None without a law to gain."""
        if self.greedy or self.draft.betas is None:
            return None
        token, block = (self.by_unit(self.replay.rounds(k, rule)) for rule in ("token", "block"))
        return ratio(token, block, method="rounds, token / block rule")

    def share(self, chosen: Sequence[np.ndarray]) -> Estimate | None:
        """Acceptance of (first) drafts over some tokens of each text, bool [n]; None where none were drafted."""
        chosen = [at & there for at, there in zip(chosen, self.drafted, strict=True)]
        sums = [float(chance[at].sum()) for chance, at in zip(self.chances, chosen, strict=True)]
        counts = [int(at.sum()) for at in chosen]
        if not any(counts):
            return None
        return ratio(self.by_unit(sums), self.by_unit(counts), method="mean acceptance of a token", bounds=(0.0, 1.0))

    def of(self, keep: Callable[[Text], bool]) -> "DraftProfile":
        """The same draft over some of the texts."""
        places = [i for i, text in enumerate(self.texts) if keep(text)]
        return DraftProfile(self.draft.of(places), tuple(self.texts[i] for i in places), self.greedy, self.k_max)


@dataclass(frozen=True)
class Scored:
    """Texts, what scoring said of them, the drafts over them, and under what they were scored."""

    target: str
    sampler: Sampler
    texts: tuple[Text, ...]
    scores: tuple[Score, ...]
    drafts: tuple[DraftScores, ...]

    @property
    def greedy(self) -> bool:
        """Whether the target takes the likeliest token."""
        return self.sampler.temperature == 0

    def profiles(self, k_max: int) -> list[DraftProfile]:
        """One for each draft."""
        return [DraftProfile(draft, self.texts, self.greedy, k_max) for draft in self.drafts]


@dataclass(frozen=True, eq=False)
class Origin:
    """Whether the texts can be the target's own: tokens it could not have written, ties, and a test of the rest.

    e = mean over t of prod_j p(x_j)^t / E p^t has mean 1 over the target's own texts, whatever their laws and however
    many tokens they have, so that P(e >= 1 / FALSE_ALARM) <= FALSE_ALARM (Markov; Ville for a text that grows): the
    test keeps its rate where a normal one does not, with few tokens or laws that are nearly certain. log_evidence is
    log e; z = sum (log p + entropy) / sqrt(sum varentropy), a standard normal in long texts, says how far and where to.
    """

    tokens: int
    foreign: int
    ties: int
    widest_tie: float
    z: float | None
    log_evidence: float

    @property
    def own(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.foreign and self.log_evidence < -math.log(FALSE_ALARM)


def origin(scores: Sequence[Score], *, greedy: bool) -> Origin:
    """Hold scored texts against the target."""
    own, tied, gap = (np.concatenate([getattr(s, name) for s in scores]) for name in ("own", "tied", "gap"))
    spread = sum(float(s.varentropy.sum()) for s in scores)
    z = None
    if not greedy and spread > 0:
        z = sum(float((s.logp + s.entropy)[s.own].sum()) for s in scores) / spread**0.5
    widest = float(gap[tied].max()) if tied.any() else 0.0
    evidence = np.logaddexp.reduce(sum(s.evidence for s in scores)) - math.log(len(TILTS))
    return Origin(len(own), int((~own & ~tied).sum()), int(tied.sum()), widest, z, float(evidence))


def pairs(profiles: Sequence[DraftProfile]) -> list[tuple[str, str, Estimate]]:
    """alpha of a draft minus that of another on the same texts, paired by text, the higher one first."""
    ranked = sorted((p for p in profiles if p.alpha), key=lambda p: -(p.alpha.value if p.alpha else 0.0))
    return [(a.draft.name, b.draft.name, _apart(a, b)) for a, b in combinations(ranked, 2)]


def _apart(a: DraftProfile, b: DraftProfile) -> Estimate:
    """alpha of one minus that of another, which lies in -1 to 1."""
    found = difference(*a.columns, *b.columns, method="difference of alpha, paired by text")
    return replace(found, low=max(found.low, -1.0), high=min(found.high, 1.0))


def by_position(profile: DraftProfile) -> list[tuple[Band, Estimate | None]]:
    """Acceptance by place in the response."""
    places = [np.arange(1, text.tokens + 1) for text in profile.texts]
    return [(band, profile.share([_within(at, band) for at in places])) for band in BANDS]


def by_context(profile: DraftProfile) -> list[tuple[Band, DraftProfile]]:
    """The texts by length of their prompt; bands without one are left out."""
    found = [(band, profile.of(lambda t, b=band: bool(_within(len(t.context), b)))) for band in CONTEXTS]  # type: ignore[misc]
    return [(band, part) for band, part in found if part.texts]


def by_copy(profile: DraftProfile) -> tuple[float, Estimate | None, Estimate | None]:
    """Share of tokens copyable from the prompt, and acceptance on these and on the others."""
    right = [copyable(text)[1] for text in profile.texts]
    share = float(np.concatenate(right).mean())
    return share, profile.share(right), profile.share([~at for at in right])


def _within(value: np.ndarray | int, band: Band) -> np.ndarray:
    low, high = band
    return np.asarray((value >= low) & (value <= (high or np.inf)))
