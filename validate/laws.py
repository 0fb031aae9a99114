"""The laws that tokens of finished texts should have had, by forwards without a cache.

Nothing of the decoder is in them but the weights and `specmath.sampling.warp`, so that what a cache, a rollback or a
wrong row does to a decoder's own laws is seen here.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from validate.loading import Loaded
from validate.mismatch import scale_of, tie
from validate.sampler import Sampler

CELLS = 1 << 24  # logits of one forward, of more than one text, at most


class Laws:
    """One model's logits and laws over texts behind their prompts, on the first `vocabulary` ids.

    Raises ValueError for logits that are no numbers.
    """

    def __init__(self, loaded: Loaded, vocabulary: int, sampler: Sampler) -> None:
        self._network, self._vocabulary, self._sampler = loaded.network, vocabulary, sampler
        self._rows = loaded.rows
        self._name, self.dtype = loaded.name, str(loaded.network.dtype).removeprefix("torch.")

    def logits(self, prompts: Sequence[Sequence[int]], texts: Sequence[Sequence[int]]) -> np.ndarray:
        """Float32 logits [tokens of all texts, vocabulary] that each token was drawn after, text by text."""
        parts = [self._scored(prompts[part], texts[part]) for part in _parts(prompts, texts, self._rows)]
        return np.concatenate(parts)

    @torch.inference_mode()
    def _scored(self, prompts: Sequence[Sequence[int]], texts: Sequence[Sequence[int]]) -> np.ndarray:
        """The same of texts that fit one forward; what is behind a text is padding, which no token before it sees."""
        rows = [[*prompt, *text[:-1]] for prompt, text in zip(prompts, texts, strict=True)]
        width, keep = _shape(prompts, texts)
        network: Any = self._network
        ids = torch.tensor([row + row[-1:] * (width - len(row)) for row in rows], device=network.device)
        found = network(input_ids=ids, use_cache=False, logits_to_keep=keep).logits[..., : self._vocabulary]
        firsts = [len(prompt) - 1 - (width - keep) for prompt in prompts]
        columns = zip(found, firsts, texts, strict=True)
        own = torch.cat([row[first : first + len(text)] for row, first, text in columns]).float().cpu()
        if not bool(torch.isfinite(own).all()):
            raise ValueError(f"the logits of {self._name} hold NaN or infinity; expected numbers: try another dtype")
        return own.numpy()

    def law(self, logits: np.ndarray) -> np.ndarray:
        """Probabilities of logits under the sampler."""
        return self._sampler(logits, xp=np)

    def rounded(self, logits: np.ndarray) -> np.ndarray:
        """The same of logits in bfloat16."""
        return self.law(torch.as_tensor(logits).bfloat16().float().numpy())

    def tied(self, logits: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """Which tokens [n] the law excludes that it would not, were every likelier logit lower by a tie."""
        own = np.take_along_axis(logits, tokens[:, None], axis=1)
        likelier = logits > own
        widest = np.array([tie(self.dtype, scale) for scale in scale_of(logits).tolist()])
        nearer = np.where(likelier, logits - widest[:, None], logits).astype(logits.dtype)
        return np.take_along_axis(self.law(nearer), tokens[:, None], axis=1)[:, 0] > 0


def _shape(prompts: Sequence[Sequence[int]], texts: Sequence[Sequence[int]]) -> tuple[int, int]:
    """(tokens of the longest row, how many of the last have logits that are asked for in some row)."""
    width = max(len(prompt) + len(text) for prompt, text in zip(prompts, texts, strict=True)) - 1
    return width, width - min(map(len, prompts)) + 1


def _parts(prompts: Sequence[Sequence[int]], texts: Sequence[Sequence[int]], rows: int) -> Iterator[slice]:
    """Runs of texts whose logits are at most CELLS together, of one text at least."""
    start = 0
    for stop in range(1, len(texts) + 1):
        wide = slice(start, stop + 1)
        if stop == len(texts) or (stop + 1 - start) * _shape(prompts[wide], texts[wide])[1] * rows > CELLS:
            yield slice(start, stop)
            start = stop
