"""What a target wrote: prompts and outputs as token ids, the noun of every profile."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from validate.workload import is_loop

FORMAT, VERSION, FILE = "specmath.texts", 1, "texts.jsonl"


@dataclass(frozen=True)
class Text:
    """One prompt and what followed it; output[0] was made by the prefill and belongs to no round.

    end is "eos" or "budget", None where unknown; seconds are those of plainly decoding what
    came after the first token, if it was.
    """

    prompt: str
    domain: str
    context: tuple[int, ...]
    output: tuple[int, ...]
    end: str | None = None
    seconds: float | None = None

    @property
    def tokens(self) -> int:
        """Tokens after the first: those that rounds can emit."""
        return len(self.output) - 1

    @property
    def loops(self) -> bool:
        """Whether the output goes round in circles, which flatters any draft."""
        return is_loop(self.output)

    @property
    def record(self) -> dict[str, Any]:
        """The text as a line of texts.jsonl."""
        return {**vars(self), "context": list(self.context), "output": list(self.output)}


def of_record(line: Mapping[str, Any]) -> Text:
    """The text that a line holds; ValueError where it holds none."""
    try:
        ids = {name: tuple(map(int, line[name])) for name in ("context", "output")}
        return Text(**{**line, **ids})
    except (KeyError, TypeError, ValueError):
        raise ValueError("found no text, expected those that specmath wrote: generate them anew") from None


def units(texts: Sequence[Text]) -> list[int]:
    """The conversation of each text, 0, 1, ... in the order they appear: what intervals take as independent.

    Texts of one prompt belong together, and so do the turns of a conversation, where the prompt of one begins that of
    the next.

    >>> units([Text("a", "d", (1, 2), ()), Text("b", "d", (3,), ()), Text("c", "d", (1, 2, 7), ())])
    [0, 1, 0]
    """
    roots: list[tuple[int, ...]] = []
    root_of = {}
    for context in sorted({text.context for text in texts}):
        if not roots or context[: len(roots[-1])] != roots[-1]:
            roots.append(context)
        root_of[context] = len(roots) - 1
    appeared = {root: unit for unit, root in enumerate(dict.fromkeys(root_of[text.context] for text in texts))}
    return [appeared[root_of[text.context]] for text in texts]


def digest(texts: Iterable[Text]) -> str:
    """sha256 (hex) of ids, domains and tokens in order."""
    lines = [[t.prompt, t.domain, t.context, t.output] for t in texts]
    return hashlib.sha256(json.dumps(lines).encode()).hexdigest()
