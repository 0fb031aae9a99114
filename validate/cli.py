"""The command `specmath` and its options; a subcommand's own module is imported when it is chosen."""

import importlib
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NoReturn

import typer

from validate import planning_arguments as on
from validate.arguments import (
    Batches,
    Contexts,
    Costs,
    Device,
    Draft,
    Drafts,
    Dummy,
    Json,
    Lengths,
    MinP,
    Out,
    PerDomain,
    Precision,
    Prompts,
    Resume,
    Seed,
    Sweeps,
    SweptTo,
    Target,
    Temperature,
    Text,
    Tokens,
    TopK,
    TopP,
    Weights,
    numbers,
    sizes,
)
from validate.usage import USAGE, Once, explained

BUNDLED, LOOKUP = "SmolLM2-135M-Instruct", "lookup"
NOT_KEPT = ("out", "resume", "as_json")
BAD_INPUT, INTERRUPTED = 2, 130
EXIT = {"pass": 0, "fail": 1, "infeasible": 1, "cannot_tell": 3}
EXTRA = {
    **dict.fromkeys(
        ("torch", "transformers", "gguf", "safetensors", "array_api_compat", "huggingface_hub"), "validate"
    ),
    "datasets": "hub",
}

app = typer.Typer(
    help="Know whether speculative decoding pays before you deploy it, and prove it after.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit: 0 answered or pass, 1 stopped or fail, 2 bad input, 3 cannot tell, 130 interrupted."""
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
    text: Text = None,
    prompts: Prompts = None,
    k: Annotated[int, typer.Option(min=1, help="Depths 1 to k.")] = 8,
    costs: Costs = None,
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
    k: SweptTo = None,
    lengths: Lengths = None,
    contexts: Contexts = "128,512",
    batches: Batches = "1",
    repeats: Annotated[int, typer.Option(min=1, help="Sweeps over all cells.")] = 20,
    dummy_weights: Dummy = False,
    temperature: Temperature = 0.0,
    top_k: TopK = 0,
    top_p: TopP = 1.0,
    min_p: MinP = 0.0,
    out: Sweeps = None,
    device: Device = None,
    dtype: Weights = None,
    as_json: Json = False,
) -> None:
    """Measure what forwards cost: v(n), c, and the alpha that pays."""
    from validate import ahead

    deepest, asked = sizes(k, lengths)
    shapes = asked, numbers("--context", contexts), sorted({1, *numbers("--batches", batches)})
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


@app.command(cls=Once)
def lossless(
    context: typer.Context,
    target: Target = BUNDLED,
    draft: Draft = LOOKUP,
    k: Annotated[int, typer.Option(min=1, help="Tokens drafted in a round at most.")] = 4,
    temperature: Temperature = 0.0,
    top_k: TopK = 0,
    top_p: TopP = 1.0,
    min_p: MinP = 0.0,
    prompts: Prompts = None,
    per_domain: PerDomain = 1,
    tokens: Tokens = 24,
    sample: Annotated[int, typer.Option(min=1, help="Tokens to test in all where the target samples.")] = 4000,
    tv: Annotated[float, typer.Option(min=0.001, max=0.5, help="A pass would have found a law off by this.")] = 0.03,
    seed: Seed = 0,
    device: Device = None,
    dtype: Weights = None,
    as_json: Json = False,
) -> int:
    """Whether speculation keeps the target's texts, or their law."""
    from validate import ahead

    options = _options(context)
    asked = ahead.tested(options)
    found = _loaded("lossless", options).answer(options, asked)
    _answer(found, as_json=as_json)
    return EXIT[found["verdict"]]


@app.command(cls=Once)
def plan(
    context: typer.Context,
    target: on.Target,
    draft: on.Drafts,
    gpu: on.Gpus,
    alpha: on.Alphas = None,
    survival: on.Survivals = None,
    acceptance: on.Acceptances = None,
    rate: on.Rate = None,
    prompt: on.Prompt = None,
    output: on.Output = None,
    cached: on.Cached = 0.0,
    arrivals: on.Arrivals = None,
    ttft: on.Ttft = None,
    tpot: on.Tpot = None,
    e2e: on.E2e = None,
    percentile: on.Percentile = None,
    k: on.Depths = "1-8",
    tp: on.Parallelisms = None,
    draft_tp: on.DraftParallelisms = None,
    weights: on.OfWeights = None,
    kv: on.OfKv = "bf16",
    engine: on.OfEngine = None,
    max_batch: on.MaxBatch = 256,
    max_context: on.MaxContext = None,
    idle: on.Idle = 0.0,
    utilisation: on.Utilisation = 0.8,
    price: on.Prices = None,
    price_date: on.PriceDate = None,
    costs: on.Measured = None,
    calibrate: on.Calibrating = None,
    simulate: on.Simulating = False,
    emit: on.Emits = None,
    whatif: on.WhatIfs = None,
    csv: on.Csv = None,
    plot: on.Plot = None,
    as_json: Json = False,
) -> int:
    """GPUs, dollars, k by load, and the flags to paste."""
    return _planned(context.params)


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


def _planned(options: Mapping[str, Any]) -> int:
    """A plan, and its charts where they are asked for."""
    from validate.commands import plan as command

    document = command.answer(options)
    if options["plot"] and document["choice"]:
        from validate import plan_charts

        plan_charts.draw(document, options["plot"])
    _answer(document, as_json=options["as_json"])
    return EXIT.get(document["verdict"], 0)


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
