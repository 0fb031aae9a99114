"""What scoring says of a text, token by token: how likely it was to the target and to each draft."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

FORMAT, VERSION, FILE = "specmath.scores", 2, "scores.jsonl"
COLUMNS = ("logp", "entropy", "varentropy", "own", "tied", "gap")
TILTS = (-0.5, -0.25, -0.0625, 0.0625, 0.25, 0.5)  # powers of p: text less likely than the target's own, and more


@dataclass(frozen=True, eq=False)
class DraftRow:
    """One model draft on one text: ratio = q(x) / p(x), not clipped, and beta = sum min(p, q), each [n]."""

    ratio: np.ndarray
    beta: np.ndarray


@dataclass(frozen=True, eq=False)
class Score:
    """One text under the sampler, arrays [n] over its tokens after the first, and a row for each model draft.

    logp        log p(x_j); entropy and varentropy of p, its mean and variance being -entropy and varentropy
    own         p(x_j) > 0: the target could have written the token; greedy, that it is the argmax
    tied        it could not, and could if likelier logits were lower by what kernels may differ
    gap         the least logit that the target could have written minus that of x_j; 0 where that is its own
    evidence    sum_j log(p(x_j)^t / E p^t) for each t of TILTS: exp of it has mean 1 over the target's own texts
    Where a token is not the target's own the ratio of a sampled draft is its beta, which stands in for it.
    """

    prompt: str
    logp: np.ndarray
    entropy: np.ndarray
    varentropy: np.ndarray
    own: np.ndarray
    tied: np.ndarray
    gap: np.ndarray
    evidence: np.ndarray
    drafts: Mapping[str, DraftRow]


@dataclass(frozen=True, eq=False)
class DraftScores:
    """One draft on every text: ratios [n], or [K, n] by offset; the drafts it has from each token; beta if known.

    lengths [n] holds how many tokens a round from there would draft at most; None where that is always k.
    """

    name: str
    rule: str
    ratios: tuple[np.ndarray, ...]
    betas: tuple[np.ndarray, ...] | None = None
    lengths: tuple[np.ndarray, ...] | None = None

    def of(self, places: Sequence[int]) -> "DraftScores":
        """The same draft on some of the texts."""
        betas, lengths = (column and tuple(column[i] for i in places) for column in (self.betas, self.lengths))
        return DraftScores(self.name, self.rule, tuple(self.ratios[i] for i in places), betas, lengths)


def model_draft(scores: Iterable[Score], name: str, rule: str) -> DraftScores:
    """The rows of one model draft over all texts."""
    rows = [score.drafts[name] for score in scores]
    return DraftScores(name, rule, tuple(r.ratio for r in rows), tuple(r.beta for r in rows))


def record(score: Score) -> dict[str, Any]:
    """A score as a line of scores.jsonl."""
    drafts = {name: {"ratio": row.ratio.tolist(), "beta": row.beta.tolist()} for name, row in score.drafts.items()}
    columns = {name: getattr(score, name).tolist() for name in (*COLUMNS, "evidence")}
    return {"prompt": score.prompt, **columns, "drafts": drafts}


def of_record(line: Mapping[str, Any]) -> Score:
    """The score that a line holds; ValueError where it holds none."""
    try:
        kinds = dict.fromkeys((*COLUMNS, "evidence"), float) | {"own": bool, "tied": bool}
        columns = {name: np.array(line[name], dtype=kind) for name, kind in kinds.items()}
        drafts = {
            name: DraftRow(np.array(row["ratio"], dtype=float), np.array(row["beta"], dtype=float))
            for name, row in line["drafts"].items()
        }
        return Score(line["prompt"], drafts=drafts, **columns)
    except (KeyError, TypeError, AttributeError):
        raise ValueError("found no score of a text, expected those that specmath profile wrote: score anew") from None
