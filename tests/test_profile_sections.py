"""The words of a profile, row by row: every cell of every table is the number that its column and row name."""

import re

import pytest

from validate.report import markdown, plain
from validate.sections import headline

UNKNOWN = "–"


def about(value, half=0.05):
    return {"value": value, "low": value - half, "high": value + half}


def draft(name, base, *, gains=None):
    """A draft whose every number is another one, base + its place."""
    numbers = iter(about(base + place / 100) for place in range(40))
    depths = (1, 2)
    return {
        "name": name,
        "rule": f"rule of {name}",
        "by_offset": name == "lookup",
        "alpha": next(numbers),
        "by_k": [
            {
                "k": k,
                "block_efficiency": next(numbers),
                "speedup": next(numbers),
                "block_gain": gains and about(gains[k - 1]),
            }
            for k in depths
        ],
        "by_domain": {
            domain: {"alpha": next(numbers), "prompts": prompts, "loops": loops}
            for domain, prompts, loops in (("json", 5, 2), ("prose", 7, 3))
        },
        "by_position": [
            {"band": "1–16", "alpha": next(numbers)},
            {"band": "17–32", "alpha": next(numbers)},
            {"band": "33–64", "alpha": None},
        ],
        "by_context": [{"band": "1–128", "alpha": next(numbers)}],
        "copyable_share": 0.125,
        "copyable": {"alpha": next(numbers), "others": next(numbers)},
        "without_loops": next(numbers),
    }


def pair(value, low, high, a="M", b="lookup"):
    return {"a": a, "b": b, "difference": {"value": value, "low": low, "high": high}}


@pytest.fixture
def document():
    drafts = [draft("M", 1.0, gains=(1.034, 0.988)), draft("lookup", 3.0)]
    return {
        "schema": "specmath.profile/1",
        "verdict": "use",
        "prices": None,
        "reason": "it is so",
        "next": "do it",
        "text": {"prompts": 12},
        "best": {"draft": "lookup", "k": 2, "block_efficiency": about(1.92), "speedup": about(1.21)},
        "drafts": drafts,
        "pairs": [pair(0.1, 0.06, 0.14)],
        "pairs_by_domain": {
            "json": [pair(0.05, -0.01, 0.11)],
            "prose": [pair(0.2, 0.19, 0.21, "lookup", "M"), pair(0.3, None, None)],
        },
        "own_text": {"tokens": 900, "foreign": 0, "ties": 2, "widest_tie": 0.012, "z": -0.34, "own": True},
    }


def tables(text, line, cells):
    """By title the rows of a rendering, cells without padding."""
    found, title = {}, None
    for at in text.splitlines():
        if match := re.fullmatch(line, at):
            title = match[1].lower()
        elif title and at:
            found.setdefault(title, []).append([cell.strip() for cell in cells(at)])
    return found


def in_a_pipe(document):
    return tables(plain(document), r"([A-Z ]{6,})", lambda at: re.split(r"  +", at))


def in_markdown(document):
    return tables(markdown(document), "## (.*)", lambda at: at.strip("|").split("|"))


def test_the_first_line(document):
    assert headline(document) == (
        "USE lookup with k = 2: 1.21x (1.16 to 1.26), 1.92 (1.87 to 1.97) tokens per round, "
        "alpha 3.00 (2.95 to 3.05); fastest of 2 drafts on 12 prompts"
    )


def test_the_first_line_of_foreign_text_without_prices(document):
    document |= {"verdict": "measure_more", "drafts": document["drafts"][1:]}
    document["best"]["speedup"] = None
    document["own_text"]["own"] = False
    assert headline(document) == (
        "NOT THE TARGET'S OWN TEXT: MEASURE MORE of lookup with k = 2: 1.92 (1.87 to 1.97) tokens per round, "
        "alpha 3.00 (2.95 to 3.05); the one draft on 12 prompts"
    )


