"""Where prompts come from: generators by seed, data sets by name, and how many of each kind a precision takes."""

import sys
import types

import pytest

from validate import hub, workload
from validate.generate import KINDS, VERSION, generated
from validate.sources import prompts_of
from validate.workload import Prompt, digest, distinct, prompts_for

DIGEST = "96e2165f506768144ca0a5e548e6ae3a1a52381a1df3d505dfc16b62c8ce0a01"


def options(**changed):
    return {"prompts": None, "per_domain": None, "precision": None, "tokens": 128, "seed": 0} | changed


def silent(line):
    raise AssertionError(line)


def counts(prompts):
    found = {}
    for prompt in prompts:
        found[prompt.domain] = found.get(prompt.domain, 0) + 1
    return found


def test_generated_prompts_are_the_same_for_ever():
    """A changed generator is another data set: give it another version."""
    assert VERSION == 1
    assert digest(generated(list(KINDS), 3)) == DIGEST


def test_generated_prompts_differ_by_seed_and_number_and_do_not_depend_on_how_many():
    few, many, other = generated(["json"], 2), generated(["json"], 9), generated(["json"], 2, seed=1)
    assert few == many[:2]
    assert not {p.text for p in few} & {p.text for p in other}
    everything = generated(list(KINDS), 60)
    assert len({p.text for p in everything}) == len({p.id for p in everything}) == 300
    assert len(distinct(p for p in everything if p.domain == "maths")) == 60


def test_a_kind_that_is_none_is_named():
    with pytest.raises(ValueError, match="generated: found 'opera', expected some of json, template, maths"):
        generated(["opera"], 1)


def test_texts_for_summaries_are_long_and_problems_short():
    words = {kind: len(generated([kind], 1)[0].text.split()) for kind in KINDS}
    assert words["summarise"] > 250
    assert words["maths"] < 80


@pytest.mark.parametrize(
    ("domain", "tokens", "prompts"),
    [
        ("json", 40, 43),
        ("json", 128, 30),
        ("maths", 128, 48),
        ("verse", 40, 103),
        ("code", 128, 73),
        ("chat", 256, 70),
        ("something else", 128, 154),
    ],
)
def test_prompts_for_a_precision_of_two_points(domain, tokens, prompts):
    """Values worked out beforehand, for +-.02 at 95 %."""
    assert prompts_for(0.02, domain, tokens) == prompts


def test_half_the_width_takes_four_times_the_prompts():
    assert prompts_for(0.01, "chat", 128) == pytest.approx(4 * prompts_for(0.02, "chat", 128), abs=4)
    with pytest.raises(ValueError, match="half_width: found 0, expected a positive number"):
        prompts_for(0, "chat", 128)


def test_near_duplicates_are_left_out_and_the_first_stays():
    text = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen " * 2
    same, other = text.replace("sixteen", "last"), "something else entirely " * 10
    prompts = [
        Prompt(name, "d", ({"role": "user", "content": content},), "")
        for name, content in (("a", text), ("b", text + "more"), ("c", other), ("d", same + other))
    ]
    assert [p.id for p in distinct(prompts)] == ["a", "c", "d"]


def test_the_bundled_prompts_are_distinct():
    assert len(distinct(workload.bundled())) == 56


def test_without_a_source_a_few_of_each_bundled_kind():
    assert set(counts(prompts_of(options(), silent)).values()) == {4}
    assert set(counts(prompts_of(options(per_domain=2), silent)).values()) == {2}


def test_a_precision_asks_for_more_than_are_bundled_and_says_so():
    said = []
    assert set(counts(prompts_of(options(precision=0.02), said.append)).values()) == {8}
    assert said == [
        "fewer prompts than the precision takes: code 8 of 73, json 8 of 30, template 8 of 30, qa 8 of 154, "
        "chat 8 of 79, prose 8 of 154, verse 8 of 56; give more with --prompts"
    ]


def test_generated_prompts_are_as_many_as_the_precision_takes():
    found = counts(prompts_of(options(prompts="generated:json,maths", precision=0.02), lambda line: None))
    assert found == {"json": 30, "maths": 48}
    assert set(counts(prompts_of(options(prompts="generated"), silent))) == set(KINDS)


