"""What replayed rounds cost: the seconds of every text by the parts of a round, at the prices of a cost table."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from specmath.cost import Outside, Pair
from specmath.draft import Chain
from specmath.replay import Replay
from validate.scores import DraftScores
from validate.texts import Text


@dataclass(frozen=True, eq=False)
class Parts:
    """Expected seconds [P] of each text's rounds by part, their number [P], and plain decoding's seconds [P]."""

    rounds: np.ndarray
    draft: np.ndarray
    verify: np.ndarray
    overhead: np.ndarray
    plain: np.ndarray

    @property
    def seconds(self) -> np.ndarray:
        """draft + verify + overhead, [P]."""
        return self.draft + self.verify + self.overhead


def priced(replay: Replay, draft: DraftScores, texts: Sequence[Text], pair: Pair, k: int) -> Parts:
    """Sum over the tokens at which rounds start of the chance that one does times what it costs there.

    A round drafts min(k, what the draft has, what is left before the budget); one that drafts nothing is a plain
    step. A draft model whose drafts were all accepted has not read its own last token: the round after begins with a
    forward over two. Raises Outside for a forward that the table never measured; where the budget alone cut a round
    short, its verification is priced at the next larger number of tokens that was measured, up to k + 1.
    """
    starts, behind_all = replay.starts(k), replay.full(k)
    lengths = draft.lengths or (None,) * len(texts)
    columns = [_text(text, lengths[i], starts[i], behind_all[i], pair, k) for i, text in enumerate(texts)]
    if not np.isfinite(columns).all():
        deepest, longest = k + 1, max(len(text.context) + len(text.output) for text in texts)
        asked = f"up to {deepest} tokens after contexts up to {longest}"
        raise Outside(f"k={k}: found no measurement for some forwards of {asked}; measure them: specmath cost")
    return Parts(*np.array(columns).reshape(-1, 5).T)


def _text(
    text: Text, lengths: np.ndarray | None, starts: np.ndarray, late: np.ndarray, pair: Pair, k: int
) -> list[float]:
    """rounds, draft, verify, overhead, plain of one text."""
    n = text.tokens
    left = n - 1 - np.arange(n) if text.end == "budget" else np.full(n, k)
    wanted = np.full(n, k) if lengths is None else np.minimum(k, lengths)
    depth = np.minimum(wanted, left)
    context = len(text.context) + 1 + np.arange(n)
    plain = pair.target.seconds(np.ones(n, dtype=int), batch=1, context=context)
    draft, verify, overhead = (plain * starts * (depth == 0)) * np.array([[0.0], [1.0], [0.0]])
    for d in np.unique(depth[(starts > 0) & (depth > 0)]).tolist():
        at = depth == d
        time = pair.round(Chain(d), batch=1, context=context[at])
        verified = _verified(pair, time.verify, d, np.where(depth < wanted, k, d)[at], context[at])
        for part, seconds in ((draft, time.draft), (verify, verified), (overhead, time.overhead)):
            part[at] += starts[at] * seconds
    if pair.draft is not None:
        two, one = (pair.draft.seconds(np.full(n, m), batch=1, context=context) for m in (2, 1))
        draft = draft + late * (two - one) * (depth > 0)
    return [starts.sum(), draft.sum(), verify.sum(), overhead.sum(), plain.sum()]


def _verified(pair: Pair, seconds: np.ndarray, d: int, most: np.ndarray, context: np.ndarray) -> np.ndarray:
    """Seconds of verifying d drafts; where they are NaN, of the fewest drafts up to `most` that were measured there."""
    for deeper in range(d + 1, int(most.max()) + 1):
        lacking = np.isnan(seconds) & (deeper <= most)
        if not lacking.any():
            break
        seconds = np.where(lacking, pair.target.seconds(deeper + 1, batch=1, context=context), seconds)
    return seconds
