"""A target with and without its draft: the one place where the lossless test gets its texts from."""

from collections.abc import Sequence
from functools import partial

from validate.arrays import Arrays
from validate.clock import Clock
from validate.costs import FREE
from validate.decoder import Decoder
from validate.drafters import Drafter, Lookup, ModelDraft, Nothing
from validate.model import Model
from validate.models import Models, Settings
from validate.names import EARLY
from validate.rows import Request

PLAIN, SPEC = "plain", "spec"
ROWS, CELLS = 32, 1 << 24  # texts side by side, and logits [rows, k + 1, V] of one verification, at most


class Pair:
    """Both decoders over one target as `specmath run` has them, but `rows` texts side by side, for prompts of at most
    `longest` tokens.
    """

    def __init__(self, models: Models, settings: Settings, longest: int) -> None:
        ((draft, k),) = settings.cells
        self.rows = max(1, min(ROWS, CELLS // ((k + 1) * models.vocabulary)))
        capacity = longest + settings.budget
        window = capacity if settings.device.startswith("cuda") else None
        placed = partial(Model, capacity=capacity, vocabulary=models.vocabulary, rows=self.rows, window=window)
        target = placed(models.target)
        arrays = Arrays.on(target.device)
        drafter: Drafter = Lookup(arrays, models.vocabulary)
        if draft not in FREE:
            borrowed = target if draft.startswith(EARLY) else None
            drafter = ModelDraft(arrays, placed(models.drafts[draft], borrowed=borrowed), settings.sampler)
        shared = settings.sampler, Clock(settings.device), models.target.eos
        plain = Decoder(target, Nothing(arrays, models.vocabulary), *shared, k=0)
        self._decoders = {PLAIN: plain, SPEC: Decoder(target, drafter, *shared, k=k)}

    def texts(self, arm: str, requests: Sequence[Request]) -> list[list[int]]:
        """The tokens that one decoder gives for each request."""
        made = dict(self._decoders[arm].decode(requests))
        return [made[number].tokens for number in range(len(requests))]