def test_precision_and_per_domain_are_one_question():
    with pytest.raises(ValueError, match="--precision: found beside --per-domain"):
        prompts_of(options(precision=0.02, per_domain=3), silent)


def test_prompts_that_nearly_repeat_are_counted_aloud(tmp_path):
    text = " ".join(f"word{i}" for i in range(60))
    (tmp_path / "mine.jsonl").write_text(f'{{"prompt": "{text}"}}\n{{"prompt": "{text} again"}}\n')
    said = []
    assert len(prompts_of(options(prompts=str(tmp_path / "mine.jsonl")), said.append)) == 2
    assert said == ["1 of 2 prompts nearly repeat an earlier one: intervals take them for new evidence"]


ROWS = {
    "humaneval": ({"task_id": "0", "prompt": "def f():\n"}, "Complete this Python function.\n\ndef f():\n"),
    "mbpp": ({"text": "Write a loop."}, "Write a loop."),
    "gsm8k": ({"question": "How many?", "answer": "3"}, "How many?"),
    "mt-bench": ({"prompt": ["first turn", "second turn"], "category": "writing"}, "first turn"),
    "ultrachat": ({"prompt": "Hello", "messages": []}, "Hello"),
    "json-mode": ({"prompt": [{"role": "user", "content": "As JSON."}], "completion": ""}, "As JSON."),
    "cnn": ({"article": "News.", "highlights": ""}, "Summarise this article in three sentences.\n\nNews."),
    "squad": ({"context": "Facts.", "question": "What?"}, "Facts.\n\nQuestion: What?"),
}


@pytest.mark.parametrize("name", hub.SETS)
def test_a_row_of_every_set_becomes_its_prompt(name):
    """Rows as the cards of the sets describe them."""
    row, text = ROWS[name]
    [prompt] = hub.prompts(name, 3, lambda *_, **__: [row])
    assert prompt.text == text
    assert (prompt.domain, prompt.id) == (hub.domain_of(name), f"{name}-1")
    assert hub.SETS[name].id in prompt.source


def test_rows_that_nearly_repeat_are_left_out_and_no_more_are_read_than_wanted():
    read = []

    def rows(*_, **options):
        assert options == {"split": "test", "streaming": True}
        for i in (1, 1, 2, 3, 4):
            read.append(i)
            yield {"question": " ".join(f"{word}-{i}" for word in range(30))}

    assert [p.id for p in hub.prompts("gsm8k", 2, rows)] == ["gsm8k-1", "gsm8k-3"]
    assert read == [1, 1, 2]


def test_without_a_network_it_is_one_line():
    def offline(*_, **__):
        raise ConnectionError("Couldn't reach the Hub\nand more")

    with pytest.raises(ValueError, match=r"hub:gsm8k: cannot load openai/gsm8k \(Couldn.t reach the Hub\); expected a"):
        hub.prompts("gsm8k", 2, offline)


def test_placeholders_are_refused_with_their_own_sentence():
    with pytest.raises(ValueError, match="run the data set's own script first"):
        hub.prompts(
            "gsm8k", 1, lambda *_, **__: [{"question": "FULL BENCHMARK DATA SHOULD BE FETCHED FROM THE SOURCE"}]
        )


def test_a_set_that_is_none_and_a_library_that_is_not_there_are_named(monkeypatch):
    with pytest.raises(ValueError, match="hub:opera: found no such data set, expected one of humaneval"):
        hub.domain_of("opera")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ModuleNotFoundError, match="datasets"):
        prompts_of(options(prompts="hub:gsm8k"), silent)


def test_sets_are_loaded_by_their_names(monkeypatch):
    library = types.SimpleNamespace(
        load_dataset=lambda id, config, **_: [{"question": id, "text": f"{id} {config}", "prompt": id}]
    )
    monkeypatch.setitem(sys.modules, "datasets", library)
    same = prompts_of(options(prompts="hub:humaneval,mbpp,mbpp", per_domain=1), silent)
    assert [p.id for p in same] == ["humaneval-1", "mbpp-1"], "so many of each set, also where both are code"
    found = prompts_of(options(prompts="hub:gsm8k,mbpp", per_domain=1), silent)
    assert [p.text for p in found] == ["openai/gsm8k", "google-research-datasets/mbpp full"]
