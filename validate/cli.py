"""The command `specmath`: speedup, run, cost and fit. What a subcommand needs is imported when it is chosen."""

import json
import pathlib
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, NoReturn, TypeVar

import typer

T = TypeVar("T")
SETTINGS, REPORT_JSON, REPORT_TEXT, CHART = "settings.json", "report.json", "report.md", "speedup"
BUNDLED, LOOKUP, PER_DOMAIN = "SmolLM2-135M-Instruct", "lookup", 4
NOT_KEPT = ("out", "resume", "as_json")
STOPPED, BAD_INPUT, INTERRUPTED = 1, 2, 130
EXTRA = ("torch", "transformers", "gguf", "safetensors", "array_api_compat")


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
Draft = Annotated[str, typer.Option(help="Draft model, or lookup: what followed the same words before.")]
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


@app.command()
def speedup(
    alpha: Annotated[float, typer.Option(help="Chance that a tested draft is accepted, 0 to 1.")],
    k: Annotated[int, typer.Option(help="Tokens drafted in a round.")],
    c: Annotated[float, typer.Option(help="Time of one draft forward in plain steps of the target.")],
    d: Annotated[float, typer.Option(help="What each drafted token adds to a verification, in plain steps.")] = 0.0,
    o: Annotated[float, typer.Option(help="What a round costs besides, in plain steps.")] = 0.0,
    as_json: Json = False,
) -> None:
    """Speedup from an acceptance rate and costs, in closed form; best k, break-even, the curve."""
    from validate import document

    _answer(document.speedup_document(alpha, k, c, d=d, o=o), as_json)


@app.command()
def run(
    context: typer.Context,
    target: Target = BUNDLED,
    draft: Draft = LOOKUP,
    prompts: Annotated[pathlib.Path | None, typer.Option(help="JSON Lines of prompts; else the bundled.")] = None,
    k: Annotated[int, typer.Option(min=1, help="Tokens drafted in a round at most.")] = 4,
    temperature: Annotated[float, typer.Option(min=0, help="0 is greedy.")] = 0.0,
    top_k: Annotated[int, typer.Option(min=0, help="Sample among so many tokens; 0 is all.")] = 0,
    top_p: Annotated[float, typer.Option(min=0, max=1, help="Sample within this mass.")] = 1.0,
    min_p: Annotated[float, typer.Option(min=0, max=1, help="Sample above this share of the likeliest.")] = 0.0,
    device: Device = None,
    dtype: Weights = None,
    tokens: Annotated[int, typer.Option(min=2, help="Tokens to decode per prompt at most.")] = 48,
    per_domain: Annotated[int | None, typer.Option(min=1, help="Prompts of each kind of text at most.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the sampling.")] = 0,
    out: Annotated[pathlib.Path | None, typer.Option(help="Folder to write; by default runs/TIME.")] = None,
    resume: Annotated[pathlib.Path | None, typer.Option(help="Go on with the run of this folder.")] = None,
    as_json: Json = False,
) -> None:
    """Decode prompts plain and speculatively, hold the prediction against the clock, and conclude."""
    options, folder = _resumed(context, resume) if resume else _begun(context, out)
    _say(f"loading {options['target']}")
    study = _study(options, folder)
    with _resumable(folder):
        _decode(study, options, folder)
        document, files = _concluded(folder)
    _answer(document, as_json, files)


