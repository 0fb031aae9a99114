"""Every cell of the page stands in the row and under the head that its path in the JSON names."""

import html.parser
import json
import re

import pytest

from tests.test_page import study
from validate.page import page

KINDS = {
    "json": "json",
    "prose": "prose",
    "a/b ~ <kind> with a rather long name": "a~1b ~0 <kind> with a rather long name",
}
INTERVAL = "({0}/value {0}/low {0}/high|{0}/value)"


class Tables(html.parser.HTMLParser):
    """By heading the table below it, its rows with their cells: (text, paths of its numbers, whether it is marked)."""

    def __init__(self, text):
        super().__init__()
        self.found, self.title, self.cell, self.within = {}, "", None, []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "h2":
            self.title = ""
        elif tag == "tr":
            self.found.setdefault(self.title, []).append([])
        elif tag in ("th", "td"):
            self.cell = ["", [], False]
            self.found[self.title][-1].append(self.cell)
        elif tag == "data" and self.cell:
            self.cell[1].append(attrs["data-path"])
        elif tag == "span" and attrs.get("class") == "out":
            self.cell[2] = True
        self.within.append(tag)

    def handle_endtag(self, tag):
        self.within.pop()
        if tag in ("th", "td"):
            self.cell = None

    def handle_data(self, data):
        if self.cell:
            self.cell[0] += data
        elif self.within and self.within[-1] == "h2":
            self.title += data


@pytest.fixture(scope="module")
def document():
    """A study whose cells, verdicts and causes all differ from their neighbours'."""
    found = json.loads(json.dumps(study(), allow_nan=False))
    causes = ("acceptance", "draft", "verify", "overhead")
    for i, cell in enumerate([*found["cells"], *found["totals"]]):
        cell["inside"] = (True, False, None)[i % 3]
        cell["gap"] = {cause: 0.01 * (j + 1) for j, cause in enumerate(causes)} | {causes[i % 4]: -0.07}
    for verdict, kind in zip(("measure_more", "use", "dont_use"), found["verdicts"], strict=True):
        found["verdicts"][kind]["verdict"] = verdict
    return found


@pytest.fixture(scope="module")
def tables(document):
    found = Tables(page(document, {}, []).decode()).found
    return {title: ([text for text, _, _ in head], rows) for title, (head, *rows) in found.items()}


def texts(row):
    return [text for text, _, _ in row]


def paths(row):
    return [" ".join(cell[1]) for cell in row]


HEADS = {
    "Predicted before the run, and measured": {
        "k": "{at}/k",
        "predicted": INTERVAL.format("{at}/predicted"),
        "measured": INTERVAL.format("{at}/measured"),
        "error": "{at}/error",
        "mostly by": r"{at}/gap/\w+",
    },
    "Acceptance by kind of text": {
        "k": "{at}/k",
        "measured": INTERVAL.format("{at}/speedup"),
        "alpha": INTERVAL.format("{at}/alpha"),
        "tokens / round": INTERVAL.format("{at}/block_efficiency"),
        "rounds drafted": "{at}/hit_share",
        "prompts": "{at}/prompts",
    },
    "Survival by position in the round": {"round": "{at}/survival/0"}
    | {f"first {i}": f"{{at}}/survival/{i}" for i in range(1, 5)},
    "Speedup against k": {
        "k": "{at}/k",
        "tokens / round": "{at}/block_efficiency",
        "speedup predicted": INTERVAL.format("{at}/predicted"),
    },
    "What a forward over n tokens costs": {
        "n": "{at}/n",
        "batch": "{at}/batch",
        "context": "{at}/context",
        "median [ms]": "{at}/seconds",
        "quartile [ms]": "{at}/(low|high)",
    },
    "Where the time went": {
        "tokens": "{at}/tokens",
        "draft [plain steps]": "{at}/draft",
        "verify [plain steps]": "{at}/verify",
        "overhead [plain steps]": "{at}/overhead",
    },
}


def places(document):
    """By heading what its rows tell of, in their order: the first cells, and the path that all paths begin with."""
    cells = [(f"{name}/{i}", c) for name in ("cells", "totals") for i, c in enumerate(document[name])]
    forwards = [("target", f"costs/target/{i}") for i in range(len(document["costs"]["target"]))]
    forwards += [("D", f"costs/drafts/D/{i}") for i in range(len(document["costs"]["drafts"]["D"]))]
    return {
        "Predicted before the run, and measured": [([c["domain"], c["draft"]], at) for at, c in cells],
        "Acceptance by kind of text": [([kind], f"domains/{key}") for kind, key in KINDS.items()],
        "Survival by position in the round": [([kind], f"domains/{key}") for kind, key in KINDS.items()],
        "Speedup against k": [([p["draft"]], f"curve/{i}") for i, p in enumerate(document["curve"])],
        "What a forward over n tokens costs": [([model], at) for model, at in forwards],
        "Where the time went": [(["at table prices"], "breakdown/predicted"), (["by the clock"], "breakdown/measured")],
    }


