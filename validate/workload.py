"""Prompts by domain, and what keeps a workload fair.

The prompt is the unit of sampling, splitting and reporting: one prompt is one document or topic, it counts
once, and it has its own seed. Bundled prompts lie in `data/prompts.jsonl`, their licence in `data/LICENSES.md`.
"""

import hashlib
import importlib.resources
import json
import math
import pathlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

UNTITLED = "untitled"  # the domain of a text that names none
DOMAINS = ("code", "json", "template", "qa", "chat", "prose", "verse")
LOOP_SHARE = 0.30
SHINGLE, SIMILAR = 13, 0.5
LIKENESS, UNSORTED = 1.2, (0.78, 0.12)
PLANNED = {  # alpha and its standard deviation between prompts: planning values, not measurements
    "json": (0.93, 0.05),
    "template": (0.93, 0.05),
    "maths": (0.82, 0.06),
    "verse": (0.62, 0.06),
    "code": (0.85, 0.08),
    "summarise": (0.85, 0.08),
    "chat": (0.75, 0.08),
}


class InDomain(Protocol):
    """Anything that belongs to a domain."""

    @property
    def domain(self) -> str:
        """Name of the domain."""


P = TypeVar("P", bound=InDomain)
_EXPECTED = 'expected one object per line with "prompt", "turns" or "messages"'


@dataclass(frozen=True)
class Prompt:
    """One prompt: messages of {"role", "content"}, the last of them the user's; `source` says where it is from."""

    id: str
    domain: str
    messages: tuple[Mapping[str, str], ...] = field(hash=False)
    source: str

    @property
    def text(self) -> str:
        """The contents alone, for a model without a chat template."""
        return "\n\n".join(message["content"] for message in self.messages)


def bundled(per_domain: int | None = None) -> list[Prompt]:
    """Return the bundled prompts, the first `per_domain` of each of the seven domains (None: all eight).

    Raises ValueError where per_domain is not in 1..8.

    >>> [prompt.id for prompt in bundled(1)]
    ['code-1', 'json-1', 'template-1', 'qa-1', 'chat-1', 'prose-1', 'verse-1']
    """
    data = importlib.resources.files("validate") / "data" / "prompts.jsonl"
    domains = _by_domain(_parse(data.read_bytes(), "prompts.jsonl"))
    most = min(map(len, domains.values()))
    if per_domain is not None and not 1 <= per_domain <= most:
        raise ValueError(f"{per_domain} prompts per domain asked; expected 1 to {most}, or give a file of prompts")
    return [prompt for prompts in domains.values() for prompt in prompts[:per_domain]]


def read_prompts(path: str | pathlib.Path) -> list[Prompt]:
    """Read prompts from JSON Lines, one object per line; other keys and blank lines are skipped.

    The prompt is "prompt", "turns" or "messages" (the first that is there): a text is one user message, a list of
    texts are turns, a list of {"role", "content"} is taken whole. Of several turns only the first is kept, because
    the second would follow the target's own answer. Optional: "domain" (or "category"; default "untitled"), "id"
    (or "question_id"; default a hash of the text, so that it does not depend on the order), "source" (default
    the path). Raises ValueError naming path and line for a broken line, a repeated id or a repeated text, and for
    a file without prompts; OSError where the file cannot be read.
    """
    return _parse(pathlib.Path(path).read_bytes(), str(path))


def messages_of(record: Mapping[str, object]) -> tuple[dict[str, str], ...]:
    """The messages of a line's "prompt", "turns" (the first) or "messages"; ValueError saying what was found."""
    return _messages(next((record[key] for key in ("prompt", "turns", "messages") if key in record), None))


def first(prompts: Sequence[P], wanted: Callable[[str], int | None]) -> list[P]:
    """The first so many of each domain as are wanted of it, in their order; all of them for None."""
    most = {prompt.domain: wanted(prompt.domain) for prompt in prompts}
    of = zip(prompts, turns(prompts), strict=True)
    return [prompt for prompt, turn in of if (limit := most[prompt.domain]) is None or turn < limit]


def interleaved(prompts: Sequence[P]) -> list[P]:
    """The first of each domain, then the second of each: whatever drifts while they run falls on all domains alike."""
    order = sorted(zip(turns(prompts), prompts, strict=True), key=lambda turned: turned[0])
    return [prompt for _, prompt in order]


def turns(prompts: Iterable[InDomain]) -> list[int]:
    """Each one's place in its own domain, from 0."""
    place: Counter[str] = Counter()
    found = []
    for prompt in prompts:
        found.append(place[prompt.domain])
        place[prompt.domain] += 1
    return found


def halves(prompts: Sequence[P]) -> tuple[list[P], list[P]]:
    """Split into (fit, held out): in each domain the prompts go alternately to one and the other, in their order.

    The first of a domain goes to `fit`, so a domain of one prompt holds nothing out.
    """
    sides: tuple[list[P], list[P]] = ([], [])
    for prompt, turn in zip(prompts, turns(prompts), strict=True):
        sides[turn % 2].append(prompt)
    return sides


def distinct(prompts: Iterable[Prompt]) -> list[Prompt]:
    """The prompts without those that nearly repeat an earlier one (over half of their runs of 13 words in common).

    Two prompts of fewer words are compared as they stand.
    """
    kept: list[tuple[Prompt, frozenset[tuple[str, ...]]]] = []
    for prompt in prompts:
        own = _shingles(prompt.text)
        if all(len(own & other) <= SIMILAR * len(own | other) for _, other in kept):
            kept.append((prompt, own))
    return [prompt for prompt, _ in kept]


