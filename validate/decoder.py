"""Plain and speculative generation: one round, written once.

A round drafts d <= k tokens, verifies them in one forward over the last committed token and the drafts, and
emits the accepted ones and one more: the recovered token after a rejection, else the bonus. Plain decoding
is the same round with d = 0.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from specmath.acceptor import Verdict, draw, verify
from validate.clock import Clock
from validate.drafters import NO_NUMBERS, Drafter, Proposal, law
from validate.model import Model
from validate.sampler import Sampler


@dataclass(frozen=True)
class Round:
    """What one round did: counts in tokens, times in seconds, `context` the tokens committed before it.

    Drafts that EOS cut off count neither as drafted nor as accepted, they are censored, not rejected; `proposed`
    counts them too, since they were drafted and verified.
    `beta` holds sum_x min(p, q) at every tested draft when the target samples; None when it is greedy.
    """

    context: int
    proposed: int
    drafted: int
    accepted: int
    emitted: tuple[int, ...]
    beta: tuple[float, ...] | None
    draft_s: float
    verify_s: float
    accept_s: float
    end: str | None


@dataclass(frozen=True)
class Streams:
    """Three independent sources of uniforms: drafting, accepting, and the recovered or bonus token."""

    draft: np.random.Generator
    accept: np.random.Generator
    recover: np.random.Generator

    @staticmethod
    def seeded(seed: int) -> "Streams":
        """Streams spawned from one seed."""
        return Streams(*map(np.random.default_rng, np.random.SeedSequence(seed).spawn(3)))


class Generation:
    """One prompt being continued: `tokens` so far, the first of them made by the prefill, which is no round."""

    def __init__(self, decoder: "Decoder", prompt: Sequence[int], budget: int, seed: int) -> None:
        self._decoder = decoder
        self._streams = Streams.seeded(seed)
        self._budget = budget
        self._committed = list(prompt)
        self._prompt_length = len(prompt)
        started = decoder.clock.now()
        with self._placed():
            self._commit([decoder.prefill(prompt, self._streams)])
        self.prefill_s = decoder.clock.now() - started

    @property
    def tokens(self) -> list[int]:
        """Generated tokens."""
        return self._committed[self._prompt_length :]

    @property
    def end(self) -> str | None:
        """Why the generation is over: eos or budget; None while it is not."""
        if self._committed[-1] in self._decoder.eos:
            return "eos"
        return "budget" if len(self.tokens) >= self._budget else None

    def rounds(self) -> Iterator[Round]:
        """Decode until EOS or budget, yielding every round as it happens."""
        while self.end is None:
            with self._placed():
                done = self._round()
            yield done

    @contextmanager
    def _placed(self) -> Iterator[None]:
        """Say at which position of the sequence something was wrong."""
        try:
            yield
        except ValueError as error:
            raise ValueError(f"position {len(self._committed)}: {error}") from error

    def _round(self) -> Round:
        decoder, context = self._decoder, len(self._committed)
        k = min(decoder.k, self._budget - len(self.tokens) - 1)
        started = decoder.clock.now()
        proposal = decoder.drafter.propose(self._committed, k, self._streams.draft)
        drafting_done = decoder.clock.now()
        logits = decoder.target.forward([self._committed[-1], *proposal.tokens])
        verifying_done = decoder.clock.now()
        emitted, accepted, beta = decoder.judge(logits, proposal, self._streams)
        kept = self._commit(emitted)
        proposed = len(proposal.tokens)
        accepted, drafted = (accepted, proposed) if kept == len(emitted) else (kept, kept)
        decoder.target.rewind(len(self._committed) - 1)
        return Round(
            context=context,
            proposed=proposed,
            drafted=drafted,
            accepted=accepted,
            emitted=tuple(emitted[:kept]),
            beta=None if beta is None else beta[:drafted],
            draft_s=drafting_done - started,
            verify_s=verifying_done - drafting_done,
            accept_s=decoder.clock.now() - verifying_done,
            end=self.end,
        )

    def _commit(self, tokens: list[int]) -> int:
        """Append tokens up to and including the first EOS; how many were kept."""
        kept = next((i + 1 for i, token in enumerate(tokens) if token in self._decoder.eos), len(tokens))
        self._committed += tokens[:kept]
        return kept


@dataclass(frozen=True)
class Decoder:
    """A target, a drafter, and the sampler that both obey; k drafts per round, k = 0 or no drafter being plain."""

    target: Model
    drafter: Drafter
    sampler: Sampler
    clock: Clock
    eos: frozenset[int]
    k: int

    def start(self, prompt: Sequence[int], *, budget: int, seed: int) -> Generation:
        """Prefill a prompt and draw the first token; raises ValueError where prompt and budget do not fit."""
        if not prompt:
            raise ValueError("the prompt is empty; expected at least one token")
        if len(prompt) + budget > self.target.capacity:
            raise ValueError(
                f"a prompt of {len(prompt)} tokens and {budget} new ones do not fit the context of "
                f"{self.target.capacity} tokens; shorten the prompt or lower the budget"
            )
        return Generation(self, prompt, budget, seed)

    def prefill(self, prompt: Sequence[int], streams: Streams) -> int:
        """Take in the prompt; the token drawn after it."""
        self.target.rewind(0)
        self.drafter.start(prompt)
        arrays = self.drafter.arrays
        p = law(self.sampler, arrays, self.target.forward(prompt, keep=1), self.target.name)[-1]
        first = int(draw(p, arrays.uniforms(streams.recover.random()), xp=arrays.xp))
        if first < 0:
            raise ValueError(NO_NUMBERS.format(self.target.name))
        return first

    @torch.inference_mode()
    def judge(self, logits: torch.Tensor, proposal: Proposal, streams: Streams) -> tuple[list[int], int, tuple | None]:
        """Emitted tokens, how many of them are accepted drafts, and beta where the target samples."""
        arrays = self.drafter.arrays
        p = law(self.sampler, arrays, logits, self.target.name)
        verdict = verify(
            arrays.tokens(proposal.tokens),
            proposal.q,
            p,
            arrays.uniforms(streams.accept.random(len(proposal.tokens))),
            arrays.uniforms(streams.recover.random()),
            xp=arrays.xp,
        )
        accepted = int(verdict.accepted)
        if accepted < 0:
            culprit = self.drafter.name if bool(torch.isfinite(logits).all()) else self.target.name
            raise ValueError(NO_NUMBERS.format(culprit))
        return verdict.tokens[: accepted + 1].tolist(), accepted, self._beta(p, proposal, verdict)

    def _beta(self, p: Any, proposal: Proposal, verdict: Verdict) -> tuple[float, ...] | None:
        if self.sampler.temperature == 0:
            return None
        tested, xp = min(int(verdict.accepted) + 1, len(proposal.tokens)), self.drafter.arrays.xp
        return tuple(xp.sum(xp.minimum(p[:tested], proposal.q[:tested]), axis=-1).tolist())
