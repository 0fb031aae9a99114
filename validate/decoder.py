"""Plain and speculative generation: one round, written once, for one sequence or many side by side.

A round drafts d <= k tokens, verifies them in one forward over the last committed token and the drafts, and
emits the accepted ones and one more: the recovered token after a rejection, else the bonus. Plain decoding
is the same round with d = 0. Side by side every row has its own d, accepted length, position, seed and law.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch

from specmath.acceptor import draw, verify
from validate.clock import Clock
from validate.drafters import Drafter, Proposal
from validate.model import Model, out_of_memory
from validate.rounds import Judged, Round, recorded
from validate.rows import Request, Row, in_the_text, laws, no_numbers, stacked
from validate.sampler import Sampler


@dataclass(frozen=True)
class Decoder:
    """A target, a drafter, and an acceptance rule; k drafts per round, k = 0 or no drafter being plain.

    `sampler` is that of requests made by `start`. A `rule` other than `verify` decides what the text's law is.
    """

    target: Model
    drafter: Drafter
    sampler: Sampler
    clock: Clock
    eos: frozenset[int]
    k: int
    rule: Callable[..., Any] = verify

    def start(self, prompt: Sequence[int], *, budget: int, seed: int) -> "Generation":
        """Prefill a prompt and draw the first token; raises ValueError where prompt and budget do not fit."""
        return Generation(self, Request(prompt, budget, seed, self.sampler))

    def decode(self, requests: Iterable[Request]) -> Iterator[tuple[int, Row]]:
        """Continue all requests, as many side by side as the target has slots; each with its number as it is done.

        A row that is over leaves, and the next request takes its place. Where memory runs out half of the rows are set
        aside and go on later, fewer side by side: their tokens are the same. One row that fits no memory raises.
        """
        batch, numbers, waiting = Batch(self), dict[Row, int](), enumerate(requests)
        while True:
            for number, request in islice(waiting, batch.free):
                numbers[batch.wait(Row(request, self.eos))] = number
            if not numbers:
                return
            batch.advance()
            for row in [row for row in numbers if row.end]:
                yield numbers.pop(row), row

    @torch.inference_mode()
    def judge(self, logits: torch.Tensor, proposal: Proposal, rows: Sequence[Row], ks: Sequence[int]) -> list[Judged]:
        """The verdict on each row's drafts; logits [B, K + 1, V] follow the last committed token and the drafts."""
        arrays, depth = self.drafter.arrays, proposal.tokens.shape[1]
        drafts = in_the_text(rows, proposal.tokens, proposal.drafted)
        p = laws(rows, arrays, logits, self.target.name, drafts)
        coins = [row.coins(k) for row, k in zip(rows, ks, strict=True)]
        verdict = self.rule(
            proposal.tokens,
            proposal.q,
            p,
            arrays.uniforms(stacked([coin.accept[:depth] for coin in coins], depth)),
            arrays.uniforms([coin.recover for coin in coins]),
            xp=arrays.xp,
            drafted=arrays.tokens(proposal.drafted),
        )
        accepted = verdict.accepted.tolist()
        if min(accepted) < 0:
            culprit = self.drafter.name if bool(torch.isfinite(logits).all()) else self.target.name
            raise no_numbers(culprit, [r for r, n in enumerate(accepted) if n < 0], len(rows))
        emitted = (tokens[: n + 1] for tokens, n in zip(verdict.tokens.tolist(), accepted, strict=True))
        return list(map(Judged, emitted, accepted, self._betas(p, proposal, rows, accepted)))

    def _betas(
        self, p: Any, proposal: Proposal, rows: Sequence[Row], accepted: Sequence[int]
    ) -> list[tuple[float, ...] | None]:
        """sum_x min(p, q) of each row at the drafts that were tested."""
        samples = [row.request.sampler.temperature > 0 for row in rows]
        if not any(samples):
            return [None] * len(rows)
        xp, tested = self.drafter.arrays.xp, list(map(min, [n + 1 for n in accepted], proposal.drafted))
        most = max(tested)
        overlaps = xp.sum(xp.minimum(p[:, :most], proposal.q[:, :most]), axis=-1).tolist()
        return [tuple(overlaps[r][: tested[r]]) if samples[r] else None for r in range(len(rows))]