@pytest.mark.parametrize("title", HEADS)
def test_a_number_stands_in_the_row_and_under_the_head_of_its_path(document, tables, title):
    (head, rows), expected = tables[title], places(document)[title]
    assert len(rows) == len(expected)
    for row, (names, at) in zip(rows, expected, strict=True):
        assert texts(row)[: len(names)] == names
        for column, found in zip(head, paths(row), strict=True):
            pattern = HEADS[title].get(column)
            assert re.fullmatch(pattern.replace("{at}", re.escape(at)) if pattern else "", found), (column, found)


def test_the_lower_quartile_stands_before_the_upper(tables):
    head, rows = tables["What a forward over n tokens costs"]
    assert head[-2:] == ["quartile [ms]"] * 2
    assert all(paths(row)[-2].endswith("/low") and paths(row)[-1].endswith("/high") for row in rows)


def test_a_cell_is_said_to_be_inside_where_it_is(document, tables):
    head, rows = tables["Predicted before the run, and measured"]
    said = [row[head.index("inside")] for row in rows]
    words = {True: ["yes", [], False], False: ["no", [], True], None: ["–", [], False]}
    expected = [words[c["inside"]] for c in (*document["cells"], *document["totals"])]
    assert said == expected
    assert {text for text, _, _ in said} == {"yes", "no", "–"}


def test_the_cause_that_is_named_is_the_largest_of_the_gap(tables):
    head, rows = tables["Predicted before the run, and measured"]
    causes = [texts(row)[head.index("mostly by")] for row in rows]
    assert causes[:4] == ["acceptance -7.0%", "draft -7.0%", "verify -7.0%", "overhead -7.0%"]
    for row in rows:
        text, (path,), _ = row[head.index("mostly by")]
        assert text.split()[0] == path.rpartition("/")[2]


def test_every_kind_of_text_has_its_own_verdict_and_draft(document, tables):
    head, rows = tables["Acceptance by kind of text"]
    assert [texts(row)[1] for row in rows] == ["MEASURE MORE", "USE", "DON'T USE"]
    assert [texts(row)[head.index("draft")] for row in rows] == [v["draft"] for v in document["verdicts"].values()]


def test_what_ran_is_told_by_name(document, tables):
    _, rows = tables["What ran"]
    ran = ", ".join(f"{cell['draft']} with k = {cell['k']}" for cell in document["totals"])
    assert ["drafts", ran] in [texts(row) for row in rows]
    assert ["seed", "0"] in [texts(row) for row in rows]


def test_a_law_stands_beside_its_own_likelihood(document, tables):
    heads, rows = tables["Which law acceptance follows"]
    ranked = [(cell, i, law) for cell, found in document["laws"].items() for i, law in enumerate(found["ranking"])]
    assert heads == ["draft, k", "law", "held out [nats]", "difference to the best", ""]
    assert [texts(row)[:2] for row in rows] == [[cell, law["law"]] for cell, _, law in ranked]
    for row, (cell, i, law) in zip(rows, ranked, strict=True):
        assert paths(row)[2].endswith(f"{cell.replace('~', '~0').replace('/', '~1')}/ranking/{i}/held_out")
        assert (texts(row)[4] == "rejected") == law["rejected"]


def test_figures_in_sentences_follow_their_words(document):
    text = re.sub(r'<data value="[^"]*" data-path="([^"]*)">[^<]*</data>', r"{\1}", page(document, {}, []).decode())
    for sentence in (
        "Median |error| {accuracy/median_error}, worst {accuracy/worst_error} over {accuracy/cells} cells",
        "{accuracy/inside} of {accuracy/judged} stated 95 % intervals hold",
        "median {accuracy/control/median}, worst {accuracy/control/worst}.",
        "took {costs/drift} its time; accepting a full draft {costs/overhead} ms more",
        "in the same run: {control/aa_ratio}.",
    ):
        assert sentence in text


def test_names_of_drafts_and_of_what_ran_are_escaped():
    named = json.loads(json.dumps(study(name="<b>D"), allow_nan=False))
    for verdict in named["verdicts"].values():
        verdict["draft"] = "<b>D"
    named["draft"] = "<b>D"
    named["provenance"] |= {"<b>machine": "<b>fast"}
    text = page(named, {}, ["<b>file"]).decode()
    assert "<b>" not in text
    for found in ("<td>&lt;b&gt;D</td>", "&lt;b&gt;machine", "&lt;b&gt;fast", "<li>&lt;b&gt;file</li>"):
        assert found in text
