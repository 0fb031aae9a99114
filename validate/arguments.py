"""The options that several subcommands share, and the numbers that are read from their texts."""

import pathlib
from enum import StrEnum
from typing import Annotated

import typer

K, LENGTHS = 4, "1-9,13,17,25,33"  # of a cost table where neither is given


class Dtype(StrEnum):
    """What the weights are held in."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


Target = Annotated[str, typer.Option(help="Target model: the bundled one, a folder, a .gguf file or a hub id.")]
Draft = Annotated[str, typer.Option(help="Draft model, early:N, or lookup: what followed the same words before.")]
Drafts = Annotated[
    list[str], typer.Option(help="Draft model, lookup, ngram or early:N (the target's first N layers); repeat it.")
]
Prompts = Annotated[
    str | None, typer.Option(help="JSON Lines of prompts, generated[:json,maths], hub:NAME; else the bundled.")
]
Precision = Annotated[
    float | None, typer.Option(min=0.001, help="As many prompts of each kind as alpha +- this takes.")
]
PerDomain = Annotated[int | None, typer.Option(min=1, help="Prompts of each kind of text at most.")]
Temperature = Annotated[float, typer.Option(min=0, help="0 is greedy.")]
TopK = Annotated[int, typer.Option(min=0, help="Sample among so many tokens; 0 is all.")]
TopP = Annotated[float, typer.Option(min=0, max=1, help="Sample within this mass.")]
MinP = Annotated[float, typer.Option(min=0, max=1, help="Sample above this share of the likeliest.")]
Tokens = Annotated[int, typer.Option(min=2, help="Tokens to decode per prompt at most.")]
Seed = Annotated[int, typer.Option(help="Seed of the sampling.")]
Out = Annotated[pathlib.Path | None, typer.Option(help="Folder to write; by default runs/TIME.")]
Resume = Annotated[pathlib.Path | None, typer.Option(help="Go on with the run of this folder.")]
Device = Annotated[str | None, typer.Option(help="cpu or cuda; by default CUDA where there is one.")]
Weights = Annotated[Dtype | None, typer.Option(help="By default float32 on a CPU and bfloat16 on CUDA.")]
Text = Annotated[
    pathlib.Path | None,
    typer.Option(help="What the target wrote: JSON Lines of prompt and response, or the folder of a run."),
]
Costs = Annotated[
    pathlib.Path | None, typer.Option(help="Sweeps of specmath cost or run with the same draft, for speedups.")
]
SweptTo = Annotated[
    int | None, typer.Option(min=1, help="Drafts of a round; without --lengths forwards over 1 to k + 1 tokens.")
]
Lengths = Annotated[str | None, typer.Option(help=f"Tokens per forward, like 1,2,5,9 or 1-33; without --k {LENGTHS}.")]
Contexts = Annotated[str, typer.Option("--context", help="Tokens in the cache before, like 128,512.")]
Batches = Annotated[str, typer.Option(help="Sequences per forward, like 1,4,16; 1 is always among them.")]
Dummy = Annotated[
    bool, typer.Option("--dummy-weights", help="Random weights: models are config.json files, or only named.")
]
Sweeps = Annotated[pathlib.Path | None, typer.Option(help="File of sweeps to write, or to go on with.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


def sizes(k: int | None, lengths: str | None) -> tuple[int, list[int]]:
    """The k of the verdict, by default the deepest of the lengths that were asked for, and tokens per forward."""
    if lengths is None:
        return (k, list(range(1, k + 2))) if k else (K, numbers("--lengths", LENGTHS))
    asked = sorted({1, *numbers("--lengths", lengths)})
    if asked[-1] == 1:
        raise ValueError(f"--lengths: found {lengths!r}, expected a forward over more than one token as well")
    if k and k + 1 not in asked:
        raise ValueError(f"--lengths: found {lengths!r}, expected {k + 1} among them for --k {k}: add it")
    return k or asked[-1] - 1, asked


def numbers(option: str, text: str) -> list[int]:
    """Whole numbers of at least 1, separated by commas, or a range like 1-33."""
    try:
        ends = [[int(end) for end in part.split("-")] for part in text.split(",")]
        found = sorted({n for first, *last in ends for n in range(first, (last or [first])[-1] + 1)})
        if all(first >= 1 and len(last) < 2 for first, *last in ends) and found:
            return found
    except ValueError:
        pass
    raise ValueError(f"{option}: found {text!r}, expected whole numbers of at least 1, like 1,2,5 or 1-8")