@app.command()
def cost(
    target: Target = BUNDLED,
    draft: Draft = LOOKUP,
    k: Annotated[int, typer.Option(min=1, help="Measure forwards over 1 to k + 1 tokens.")] = 4,
    lengths: Annotated[str | None, typer.Option(help="Tokens per forward instead, like 1,2,5,9.")] = None,
    context: Annotated[str, typer.Option(help="Tokens in the cache before, like 128,512.")] = "128,512",
    repeats: Annotated[int, typer.Option(min=1, help="Sweeps over all cells.")] = 20,
    device: Device = None,
    dtype: Weights = None,
    as_json: Json = False,
) -> None:
    """Measure the cost table of a target and a draft: v(n), c, and what acceptance it takes to pay."""
    from validate import costs, document, loading, sampler, study

    sizes = sorted({1, *_numbers("--lengths", lengths)}) if lengths else list(range(1, k + 2))
    if sizes[-1] == 1:
        raise ValueError(f"--lengths: found {lengths!r}, expected a forward over more than one token as well")
    contexts = _numbers("--context", context)
    place = loading.placement(device, dtype)
    settings = study.Settings(target, draft, max(sizes) - 1, sampler.Sampler(), 1, 0, *place)
    _say(f"loading {target}")
    bench = study.cost_bench(settings, sizes, contexts)
    bench.warm()
    sweeps = ((number, "sweep", bench.sweep()) for number in range(1, repeats + 1))
    measured = costs.Costs(list(_watched(sweeps, repeats)))
    _answer(document.cost_document(measured, settings.k, study.machine(settings)), as_json)


@app.command()
def fit(
    source: Annotated[pathlib.Path, typer.Argument(help="A trace.jsonl, or the folder of a run.")],
    as_json: Json = False,
) -> None:
    """Read acceptance and speedup from a trace, whole or interrupted; best k where costs lie beside it."""
    from validate import conclude, costs, trace

    path = source / trace.FILE if source.is_dir() else source
    beside = path.with_name(costs.FILE)
    prices = costs.read(beside) if beside.exists() else None
    _answer(conclude.fit_document(trace.read(path), prices, str(source)), as_json)


