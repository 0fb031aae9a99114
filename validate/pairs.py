"""A target with and without its draft: the one place where the lossless test gets its texts from."""

from collections.abc import Sequence
from typing import Any

from validate.arrays import Arrays
from validate.clock import Clock
from validate.costs import FREE
from validate.decoder import Decoder
from validate.drafters import Drafter, Lookup, ModelDraft, Nothing
from validate.model import Model
from validate.models import Models, Settings
from validate.names import EARLY

PLAIN, SPEC = "plain", "spec"
Request = tuple[Sequence[int], int]


class Pair:
    """Both decoders over one target as `specmath run` has them, for prompts of at most `longest` tokens."""

    def __init__(self, models: Models, settings: Settings, longest: int) -> None:
        self._settings, capacity, vocabulary = settings, longest + settings.budget, models.vocabulary
        window = capacity if settings.device.startswith("cuda") else None
        shaped: dict[str, Any] = {"capacity": capacity, "vocabulary": vocabulary, "window": window}
        target = Model(models.target, **shaped)
        arrays = Arrays.on(target.device)
        ((draft, k),) = settings.cells
        drafter: Drafter = Lookup(arrays, vocabulary)
        if draft not in FREE:
            lender = target if draft.startswith(EARLY) else None
            drafter = ModelDraft(arrays, Model(models.drafts[draft], **shaped, borrowed=lender), settings.sampler)
        shared = settings.sampler, Clock(settings.device), models.target.eos
        plain = Decoder(target, Nothing(arrays, vocabulary), *shared, k=0)
        self._decoders = {PLAIN: plain, SPEC: Decoder(target, drafter, *shared, k=k)}

    def texts(self, arm: str, requests: Sequence[Request]) -> list[list[int]]:
        """The tokens that one decoder gives for each prompt and seed."""
        return [self._text(self._decoders[arm], prompt, seed) for prompt, seed in requests]

    def _text(self, decoder: Decoder, prompt: Sequence[int], seed: int) -> list[int]:
        generation = decoder.start(prompt, budget=self._settings.budget, seed=seed)
        for _ in generation.rounds():
            pass
        return generation.tokens