class Batch:
    """Sequences decoded side by side, each in a slot of the models; `rows` are those that are not over.

    A round that fails, whatever the reason, leaves every row as it was committed, and can be repeated: the coins are
    the same.
    """

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder
        self.rows: list[Row] = []
        self._width = len(decoder.target.lengths)
        self._aside: list[Row] = []

    @property
    def free(self) -> int:
        """Slots that no row has and none waits for."""
        return max(0, self._width - len(self.rows) - len(self._aside))

    def wait(self, row: Row) -> Row:
        """Let a row wait for its slot, to be added as the batch advances."""
        self._aside.append(row)
        return row

    def add(self, row: Row) -> Row:
        """Prefill a row and draw its first token, unless it has some; raises ValueError where it does not fit."""
        decoder, prompt, slot = self.decoder, row.request.prompt, len(self.rows)
        if not prompt:
            raise ValueError("the prompt is empty; expected at least one token")
        if row.request.budget < 1:
            raise ValueError(f"the budget is {row.request.budget}; expected at least one token")
        if len(prompt) + row.request.budget > decoder.target.capacity:
            raise ValueError(
                f"a prompt of {len(prompt)} tokens and {row.request.budget} new ones do not fit the context of "
                f"{decoder.target.capacity} tokens; shorten the prompt or lower the budget"
            )
        started = decoder.clock.now()
        with _placed([row]):
            self._prefill(row, slot)
        row.prefill_s += decoder.clock.now() - started
        if row.end is None:
            self.rows.append(row)
        return row

    def round(self) -> list[tuple[Row, Round]]:
        """One round of every row; those that it ends leave."""
        self._settle()
        rows = list(self.rows)
        try:
            with _placed(rows):
                done = self._round(rows) if rows else []
        finally:
            self._settle()
        return list(zip(rows, done, strict=True))

    def advance(self) -> None:
        """A round of as many rows as the memory holds, the others set aside until there is room."""
        while self._aside and len(self.rows) < self._width:
            with self._or_with(len(self.rows)):
                self.add(self._aside[0])
                del self._aside[0]
        if self.rows:
            with self._or_with(len(self.rows) // 2):
                self.round()

    @contextmanager
    def _or_with(self, fewer: int) -> Iterator[None]:
        """Where memory runs out go on with fewer rows, and set the others aside; raise where none is left."""
        try:
            yield
        except RuntimeError as error:
            if not out_of_memory(error) or fewer == 0:
                raise
            self._width = fewer
            self._aside = self.rows[fewer:] + self._aside
            self.rows = self.rows[:fewer]

    def _prefill(self, row: Row, slot: int) -> None:
        target, drafter = self.decoder.target, self.decoder.drafter
        target.clear(slot)
        read = row.committed[:-1] if row.made else row.committed
        drafter.start(read, slot)
        logits = target.forward(read, keep=1, slot=slot)
        if not row.made:
            p = laws([row], drafter.arrays, logits[None], target.name, [[]])[0, -1]
            first = int(draw(p, drafter.arrays.uniforms(row.coins(0).recover), xp=drafter.arrays.xp))
            if first < 0:
                raise no_numbers(target.name, [0], 1)
            row.commit([first])

    def _round(self, rows: Sequence[Row]) -> list[Round]:
        decoder, clock = self.decoder, self.decoder.clock
        ks = [row.room(decoder.k) for row in rows]
        marks = [clock.mark()]
        proposal = decoder.drafter.propose(rows, ks)
        marks.append(clock.mark())
        logits = self._verify(rows, proposal)
        marks.append(clock.mark())
        judged = decoder.judge(logits, proposal, rows, ks)
        contexts = [len(row.committed) for row in rows]
        kept = [row.commit(verdict.emitted) for row, verdict in zip(rows, judged, strict=True)]
        marks.append(clock.mark())
        times = tuple(map(clock.between, marks, marks[1:]))
        columns = zip(rows, contexts, proposal.drafted, judged, kept, strict=True)
        return [recorded(*column, times) for column in columns]

    def _verify(self, rows: Sequence[Row], proposal: Proposal) -> torch.Tensor:
        """Logits [B, K + 1, V] behind the last committed token of each row and its drafts."""
        arrays = self.decoder.drafter.arrays
        last = arrays.tokens([row.committed[-1] for row in rows])[:, None]
        ids = arrays.torch(arrays.xp.concat([last, proposal.tokens], axis=1))
        return self.decoder.target.forward(ids, counts=[drafted + 1 for drafted in proposal.drafted])

    def _settle(self) -> None:
        """Rows that are over leave, the cache of the others is that of their text; done again where it was stopped."""
        target = self.decoder.target
        for slot, row in reversed(list(enumerate(self.rows))):
            if row.end:
                target.rewind(target.agreed(len(row.committed) - 1, slot), slot)
                self._leave(slot)
        for slot, row in enumerate(self.rows):
            target.rewind(len(row.committed) - 1, slot)

    def _leave(self, slot: int) -> None:
        """The last row takes the place of one that is over."""
        *others, last = self.rows
        if slot < len(others):
            self.decoder.target.move(len(others), slot)
            self.decoder.drafter.move(len(others), slot)
            others[slot] = last
        self.rows = others


class Generation:
    """One prompt being continued: `tokens` so far, the first of them made by the prefill, which is no round."""

    def __init__(self, decoder: Decoder, request: Request) -> None:
        self._batch = Batch(decoder)
        self._row = self._batch.add(Row(request, decoder.eos))

    @property
    def tokens(self) -> list[int]:
        """Generated tokens."""
        return self._row.tokens

    @property
    def end(self) -> str | None:
        """Why the generation is over: eos or budget; None while it is not."""
        return self._row.end

    @property
    def prefill_s(self) -> float:
        """Seconds that the first token took."""
        return self._row.prefill_s

    def rounds(self) -> Iterator[Round]:
        """Decode until EOS or budget, yielding every round as it happens."""
        while self._batch.rows:
            yield from (done for _, done in self._batch.round())


@contextmanager
def _placed(rows: Sequence[Row]) -> Iterator[None]:
    """Say where something was wrong: at which position of a sequence, or among which of several."""
    try:
        yield
    except ValueError as error:
        places = ", ".join(str(len(row.committed)) for row in rows)
        where = f"position {places}" if len(rows) == 1 else f"one of {len(rows)} sequences at positions {places}"
        raise ValueError(f"{where}: {error}") from error
