"""The laws that tokens of finished texts should have had, by forwards without a cache.

Nothing of the decoder is in them but the weights and `specmath.sampling.warp`, so that what a cache, a rollback or a
wrong row does to a decoder's own laws is seen here.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from validate.loading import Loaded
from validate.mismatch import tie
from validate.sampler import Sampler


class Laws:
    """One model's logits and laws over texts of one prompt, on the first `vocabulary` ids.

    Raises ValueError for logits that are no numbers.
    """

    def __init__(self, loaded: Loaded, vocabulary: int, sampler: Sampler) -> None:
        self._network, self._vocabulary, self._sampler = loaded.network, vocabulary, sampler
        self._name, self.dtype = loaded.name, str(loaded.network.dtype).removeprefix("torch.")

    @torch.inference_mode()
    def logits(self, prompt: Sequence[int], texts: Sequence[Sequence[int]]) -> np.ndarray:
        """Float32 logits [tokens of all texts, vocabulary] that each token was drawn after, text by text."""
        longest = max(map(len, texts))
        rows = [[*prompt, *text, *[prompt[-1]] * (longest - len(text))] for text in texts]
        network: Any = self._network
        ids = torch.tensor(rows, device=network.device)
        found = network(input_ids=ids, use_cache=False, logits_to_keep=longest + 1).logits
        found = found[:, :-1, : self._vocabulary].float().cpu()
        own = torch.cat([row[: len(text)] for row, text in zip(found, texts, strict=True)])
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
        widest = np.array([tie(self.dtype, scale) for scale in abs(logits).max(axis=1).tolist()])
        nearer = np.where(likelier, logits - widest[:, None], logits).astype(logits.dtype)
        return np.take_along_axis(self.law(nearer), tokens[:, None], axis=1)[:, 0] > 0
