"""The command `specmath` and its options; a subcommand's own module is imported when it is chosen."""

import importlib
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, NoReturn

import typer

from validate.usage import USAGE, Once, explained

BUNDLED, LOOKUP = "SmolLM2-135M-Instruct", "lookup"
K, LENGTHS = 4, "1-9,13,17,25,33"  # of a cost table where neither is given
NOT_KEPT = ("out", "resume", "as_json")
BAD_INPUT, INTERRUPTED = 2, 130
EXTRA = {
    **dict.fromkeys(
        ("torch", "transformers", "gguf", "safetensors", "array_api_compat", "huggingface_hub"), "validate"
    ),
    "datasets": "hub",
}


class Dtype(StrEnum):
    """What the weights are held in."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


app = typer.Typer(
    help="Know whether speculative decoding pays before you deploy it, and prove it after.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
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
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit: 0 answered, 1 stopped before the answer, 2 bad input, 130 interrupted."""
    sys.exit(_status(arguments))


@app.callback(invoke_without_command=True)
def _without_command(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command(cls=Once)
def speedup(
    alpha: Annotated[float, typer.Option(help="Chance that a tested draft is accepted, 0 to 1.")],
    c: Annotated[float, typer.Option(help="Time of one draft forward in plain steps of the target.")],
    k: Annotated[int | None, typer.Option(help="Tokens drafted in a round; by default the best.")] = None,
    d: Annotated[float, typer.Option(help="What each drafted token adds to a verification, in plain steps.")] = 0.0,
    o: Annotated[float, typer.Option(help="What a round costs besides, in plain steps.")] = 0.0,
    as_json: Json = False,
) -> None:
    """Speedup from an acceptance rate and costs; best k, break-even."""
    from validate import document

    _answer(document.speedup_document(alpha, k, c, d=d, o=o), as_json=as_json)


@app.command(cls=Once)
def run(
    context: typer.Context,
    target: Target = BUNDLED,
    draft: Drafts = [LOOKUP],  # noqa: B006 (typer copies it)
    prompts: Prompts = None,
    k: Annotated[list[int], typer.Option(min=1, help="Tokens drafted in a round at most; repeat it.")] = [4],  # noqa: B006
    temperature: Temperature = 0.0,
    top_k: TopK = 0,
    top_p: TopP = 1.0,
    min_p: MinP = 0.0,
    device: Device = None,
    dtype: Weights = None,
    tokens: Tokens = 48,
    per_domain: PerDomain = None,
    precision: Precision = None,
    seed: Seed = 0,
    out: Out = None,
    resume: Resume = None,
    as_json: Json = False,
) -> None:
    """Predict the speedup, decode for real, compare, and conclude."""
    _work("run", context, out, resume)


@app.command(cls=Once)
def profile(
    context: typer.Context,
    target: Target = BUNDLED,
    draft: Drafts = [LOOKUP, "ngram"],  # noqa: B006 (typer copies it)
    text: Annotated[
        pathlib.Path | None,
        typer.Option(help="What the target wrote: JSON Lines of prompt and response, or the folder of a run."),
    ] = None,
    prompts: Prompts = None,
    k: Annotated[int, typer.Option(min=1, help="Depths 1 to k.")] = 8,
    costs: Annotated[
        pathlib.Path | None, typer.Option(help="Sweeps of specmath cost or run with the same draft, for speedups.")
    ] = None,
    temperature: Temperature = 0.0,
    top_k: TopK = 0,
    top_p: TopP = 1.0,
    min_p: MinP = 0.0,
    device: Device = None,
    dtype: Weights = None,
    tokens: Tokens = 64,
    per_domain: PerDomain = None,
    precision: Precision = None,
    seed: Seed = 0,
    out: Out = None,
    resume: Resume = None,
    as_json: Json = False,
) -> None:
    """Acceptance of every draft at every k, from scored text."""
    _work("profile", context, out, resume)


@app.command(cls=Once)
def cost(
    context: typer.Context,
    target: Target = BUNDLED,
    draft: Draft = LOOKUP,
    k: Annotated[
        int | None, typer.Option(min=1, help="Drafts of a round; without --lengths forwards over 1 to k + 1 tokens.")
    ] = None,
    lengths: Annotated[
        str | None, typer.Option(help=f"Tokens per forward, like 1,2,5,9 or 1-33; without --k {LENGTHS}.")
    ] = None,
    contexts: Annotated[str, typer.Option("--context", help="Tokens in the cache before, like 128,512.")] = "128,512",
    batches: Annotated[str, typer.Option(help="Sequences per forward, like 1,4,16; 1 is always among them.")] = "1",
    repeats: Annotated[int, typer.Option(min=1, help="Sweeps over all cells.")] = 20,
    dummy_weights: Annotated[
        bool, typer.Option("--dummy-weights", help="Random weights: models are config.json files, or only named.")
    ] = False,
    temperature: Temperature = 0.0,
    top_k: TopK = 0,
    top_p: TopP = 1.0,
    min_p: MinP = 0.0,
    out: Annotated[pathlib.Path | None, typer.Option(help="File of sweeps to write, or to go on with.")] = None,
    device: Device = None,
    dtype: Weights = None,
    as_json: Json = False,
) -> None:
    """Measure what forwards cost: v(n), c, and the alpha that pays."""
    from validate import ahead

    deepest, sizes = _sizes(k, lengths)
    shapes = sizes, _numbers("--context", contexts), sorted({1, *_numbers("--batches", batches)})
    options = _options(context, out=out)
    ahead.measured(options)
    _answer(*_loaded("cost", options).answer(options, deepest, *shapes), as_json=as_json)


@app.command(cls=Once)
def fit(
    source: Annotated[pathlib.Path, typer.Argument(help="A trace.jsonl, or the folder of a run.")],
    as_json: Json = False,
) -> None:
    """Acceptance and speedup from the trace of a run; best k."""
    from validate.commands import fit as command

    _answer(command.answer(source), as_json=as_json)


def _work(command: str, context: typer.Context, out: pathlib.Path | None, resume: pathlib.Path | None) -> None:
    """A run or a profile, unless it is done: what can be judged without a model comes first."""
    from validate import ahead, folder, outcome

    options, added = _options(context), {}
    if resume:
        added = _beside_resume(command, context, resume)
        options = folder.begun(resume, command) | added
    place = resume or folder.new(out, command)
    found = outcome.finished(place, command, options) if resume and not added else None
    if found is None:
        prompts = ahead.begun(options)
        found = _loaded(command, options).answer(options, place, prompts)
    _answer(*found, as_json=context.params["as_json"])


def _loaded(command: str, options: Mapping[str, Any]) -> Any:
    """The module of a subcommand that runs models, which takes its time to import."""
    from validate import ahead

    ahead.loading(options["target"])
    return importlib.import_module(f"validate.commands.{command}")


def _status(arguments: Sequence[str] | None) -> int:
    """Exit code of the command; whatever the user can mend is one line on stderr."""
    try:
        return app(arguments, prog_name="specmath", standalone_mode=False) or 0
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except ModuleNotFoundError as error:
        extra = EXTRA.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        return _complain(f"{error.name} is not installed; this needs: pip install 'specmath[{extra}]'")
    except USAGE as error:
        return _complain(explained(error, sys.argv[1:] if arguments is None else arguments))
    except OSError as error:
        return _complain(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except ValueError as error:
        return _complain(str(error))


def _complain(message: str) -> int:
    print(f"specmath: {' '.join(message.split())}", file=sys.stderr, flush=True)
    return BAD_INPUT


def _answer(document: Mapping[str, Any], files: Sequence[str] = (), *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(document, allow_nan=False))
        return
    if sys.stdout.isatty():
        from validate import terminal

        terminal.show(document, files)
    else:
        from validate import report

        sys.stdout.write(report.plain(document, files))


def _options(context: typer.Context, **read: Any) -> dict[str, Any]:
    """The options of a new run as JSON has them, those that were read from a text among them."""
    given = {name: value for name, value in context.params.items() if name not in NOT_KEPT} | read
    if given.get("prompts") and pathlib.Path(given["prompts"]).is_file():
        given["prompts"] = pathlib.Path(given["prompts"])
    return {name: str(value.resolve()) if isinstance(value, pathlib.Path) else value for name, value in given.items()}


def _beside_resume(command: str, context: typer.Context, folder: pathlib.Path) -> dict[str, Any]:
    """The costs given beside --resume, which change only the prices; no other option can be changed on the way."""
    sources = {name: context.get_parameter_source(name) for name in context.params if name not in ("resume", "as_json")}
    given = [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    for name in given:
        if (command, name) != ("profile", "costs"):
            option = name.replace("_", "-")
            goes_on = f"which goes on with the options of {folder}; leave it out"
            raise ValueError(f"--{option}: found beside --resume, {goes_on}")
    return {name: _options(context)[name] for name in given}


def _sizes(k: int | None, lengths: str | None) -> tuple[int, list[int]]:
    """The k of the verdict, by default the deepest of the lengths that were asked for, and tokens per forward."""
    if lengths is None:
        return (k, list(range(1, k + 2))) if k else (K, _numbers("--lengths", LENGTHS))
    sizes = sorted({1, *_numbers("--lengths", lengths)})
    if sizes[-1] == 1:
        raise ValueError(f"--lengths: found {lengths!r}, expected a forward over more than one token as well")
    if k and k + 1 not in sizes:
        raise ValueError(f"--lengths: found {lengths!r}, expected {k + 1} among them for --k {k}: add it")
    return k or sizes[-1] - 1, sizes


def _numbers(option: str, text: str) -> list[int]:
    """Whole numbers of at least 1, separated by commas, or a range like 1-33."""
    try:
        ends = [[int(end) for end in part.split("-")] for part in text.split(",")]
        found = sorted({n for first, *last in ends for n in range(first, (last or [first])[-1] + 1)})
        if all(first >= 1 and len(last) < 2 for first, *last in ends) and found:
            return found
    except ValueError:
        pass
    raise ValueError(f"{option}: found {text!r}, expected whole numbers of at least 1, like 1,2,5 or 1-8")
