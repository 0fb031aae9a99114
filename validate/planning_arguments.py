"""The options of `specmath plan`, and the seconds that are read from their texts."""

import pathlib
import re
from enum import StrEnum
from typing import Annotated

import typer

UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
LONGEST = {"tpot": 1.0, "ttft": 60.0, "e2e": 3600.0}  # [s] without a unit: more is meant in milliseconds


class Engine(StrEnum):
    """Whose host times are assumed."""

    vllm = "vllm"
    sglang = "sglang"
    trtllm = "trtllm"
    old = "vllm-2024"


Target = Annotated[str, typer.Option(help="A model of the catalogue, a config.json, its folder, or a hub id.")]
Drafts = Annotated[
    list[str], typer.Option(help="lookup, mtp, eagle[:ID], eagle3[:ID], sparse:TOKENS or a model; repeat it.")
]
Alphas = Annotated[
    list[str] | None, typer.Option(help="Chance that a tested draft is accepted: one per draft, or DRAFT=.8.")
]
Survivals = Annotated[
    list[str] | None, typer.Option(help="DRAFT=.7,.5,.3: the first 1, 2, 3 drafts all accepted; repeat it.")
]
Acceptances = Annotated[
    list[str] | None, typer.Option(help="[DRAFT=]FILE that specmath profile, fit or run --json printed; repeat it.")
]
Gpus = Annotated[list[str], typer.Option(help="A device of the catalogue, or one of yours as JSON; repeat it.")]
Parallelisms = Annotated[
    list[str] | None, typer.Option(help="GPUs of one replica, like 1,2,4; by default those of 1, 2, 4, 8 that fit.")
]
DraftParallelisms = Annotated[
    list[str] | None, typer.Option(help="GPUs of the draft, like 1,4 to try both; by default the target's.")
]
OfWeights = Annotated[str | None, typer.Option(help="Precision of the weights; by default the checkpoint's.")]
OfKv = Annotated[str, typer.Option(help="Precision of the KV cache.")]
OfEngine = Annotated[Engine | None, typer.Option(help="Whose host times; by default vLLM's, or those of --emit.")]
Rate = Annotated[float | None, typer.Option(help="Requests per second, of the whole fleet.")]
Prompt = Annotated[float | None, typer.Option(help="Mean tokens of a prompt.")]
Output = Annotated[float | None, typer.Option(help="Mean tokens of an answer.")]
Cached = Annotated[float, typer.Option(help="Share of a prompt that the prefix cache has.")]
Ttft = Annotated[str | None, typer.Option(help="Promised time to the first token, like 500ms or .5 (seconds).")]
Tpot = Annotated[str | None, typer.Option(help="Promised time per token after it, like 20ms.")]
E2e = Annotated[str | None, typer.Option(help="Promised time of the whole request, like 10s.")]
Percentile = Annotated[float | None, typer.Option(help="Hold this share of the requests to it, like .95; else means.")]
MaxBatch = Annotated[int, typer.Option(help="Sequences that an engine runs at once at most (max_num_seqs).")]
MaxContext = Annotated[int | None, typer.Option(help="Tokens of the longest sequence admitted, for the flags.")]
Idle = Annotated[float, typer.Option(help="Share of a step that an engine pays for drafts it has on at k = 0: .066.")]
Utilisation = Annotated[float, typer.Option(help="Share of its capacity that a replica is given at most.")]
Depths = Annotated[str, typer.Option("--k", help="Tokens drafted in a round, like 1-8 or 2,4.")]
Prices = Annotated[
    list[str] | None, typer.Option("--price", help="$ per GPU-hour, GPU=$, or a file of dated prices; repeat it.")
]
PriceDate = Annotated[str | None, typer.Option(help="As of when, like 2026-11: needed beside a price.")]
Measured = Annotated[
    pathlib.Path | None, typer.Option("--costs", help="Sweeps of specmath cost on this GPU, in place of the roofline.")
]
Calibrating = Annotated[
    pathlib.Path | None,
    typer.Option("--calibrate", help="Sweeps of specmath cost on this GPU, to fit the roofline to."),
]
Simulating = Annotated[bool, typer.Option("--simulate", help="Check the plan by simulating its requests.")]
Arrivals = Annotated[
    pathlib.Path | None, typer.Option(help="JSON Lines of prompt_tokens, output_tokens, arrival_s: the traffic.")
]
Emits = Annotated[
    list[str] | None, typer.Option("--emit", help="Flags for vllm, sglang, llamacpp or trtllm[@VERSION]; repeat it.")
]
WhatIfs = Annotated[
    list[str] | None,
    typer.Option("--whatif", help="The alpha, or draft cost, that pays, or that GPUS do for: alpha:8."),
]
Csv = Annotated[pathlib.Path | None, typer.Option(help="File of all ranked plans to write.")]
Plot = Annotated[pathlib.Path | None, typer.Option(help="SVG or PNG to draw: the trade, k by batch, latency by load.")]


def seconds(option: str, text: str | None) -> float | None:
    """Seconds of a text with or without a unit: 20ms, 0.5s, .5.

    >>> seconds("tpot", "20ms"), seconds("ttft", "2")
    (0.02, 2.0)
    """
    if text is None:
        return None
    found = re.fullmatch(r"(\d*\.?\d+(?:e[+-]?\d+)?)\s*(us|ms|s)?", text.strip().lower())
    if not found or not float(found[1]):
        raise ValueError(f"--{option}: found {text!r}, expected a time above 0, like 20ms or 0.5s")
    if not found[2] and float(found[1]) > LONGEST[option]:
        raise ValueError(f"--{option}: found {text}, which is in seconds without a unit: did you mean {text}ms?")
    return float(found[1]) * UNITS[found[2] or "s"]