def said(value, unit=""):
    return f"{value:.2f}{unit} ({value - 0.05:.2f} to {value + 0.05:.2f})"


ROWS = {
    "drafts": [
        ["draft", "rule", "alpha", "on copyable tokens", "on the others", "without loops"],
        ["M", "rule of M", said(1.00), said(1.10), said(1.11), said(1.12)],
        ["lookup", "rule of lookup", said(3.00), said(3.10), said(3.11), said(3.12)],
        ["12.5% of the tokens are what followed the same three tokens in the prompt."],
        ["lookup: alpha is of the drafts that rounds test, the rest of first drafts alone."],
    ],
    "tokens per round by k": [
        ["k", "M", "M speedup", "M block rule", "lookup", "lookup speedup", "lookup block rule"],
        ["1", said(1.01), said(1.02, "x"), "+3.4%", said(3.01), said(3.02, "x"), UNKNOWN],
        ["2", said(1.03), said(1.04, "x"), "-1.2%", said(3.03), said(3.04, "x"), UNKNOWN],
    ],
    "alpha by kind of text": [
        ["text", "prompts", "loops", "M", "lookup"],
        ["json", "5", "2", said(1.05), said(3.05)],
        ["prose", "7", "3", said(1.06), said(3.06)],
        ["An output loops when over 30 % of its 8-grams are repeats, which flatters any draft."],
    ],
    "by place in the response": [
        ["tokens", "M", "lookup"],
        ["1–16", said(1.07), said(3.07)],
        ["17–32", said(1.08), said(3.08)],
    ],
    "by length of the prompt": [["tokens", "M", "lookup"], ["1–128", said(1.09), said(3.09)]],
}
PAIRS = [
    ["all", "M beats lookup: +10.0 ± 4.0 points"],
    ["json", "M is not told apart from lookup: +5.0 ± 6.0 points"],
    ["prose", "lookup beats M: +20.0 ± 1.0 points"],
    ["prose", "M against lookup: +30.0 points, no interval"],
]
WHOSE = [
    ["0 tokens of 900 the target could not have written; 2 ties, the widest 0.012 apart."],
    ["Its log-likelihood lies -0.3 standard errors from what its own text has."],
]


@pytest.mark.parametrize("title", ROWS)
def test_every_cell_is_the_number_that_its_column_names(document, title):
    assert in_a_pipe(document)[title] == ROWS[title]
    head, *rest = in_markdown(document)[title]
    assert [head, *rest[1:]] == ROWS[title]


def test_a_draft_beats_another_only_where_the_interval_excludes_0(document):
    assert in_a_pipe(document)["draft against draft"][-4:] == PAIRS
    assert in_markdown(document)["draft against draft"][-4:] == PAIRS


def test_one_draft_is_held_against_none(document):
    document["pairs"] = []
    assert "draft against draft" not in in_a_pipe(document)


def test_whose_text_it_is(document):
    assert in_a_pipe(document)["whose text it is"] == WHOSE
    document["own_text"] |= {"foreign": 1, "ties": 0, "z": None, "own": False}
    assert in_markdown(document)["whose text it is"] == [
        ["1 token of 900 the target could not have written; no ties."],
        ["The text cannot be the target's own under this sampler: these numbers are corpus-forced."],
    ]


def test_without_prices_and_without_a_law_there_are_no_such_columns(document):
    for d in document["drafts"]:
        d["by_k"] = [point | {"speedup": None, "block_gain": None} for point in d["by_k"]]
    found = in_a_pipe(document)["tokens per round by k"]
    assert found[:2] == [["k", "M", "lookup"], ["1", said(1.01), said(3.01)]]


def test_a_depth_without_a_price_is_a_dash(document):
    document["drafts"][1]["by_k"][0]["speedup"] = None
    assert in_a_pipe(document)["tokens per round by k"][1][4:] == [said(3.01), UNKNOWN, UNKNOWN]
