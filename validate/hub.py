"""Prompts of data sets on the Hugging Face hub, by name: loaded on the user's machine, never bundled.

Each row of the table says where a set lies and which field is the prompt; licences are those of the cards. The first
turn of a conversation is taken; texts that nearly repeat an earlier one are left out.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from validate.workload import Prompt, distinct, messages_of

WRAPPER = "Complete this Python function.\n\n"
PREFIX = "hub:"


@dataclass(frozen=True)
class Set:
    """A data set: hub id, configuration, split, its domain, the prompt of a row, and its licence."""

    id: str
    config: str | None
    split: str
    domain: str
    prompt: Callable[[Mapping[str, Any]], Any]
    licence: str


SETS = {
    "humaneval": Set("openai/openai_humaneval", None, "test", "code", lambda row: WRAPPER + row["prompt"], "MIT"),
    "mbpp": Set("google-research-datasets/mbpp", "full", "test", "code", lambda row: row["text"], "CC-BY-4.0"),
    "gsm8k": Set("openai/gsm8k", "main", "test", "maths", lambda row: row["question"], "MIT"),
    "mt-bench": Set("HuggingFaceH4/mt_bench_prompts", None, "train", "chat", lambda row: row["prompt"], "Apache-2.0"),
    "ultrachat": Set("HuggingFaceH4/ultrachat_200k", None, "test_sft", "chat", lambda row: row["prompt"], "MIT"),
    "json-mode": Set("NousResearch/json-mode-eval", None, "train", "json", lambda row: row["prompt"], "none shown"),
    "cnn": Set(
        "abisee/cnn_dailymail",
        "3.0.0",
        "test",
        "summarise",
        lambda row: f"Summarise this article in three sentences.\n\n{row['article']}",
        "the publishers'",
    ),
    "squad": Set(
        "rajpurkar/squad",
        None,
        "validation",
        "qa",
        lambda row: f"{row['context']}\n\nQuestion: {row['question']}",
        "CC-BY-SA-4.0",
    ),
}


def domain_of(name: str) -> str:
    """The domain of a set by its short name; ValueError for a name that is none."""
    if name not in SETS:
        raise ValueError(f"{PREFIX}{name}: found no such data set, expected one of {', '.join(SETS)}")
    return SETS[name].domain


def prompts(name: str, count: int, load: Callable[..., Iterable[Mapping[str, Any]]]) -> list[Prompt]:
    """The first `count` distinct prompts of a set by its short name; `load` is `datasets.load_dataset`.

    Raises ValueError in one line without a network and where the rows are placeholders.
    """
    found = SETS[name]
    try:
        rows = load(found.id, found.config, split=found.split, streaming=True)
        return _distinct(name, found, rows, count)
    except (OSError, ConnectionError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"{PREFIX}{name}: cannot load {found.id} ({reason}); expected a network or a cached copy: "
            "use the bundled prompts, generated ones or a file instead"
        ) from None


def _distinct(name: str, found: Set, rows: Iterable[Mapping[str, Any]], count: int) -> list[Prompt]:
    kept: list[Prompt] = []
    for number, row in enumerate(rows, 1):
        kept = distinct([*kept, _prompt(name, found, row, number)])
        if len(kept) == count:
            break
    if not kept:
        raise ValueError(f"{PREFIX}{name}: found no rows in {found.id}, expected prompts")
    return kept


def _prompt(name: str, found: Set, row: Mapping[str, Any], number: int) -> Prompt:
    text = found.prompt(row)
    if "FULL BENCHMARK DATA SHOULD BE FETCHED" in str(text):
        raise ValueError(f"{PREFIX}{name}: found a placeholder, expected its text: run the data set's own script first")
    source = f"{found.id} ({found.split}, licence {found.licence})"
    return Prompt(f"{name}-{number}", found.domain, messages_of({"prompt": text}), source)
