"""The scoring pass: texts under a target and its drafts, batched and teacher-forced, in bounded memory.

Texts of similar length are padded on the right: in a causal model what stands behind a token does not reach it. They
go through the models in pieces of columns behind a cache, so that the laws of one piece are all that is ever held,
whatever the vocabulary and however long the text.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from validate.arrays import Arrays
from validate.lines import TIE_LOGITS
from validate.loading import Loaded, common_vocabulary
from validate.model import Model, out_of_memory
from validate.sampler import Sampler
from validate.scores import COLUMNS, TILTS, DraftRow, Score
from validate.texts import Text

CELLS = 1 << 23  # logits of one piece of one model: 32 MB in float32, their laws in double precision beside them
ROWS = 16  # texts side by side at most
SIMILAR = 1.3  # longest over shortest of a batch


class Scorer:
    """A target and named model drafts, scoring texts under one sampler; `cells` logits are held at once at most.

    Raises ValueError naming model, prompt and position for logits that are no numbers, and for a text that fits no
    memory alone. Where memory runs out the batch is halved, which `say` is told.
    """

    def __init__(
        self,
        target: Loaded,
        drafts: Mapping[str, Loaded],
        sampler: Sampler,
        *,
        cells: int = CELLS,
        say: Callable[[str], None] = print,
    ) -> None:
        self.vocabulary = min([target.rows, *(common_vocabulary(target, draft) for draft in drafts.values())])
        self._loaded = {"target": target, **drafts}
        self._names = {"target": target.name} | {name: draft.name for name, draft in drafts.items()}
        self._sampler, self._cells, self._say, self._rows = sampler, cells, say, ROWS
        self._arrays = Arrays.on(target.network.device)
        self._tie = TIE_LOGITS[str(target.network.dtype).removeprefix("torch.")]

    def score(self, texts: Sequence[Text]) -> Iterator[Score]:
        """The scores of texts of at least two output tokens, batch by batch from the shortest to the longest."""
        waiting = sorted(texts, key=_length)
        while waiting:
            batch = _similar(waiting[: self._rows])
            try:
                yield from self._batch(batch)
            except (torch.OutOfMemoryError, RuntimeError) as error:
                self._halve(batch, error)
                continue
            waiting = waiting[len(batch) :]

    def _halve(self, batch: Sequence[Text], error: RuntimeError) -> None:
        if not out_of_memory(error):
            raise error
        if len(batch) == 1:
            text = f"prompt {batch[0].prompt!r} of {_length(batch[0])} tokens"
            raise ValueError(f"out of memory for {text} alone; use a shorter text or a smaller dtype") from error
        self._rows = len(batch) // 2
        self._say(f"out of memory with {len(batch)} texts side by side; going on with {self._rows}")

    def _batch(self, batch: Sequence[Text]) -> list[Score]:
        longest = max(map(_length, batch))
        shaped: dict[str, Any] = {"capacity": longest, "vocabulary": self.vocabulary, "rows": len(batch)}
        models = {name: Model(loaded, **shaped) for name, loaded in self._loaded.items()}
        rows = [[*text.context, *text.output] for text in batch]
        padded = [row + row[-1:] * (longest - len(row)) for row in rows]
        pieces: dict[str, list[np.ndarray]] = defaultdict(list)
        for start, stop, scored in _pieces(batch, longest, self._cells // self.vocabulary):
            tokens = [row[start:stop] for row in padded]
            first_kept, keep = (start, 0) if scored else (stop - 1, 1)
            logits = {n: self._checked(n, m.forward(tokens, keep=keep), batch, first_kept) for n, m in models.items()}
            if scored:
                following = torch.tensor([row[start + 1 : stop + 1] for row in padded], device=models["target"].device)
                for name, values in self._columns(logits, following).items():
                    pieces[name].append(values)
        first = min(len(text.context) for text in batch)
        whole = {name: np.concatenate(parts, axis=1) for name, parts in pieces.items()}
        return [self._score(text, {n: v[row] for n, v in whole.items()}, first) for row, text in enumerate(batch)]

    def _checked(self, name: str, logits: torch.Tensor, batch: Sequence[Text], start: int) -> torch.Tensor:
        """The logits, unless one of a text's own is no number."""
        bad = ~torch.isfinite(logits).all(dim=-1)
        if bool(bad.any()):
            for row, column in bad.nonzero().tolist():
                position = start + column
                if position < _length(batch[row]):
                    where = f"prompt {batch[row].prompt!r}, position {position}"
                    raise ValueError(
                        f"the logits of {self._names[name]} hold NaN or infinity at {where}; expected numbers: "
                        "try another dtype"
                    )
        return logits

    def _columns(self, logits: Mapping[str, torch.Tensor], following: torch.Tensor) -> dict[str, np.ndarray]:
        """What one piece says of the tokens that follow its columns, each [rows, columns], evidence [.., tilts]."""
        raw, at = logits["target"], following[..., None]
        laws = {name: self._law(values) for name, values in logits.items()}
        p = laws.pop("target")
        chance = p.gather(-1, at)[..., 0]
        least = raw.masked_fill(p <= 0, torch.inf).amin(dim=-1)
        columns = {"own": chance > 0, "gap": (least - raw.gather(-1, at)[..., 0]).clamp(min=0)}
        columns["tied"] = self._tied(raw, at, columns["own"])
        columns |= _likelihood(p, chance) if self._sampler.temperature else _certain(chance)
        for name, q in laws.items():
            beta = torch.minimum(p, q).sum(dim=-1).clamp(max=1)
            drawn = q.gather(-1, at)[..., 0]
            stand_in = beta if self._sampler.temperature else drawn
            columns |= {
                f"ratio {name}": torch.where(chance > 0, drawn / chance, stand_in),
                f"beta {name}": beta,
            }
        return {name: values.cpu().numpy() for name, values in columns.items()}

    def _tied(self, raw: torch.Tensor, at: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        """Tokens that the target could not write and could, were every likelier logit lower by what kernels may differ.

        The border of a truncated law, like the argmax of a greedy one, moves with the rounding of its logits.
        """
        tied = torch.zeros_like(own)
        if not bool(own.all()):
            logits, token = raw[~own], at[~own]
            nearer = torch.where(logits > logits.gather(-1, token), logits - self._tie, logits)
            tied[~own] = self._law(nearer).gather(-1, token)[..., 0] > 0
        return tied

    def _law(self, logits: torch.Tensor) -> torch.Tensor:
        """Probabilities of logits under the sampler, by the library that the decoder uses on this device."""
        warped: Any = self._sampler(self._arrays.native(logits), xp=self._arrays.xp)
        return torch.as_tensor(warped, device=logits.device).double()

    def _score(self, text: Text, rows: Mapping[str, np.ndarray], first: int) -> Score:
        """Cut the columns of one row to the text's own tokens; the column of a token is that of the one before it."""
        start = len(text.context) - first
        mine = {name: values[start : start + text.tokens] for name, values in rows.items()}
        drafts = {
            name: DraftRow(mine[f"ratio {name}"], mine[f"beta {name}"]) for name in self._loaded if name != "target"
        }
        columns = {name: mine[name] for name in COLUMNS}
        return Score(text.prompt, drafts=drafts, evidence=mine["evidence"].sum(axis=0), **columns)


def _likelihood(p: torch.Tensor, chance: torch.Tensor) -> dict[str, torch.Tensor]:
    """Columns of log p(x), and of log(p(x)^t / E p^t) for each tilt t; zero where p(x) is."""
    log = torch.where(p > 0, p, 1.0).log()
    entropy = -(p * log).sum(dim=-1)
    logp = torch.where(chance > 0, chance, 1.0).log()
    factors = [torch.where(chance > 0, t * logp - (p * (t * log).exp()).sum(dim=-1).log(), 0.0) for t in TILTS]
    varentropy = ((p * log * log).sum(dim=-1) - entropy**2).clamp(min=0)
    return {"logp": logp, "entropy": entropy, "varentropy": varentropy, "evidence": torch.stack(factors, dim=-1)}


def _certain(chance: torch.Tensor) -> dict[str, torch.Tensor]:
    """The same of a greedy target: every token that is its own was certain."""
    nothing = torch.zeros_like(chance)
    return dict.fromkeys(("logp", "entropy", "varentropy"), nothing) | {
        "evidence": nothing[..., None].expand(*nothing.shape, len(TILTS))
    }


def _length(text: Text) -> int:
    return len(text.context) + len(text.output)


def _similar(texts: Sequence[Text]) -> list[Text]:
    """As many of the first texts, sorted by length, as are of similar length."""
    return [text for text in texts if _length(text) <= SIMILAR * _length(texts[0]) + 1]


def _pieces(batch: Sequence[Text], longest: int, positions: int) -> list[tuple[int, int, bool]]:
    """(start, stop, scored) over the columns: first those that no output token follows, then those that one does.

    output[0] is given by the prefill, so the first column that is scored is that of output[0] in some row; the last
    column has nothing behind it.
    """
    width = max(positions // len(batch), 1)
    first = min(len(text.context) for text in batch)
    prompt = [(start, min(start + 4 * width, first), False) for start in range(0, first, 4 * width)]
    return prompt + [(start, min(start + width, longest - 1), True) for start in range(first, longest - 1, width)]
