"""The words of a cost table: its answer, and the sections below it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from validate.document import significant, times
from validate.words import WORDS, Section, flat, milliseconds, percent


def headline(document: Mapping[str, Any]) -> str:
    """v(n) of the deepest round, and c."""
    steps, n = document["plain_steps"][0], document["k"] + 1
    found = f"v({n}) = {significant(steps['v'][str(n)])} plain steps, c = {significant(steps['c'])}"
    return f"{WORDS[document['verdict']]}: {found} after {steps['context']} tokens"


def sections(document: Mapping[str, Any]) -> list[Section]:
    """Everything below the opening."""
    models = {m: [cell for cell in document["cells"] if cell["model"] == m] for m in ("target", "draft")}
    machine = tuple((name, flat(value)) for name, value in document["machine"].items())
    return [
        _worth(document),
        cost_cells(models, document),
        _linear(document),
        Section("Machine", (), ("", ""), machine),
    ]


def _worth(document: Mapping[str, Any]) -> Section:
    """What every k could gain at most, and from which acceptance on it gains."""
    rows = tuple(
        (
            str(place["batch"]),
            str(place["context"]),
            str(at["k"]),
            times(at["full_acceptance"]),
            significant(at["break_even"]) if at["full_acceptance"] > 1 else "never",
        )
        for place in document["plain_steps"]
        for at in place["by_k"]
    )
    columns = ("batch", "context", "k", "if all were accepted", "pays from alpha")
    return Section("What it could gain", (), columns, rows)


def cost_cells(models: Mapping[str, Sequence[Mapping[str, Any]]], facts: Mapping[str, Any]) -> Section:
    """Every cell of the table as measured."""
    rows = tuple(
        (
            model,
            str(cell["n"]),
            str(cell["batch"]),
            str(cell["context"]),
            milliseconds(cell["seconds"]),
            f"{milliseconds(cell['low'])} to {milliseconds(cell['high'])}",
            significant((cell["seconds"] + facts["drawing"]) / (_forward(models["target"], cell) + facts["drawing"])),
        )
        for model, cells in models.items()
        for cell in cells
    )
    drift = f"The same cell measured twice differed by {percent(facts['drift'] - 1)}"
    columns = ("model", "n", "batch", "context", "ms", "quartiles", "plain steps")
    after = (f"{drift}.", _accepting(facts))
    return Section("One forward over n tokens, as measured", (), columns, rows, after)


def _accepting(facts: Mapping[str, Any]) -> str:
    """What the plain steps hold beside forwards, and what a round does."""
    drawn, drafts = milliseconds(facts["drawing"]), len(facts["overheads"]) - 1
    more = ", ".join(f"{milliseconds(facts['overheads'][d])} ms for {d}" for d in sorted({1, drafts}))
    return f"Drawing a token takes {drawn} ms of every plain step; accepting drafts, of one sequence, {more} more."


def _forward(cells: Iterable[Mapping[str, Any]], like: Mapping[str, Any]) -> float:
    """Seconds of one token at the same batch and context."""
    place = (1, like["batch"], like["context"])
    return next(cell["seconds"] for cell in cells if (cell["n"], cell["batch"], cell["context"]) == place)


def _linear(document: Mapping[str, Any]) -> Section:
    """The linear form beside the table, and how far it is from it."""
    rows = tuple(
        (
            model,
            *(milliseconds(found[part]) for part in ("base", "per_token", "per_kv")),
            percent(found["median_error"], ""),
            percent(found["worst_error"], ""),
        )
        for model, found in document["fitted"].items()
        if found
    )
    columns = ("model", "base [ms]", "per token [ms]", "per cached token [ms]", "median error", "worst error")
    flat = [f"batch {at['batch']}, context {at['context']}: up to {at['flat_to']}" for at in document["plain_steps"]]
    after = (
        f"Tokens that cost at most 1.1 times one: {'; '.join(flat)}.",
        "Nothing is predicted from the linear form.",
    )
    return Section("A linear form, for comparison", (), columns if rows else (), rows, after)
