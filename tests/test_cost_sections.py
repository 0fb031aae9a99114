"""The words of a cost table, row by row: each forward in the plain steps of its own batch and context."""

import pytest

from validate.sections import sections


def cell(model, n, batch, context, seconds):
    return {"model": model, "n": n, "batch": batch, "context": context, "seconds": seconds} | {
        "low": seconds - 0.001,
        "high": seconds + 0.002,
    }


def place(batch, context, flat):
    """Where k = 1 always gains and k = 2 only in one sequence, each by its own numbers."""
    one = {"k": 1, "full_acceptance": 1.5 + batch + context / 1000, "break_even": 0.25 + batch / 100}
    two = {"k": 2, "full_acceptance": 2.5 if batch == 1 else 0.5, "break_even": 0.5 if batch == 1 else None}
    return {"batch": batch, "context": context, "flat_to": flat, "by_k": [one, two]}


@pytest.fixture
def document():
    cells = [
        cell("target", 1, 1, 100, 0.010),
        cell("target", 1, 1, 400, 0.020),
        cell("target", 1, 4, 100, 0.040),
        cell("target", 2, 1, 100, 0.015),
        cell("target", 2, 1, 400, 0.025),
        cell("target", 2, 4, 100, 0.070),
        cell("draft", 1, 1, 400, 0.005),
    ]
    fitted = {"base": 0.0101, "per_token": 0.0002, "per_kv": 0.00003, "median_error": 0.021, "worst_error": 0.16}
    places = [(1, 100, 2), (1, 400, 1), (4, 100, 5)]
    return {
        "schema": "specmath.cost/1",
        "cells": cells,
        "drift": 1.03,
        "overhead": 0.0004,
        "drawing": 0.0,
        "overheads": [0.0, 0.0001, 0.0004],
        "machine": {"processor": "none"},
        "fitted": {"target": fitted, "draft": None},
        "plain_steps": [place(b, c, flat) for b, c, flat in places],
    }


def test_every_forward_is_told_in_the_plain_steps_of_its_own_batch_and_context(document):
    table = sections(document)[1]
    assert table.columns == ("model", "n", "batch", "context", "ms", "quartiles", "plain steps")
    assert table.rows == (
        ("target", "1", "1", "100", "10.0", "9.00 to 12.0", "1.00"),
        ("target", "1", "1", "400", "20.0", "19.0 to 22.0", "1.00"),
        ("target", "1", "4", "100", "40.0", "39.0 to 42.0", "1.00"),
        ("target", "2", "1", "100", "15.0", "14.0 to 17.0", "1.50"),
        ("target", "2", "1", "400", "25.0", "24.0 to 27.0", "1.25"),
        ("target", "2", "4", "100", "70.0", "69.0 to 72.0", "1.75"),
        ("draft", "1", "1", "400", "5.00", "4.00 to 7.00", "0.250"),
    )


def test_what_was_measured_twice_and_what_accepting_takes_stand_below(document):
    assert sections(document)[1].after == (
        "The same cell measured twice differed by +3.0%.",
        "Drawing a token takes 0.00 ms of every plain step; accepting drafts, of one sequence, "
        "0.100 ms for 1, 0.400 ms for 2 more.",
    )


def test_what_every_k_could_gain_stands_by_batch_and_context(document):
    table = sections(document)[0]
    assert table.columns == ("batch", "context", "k", "if all were accepted", "pays from alpha")
    assert table.rows == (
        ("1", "100", "1", "2.60x", "0.260"),
        ("1", "100", "2", "2.50x", "0.500"),
        ("1", "400", "1", "2.90x", "0.260"),
        ("1", "400", "2", "2.50x", "0.500"),
        ("4", "100", "1", "5.60x", "0.290"),
        ("4", "100", "2", "0.50x", "never"),
    )


def test_the_linear_form_stands_with_its_median_and_worst_error(document):
    table = sections(document)[2]
    assert table.columns[1:] == (
        "base [ms]",
        "per token [ms]",
        "per cached token [ms]",
        "median error",
        "worst error",
    )
    assert table.rows == (("target", "10.1", "0.200", "0.0300", "2.1%", "16.0%"),)
    assert table.after[0] == (
        "Tokens that cost at most 1.1 times one: "
        "batch 1, context 100: up to 2; batch 1, context 400: up to 1; batch 4, context 100: up to 5."
    )
