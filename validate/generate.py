"""Prompts made by seed: JSON records, filled templates, word problems, questions on facts, texts to be summarised.

The words and the values are made up here. A prompt depends on the version, the seed, its kind and its number alone;
a changed generator is a new data set and gets a new version. How repetitive the answers are is known in advance:
templates most, then JSON, then maths and questions, then summaries.
"""

import json
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from validate.workload import Prompt

VERSION = 1
NAMES = ("Ada", "Bela", "Chen", "Dara", "Emil", "Fatou", "Goro", "Hana", "Ivo", "Jun", "Kofi", "Lena", "Maya", "Nils")
GOODS = ("lamp", "kettle", "drill", "tent", "desk", "radio", "scarf", "pump", "clock", "ladder", "stove", "chair")
TOWNS = ("Arvik", "Belmar", "Corvo", "Dunsel", "Elmira", "Fogaro", "Galdy", "Hestra", "Ilmar", "Jorvik", "Kestel")
COLOURS = ("red", "green", "blue", "black", "white", "grey", "amber")
RIVERS = ("Sorel", "Tamre", "Ustva", "Velin", "Wendel", "Yaro")
CROPS = ("barley", "olives", "tea", "flax", "apples", "saffron")


def generated(kinds: Sequence[str], per_kind: int, seed: int = 0) -> list[Prompt]:
    """So many prompts of each kind, the same for the same seed; ValueError for a kind that is none.

    >>> [prompt.id for prompt in generated(["maths"], 2)]
    ['maths-v1-s0-1', 'maths-v1-s0-2']
    """
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(f"generated: found {kind!r}, expected some of {', '.join(KINDS)}")
    return [_prompt(kind, number, seed) for kind in kinds for number in range(1, per_kind + 1)]


def _prompt(kind: str, number: int, seed: int) -> Prompt:
    rng = np.random.default_rng([VERSION, seed, number, *kind.encode()])
    text = KINDS[kind](rng)
    content = ({"role": "user", "content": text},)
    return Prompt(f"{kind}-v{VERSION}-s{seed}-{number}", kind, content, f"generated, version {VERSION}, seed {seed}")


def _orders(rng: np.random.Generator) -> str:
    rows = [
        f"order {_number(rng, 1000, 9999)} by {_one(rng, NAMES)} of {_one(rng, TOWNS)}: {_number(rng, 1, 9)} "
        f"{_one(rng, COLOURS)} {_one(rng, GOODS)}, {_number(rng, 5, 400)}.{_number(rng, 0, 99):02} each"
        for _ in range(_number(rng, 3, 6))
    ]
    keys = json.dumps({"order": 0, "name": "", "town": "", "count": 0, "colour": "", "item": "", "price": 0.0})
    listed = "\n".join(rows)
    return f"Turn these orders into a JSON list with one object per order and exactly these keys: {keys}\n\n{listed}"


def _letters(rng: np.random.Generator) -> str:
    template = (
        f"Dear NAME,\nyour {_one(rng, COLOURS)} {_one(rng, GOODS)} has reached {_one(rng, TOWNS)} and waits for you at "
        f"desk DESK until DAY. Please bring the code CODE and this letter. The fee of {_number(rng, 2, 30)} crowns is "
        f"paid.\nYour depot {_one(rng, TOWNS)}"
    )
    rows = "\n".join(
        f"{_one(rng, NAMES)}, desk {_number(rng, 1, 40)}, "
        f"{_one(rng, ('Monday', 'Tuesday', 'Thursday', 'Friday'))}, code {_number(rng, 10000, 99999)}"
        for _ in range(_number(rng, 4, 7))
    )
    return (
        f"Write this letter once for every line below, with NAME, DESK, DAY and CODE filled in.\n\n{template}\n\n{rows}"
    )


def _problem(rng: np.random.Generator) -> str:
    who, other = rng.choice(NAMES, 2, replace=False)
    item, boxes, each, sold = _one(rng, GOODS), _number(rng, 3, 19), _number(rng, 4, 30), _number(rng, 2, 11)
    price, share = _number(rng, 2, 25), _number(rng, 2, 5)
    return (
        f"{who} buys {boxes} boxes of {each} {item}s, gives {sold} {item}s away and sells the rest at {price} crowns "
        f"each. {other} gets one part in {share} of what {who} earned. How many crowns does {other} get? Show every "
        "step on its own line, then the answer."
    )


def _question(rng: np.random.Generator) -> str:
    facts = _facts(rng, 6)
    asked = _one(rng, ("how many people live there", "which river it lies on", "what it is known for"))
    town = _one(rng, [town for town, _ in facts])
    listed = "\n".join(f"- {sentence}" for _, sentence in facts)
    return f"Facts:\n{listed}\n\nUsing the facts alone, say of {town} {asked}, and quote the fact you used."


def _article(rng: np.random.Generator) -> str:
    sentences = []
    for town, fact in _facts(rng, 7):
        year, crop = _number(rng, 1650, 1990), _one(rng, CROPS)
        sentences.append(
            f"{fact} In {year} a fire left only the {_one(rng, COLOURS)} tower of {town} standing, and the rebuilding "
            f"was paid from the sale of {crop}. Visitors from {_one(rng, TOWNS)} still come for the fair of "
            f"{_one(rng, GOODS)}s, which fills {_number(rng, 2, 9)} streets every autumn."
        )
    return "Summarise the following report in five sentences.\n\n" + "\n\n".join(sentences)


def _facts(rng: np.random.Generator, count: int) -> list[tuple[str, str]]:
    return [
        (
            str(town),
            f"{town} lies on the {_one(rng, RIVERS)}, has {_number(rng, 2, 900)} thousand people and is known for its "
            f"{_one(rng, CROPS)}.",
        )
        for town in rng.choice(TOWNS, count, replace=False)
    ]


def _one(rng: np.random.Generator, of: Iterable[str]) -> str:
    return str(rng.choice(list(of)))


def _number(rng: np.random.Generator, low: int, high: int) -> int:
    return int(rng.integers(low, high + 1))


KINDS: dict[str, Callable[[np.random.Generator], str]] = {
    "json": _orders,
    "template": _letters,
    "maths": _problem,
    "qa": _question,
    "summarise": _article,
}