def _status(arguments: Sequence[str] | None) -> int:
    """Exit code of the command; whatever the user can mend is one line on stderr."""
    usage: Any = typer.BadParameter.__base__
    try:
        return app(arguments, prog_name="specmath", standalone_mode=False) or 0
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in EXTRA:
            raise
        return _complain(f"{error.name} is not installed; this needs: pip install 'specmath[validate]'")
    except usage as error:
        return _complain(error.format_message())
    except OSError as error:
        return _complain(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except ValueError as error:
        return _complain(str(error))


def _complain(message: str) -> int:
    _say(f"specmath: {' '.join(message.split())}")
    return BAD_INPUT


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _answer(document: Mapping[str, Any], as_json: bool, files: Sequence[str] = ()) -> None:
    if as_json:
        print(json.dumps(document, allow_nan=False))
        return
    if sys.stdout.isatty():
        from validate import terminal

        terminal.show(document, files)
    else:
        from validate import report

        sys.stdout.write(report.plain(document, files))


def _begun(context: typer.Context, out: pathlib.Path | None) -> tuple[dict[str, Any], pathlib.Path]:
    """The options of a new run, with what was left open decided, and its folder."""
    from validate import loading, trace

    options = {name: value for name, value in context.params.items() if name not in NOT_KEPT}
    folder = out or pathlib.Path("runs") / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    if (folder / trace.FILE).exists():
        raise ValueError(f"{folder} holds a run; expected a new folder, or go on with: specmath run --resume {folder}")
    options["device"], options["dtype"] = loading.placement(options["device"], options["dtype"])
    options["prompts"] = options["prompts"] and str(options["prompts"].resolve())
    return options, folder


def _resumed(context: typer.Context, folder: pathlib.Path) -> tuple[dict[str, Any], pathlib.Path]:
    """The options that a run began with; they cannot be changed on the way."""
    sources = {name: context.get_parameter_source(name) for name in context.params if name not in ("resume", "as_json")}
    given = [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    if given:
        name = given[0].replace("_", "-")
        raise ValueError(f"--{name}: found beside --resume, which goes on with the options of {folder}; leave it out")
    if not (folder / SETTINGS).is_file():
        raise ValueError(f"{folder}: found no {SETTINGS}, expected the folder of a run")
    return json.loads((folder / SETTINGS).read_text()), folder


def _study(options: Mapping[str, Any], folder: pathlib.Path) -> Any:
    from validate import sampler, study

    warp = sampler.Sampler(*(options[name] for name in ("temperature", "top_k", "top_p", "min_p")))
    rest = (options[name] for name in ("tokens", "seed", "device", "dtype"))
    settings = study.Settings(options["target"], options["draft"], options["k"], warp, *rest)
    return study.Study(settings, _prompts(options["prompts"], options["per_domain"]), folder)


def _prompts(path: str | None, per_domain: int | None) -> list[Any]:
    """The bundled prompts or those of a file, the first so many of each domain."""
    from validate import workload

    if path is None:
        return workload.bundled(per_domain or PER_DOMAIN)
    seen: Counter[str] = Counter()
    prompts = workload.read_prompts(path)
    for prompt in list(prompts):
        seen[prompt.domain] += 1
        if per_domain and seen[prompt.domain] > per_domain:
            prompts.remove(prompt)
    return prompts


@contextmanager
def _resumable(folder: pathlib.Path) -> Iterator[None]:
    """Where the run is stopped, say what is kept and how to go on."""
    again = f"what was decoded is kept, go on with: specmath run --resume {folder}"
    try:
        yield
    except KeyboardInterrupt:
        _say(f"specmath: interrupted; {again}")
        raise typer.Exit(INTERRUPTED) from None
    except OSError as error:
        _say(f"specmath: {error}; {again}")
        raise typer.Exit(STOPPED) from None


def _decode(study: Any, options: Mapping[str, Any], folder: pathlib.Path) -> None:
    """Decode every prompt that is not finished yet."""
    folder.mkdir(parents=True, exist_ok=True)
    begun = (folder / SETTINGS).exists()
    if not begun:
        _write(folder, SETTINGS, json.dumps(options).encode())
    places = {prompt.id: number for number, prompt in enumerate(study.prompts, 1)}
    finished = ((places[p.id], f"{p.id} ({p.domain})", p) for p in study.run(resume=begun))
    for _ in _watched(finished, len(places)):
        pass


def _concluded(folder: pathlib.Path) -> tuple[dict[str, Any], list[str]]:
    """What the files of a run show, written beside them; and the paths of all."""
    from validate import conclude, costs, report, trace

    document = conclude.run_document(trace.read(folder / trace.FILE), costs.read(folder / costs.FILE))
    made = {REPORT_JSON: json.dumps(document, allow_nan=False, indent=1).encode(), **_charts(document)}
    chart = next((name for name in made if name.endswith(".svg")), "")
    files = [trace.FILE, costs.FILE, SETTINGS, *made, REPORT_TEXT]
    made[REPORT_TEXT] = report.markdown(document, files, chart).encode()
    for name, content in made.items():
        _write(folder, name, content)
    return document, [str(folder / name) for name in files]


def _charts(document: Mapping[str, Any]) -> dict[str, bytes]:
    """The chart's files; without matplotlib there are none, and the run is not lost for it."""
    from validate import sections

    try:
        from validate import charts
    except ModuleNotFoundError:
        _say("no chart: matplotlib is not installed (pip install 'specmath[figures]')")
        return {}
    figure = charts.speedups(document, sections.headline(document))
    return {f"{CHART}.{kind}": charts.rendered(figure, kind) for kind in ("svg", "png")}


def _write(folder: pathlib.Path, name: str, content: bytes) -> None:
    """A file whole or not at all."""
    aside = folder / f".{name}.new"
    try:
        aside.write_bytes(content)
        aside.replace(folder / name)
    finally:
        aside.unlink(missing_ok=True)


def _watched(items: Iterable[tuple[int, str, T]], total: int) -> Iterator[T]:
    """Items as they come, each with its number and name: a bar on a terminal, else a line for each, on stderr."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("", total=total)
            for number, name, item in items:
                progress.update(task, completed=number, description=name)
                yield item
        return
    for number, name, item in items:
        _say(f"{number}/{total} {name}")
        yield item


def _numbers(option: str, text: str) -> list[int]:
    """Whole numbers of at least 1, separated by commas."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) for part in parts):
        raise ValueError(f"{option}: found {text!r}, expected whole numbers of at least 1, like 1,2,5")
    return sorted({int(part) for part in parts})