def prompts_for(half_width: float, domain: str, tokens: int) -> int:
    """Prompts of a domain for alpha +- half_width at 95 %, before anything is measured.

    n = (s^2 + 1.2 alpha (1 - alpha) / tokens) / (half_width / 1.96)^2, with alpha and s, its standard deviation
    between prompts, as planned for the domain; tokens are those scored per prompt, 1.2 their likeness within one
    (derived here). Once there are measurements `specmath.prompts_needed` answers from their own spread.
    Raises ValueError where half_width is not positive.

    >>> prompts_for(0.02, "json", 128), prompts_for(0.02, "chat", 128)
    (30, 79)
    """
    if not half_width > 0:
        raise ValueError(f"half_width: found {half_width}, expected a positive number like 0.02")
    alpha, spread = PLANNED.get(domain, UNSORTED)
    return math.ceil((spread**2 + LIKENESS * alpha * (1 - alpha) / tokens) / (half_width / 1.96) ** 2)


def digest(prompts: Iterable[Prompt]) -> str:
    """Return the sha256 (hex) of ids, domains and messages in order; `source` does not enter.

    The order counts, because it decides the halves.
    """
    return _sha256([[p.id, p.domain, _plain(p.messages)] for p in prompts])


def seed_of(seed: int, prompt_id: str) -> int:
    """Return the seed of one prompt, 0 <= seed < 2**63: a hash of run seed and id, whatever the order or batch.

    >>> seed_of(0, "code-1") == seed_of(0, "code-1") != seed_of(0, "code-2")
    True
    """
    return int(_sha256([seed, prompt_id])[:16], 16) >> 1


def repeats(tokens: Iterable[int], n: int = 8) -> float:
    """Share of the n-grams that have occurred before: 1 - distinct / all; 0 where there are none.

    >>> repeats([1, 2, 3, 1, 2, 3], n=3)
    0.25
    """
    tokens = [int(token) for token in tokens]
    grams = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
    return (len(grams) - len(set(grams))) / len(grams) if grams else 0.0


def is_loop(tokens: Iterable[int]) -> bool:
    """Tell whether an output goes round in circles (over 30 % repeated 8-grams), which flatters any draft."""
    return repeats(tokens) > LOOP_SHARE


def _by_domain(prompts: Iterable[Prompt]) -> dict[str, list[Prompt]]:
    domains: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        domains.setdefault(prompt.domain, []).append(prompt)
    return domains


def _shingles(text: str) -> frozenset[tuple[str, ...]]:
    words = text.lower().split()
    return frozenset(tuple(words[i : i + SHINGLE]) for i in range(max(len(words) - SHINGLE, 0) + 1))


def _plain(messages: Iterable[Mapping[str, str]]) -> list[list[str]]:
    return [[message["role"], message["content"]] for message in messages]


def _sha256(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _parse(data: bytes, name: str) -> list[Prompt]:
    """Prompts of a whole file; lines end at newline bytes only, a JSON string may hold other separators."""
    prompts: list[Prompt] = []
    ids: dict[str, int] = {}
    texts: dict[str, int] = {}
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            prompt = _prompt(line, name)
            _once(ids, prompt.id, number, f'id "{prompt.id}"')
            _once(texts, _sha256(_plain(prompt.messages)), number, "the same text")
        except ValueError as problem:
            raise ValueError(f"{name}:{number}: {problem}") from None
        prompts.append(prompt)
    if not prompts:
        raise ValueError(f"{name} holds no prompts; {_EXPECTED}")
    return prompts


def _once(seen: dict[str, int], key: str, number: int, what: str) -> None:
    """Remember the line of a key; refuse its second appearance."""
    if seen.setdefault(key, number) != number:
        raise ValueError(f"{what} is already on line {seen[key]}; a prompt counts once, remove or rename one of them")


def _prompt(line: bytes, name: str) -> Prompt:
    record = _record(line)
    messages = messages_of(record)
    return Prompt(
        id=_label(record, "id", "question_id") or _sha256(_plain(messages))[:12],
        domain=_label(record, "domain", "category") or UNTITLED,
        messages=messages,
        source=_label(record, "source") or name,
    )


def _record(line: bytes) -> dict:
    try:
        record = json.loads(line.decode())
    except UnicodeDecodeError as problem:
        raise ValueError(f"not UTF-8 (byte {problem.start + 1}); {_EXPECTED}") from None
    except (json.JSONDecodeError, RecursionError) as problem:
        raise ValueError(f"not JSON ({str(problem).replace('line 1 ', '')}); {_EXPECTED}") from None
    if not isinstance(record, dict):
        raise ValueError(f"found a {type(record).__name__}; {_EXPECTED}")
    return record


def _label(record: dict, *keys: str) -> str:
    """First of the keys that is there, as a text; empty where none is."""
    value = next((record[key] for key in keys if record.get(key) is not None), "")
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f'"{keys[0]}" is a {type(value).__name__}; expected a text')
    return str(value).strip()


def _messages(value: object) -> tuple[dict[str, str], ...]:
    """Messages of a text, of turns (the first) or of messages; raises ValueError saying what was found."""
    if value is None:
        raise ValueError(f"no prompt found; {_EXPECTED}")
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return _conversation(value)
    first = value[0] if isinstance(value, list) and value else value
    return ({"role": "user", "content": _content(first)},)


def _conversation(messages: list) -> tuple[dict[str, str], ...]:
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise ValueError('a message without "role"; expected objects of "role" and "content"')
    if messages[-1]["role"] != "user":
        raise ValueError(f'the last message is from "{messages[-1]["role"]}"; expected the user\'s, drop the answer')
    return tuple({"role": m["role"], "content": _content(m.get("content"))} for m in messages)


def _content(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"a prompt of type {type(value).__name__}; expected a text")
    if not value.strip():
        raise ValueError("an empty prompt; expected a text, remove the line")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("half a surrogate pair in the prompt; expected a text that UTF-8 can hold")
    return value
