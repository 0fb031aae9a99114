"""Imports only downward: a file may import from strictly lower floors, at module level."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent

FLOORS = {
    "specmath/draft.py": 0,
    "specmath/renewal.py": 0,
    "specmath/sampling.py": 0,
    "specmath/tally.py": 0,
    "specmath/configs.py": 0,
    "specmath/quantised.py": 0,
    "specmath/shapes.py": 1,
    "specmath/hardware.py": 2,
    "specmath/acceptor/drawing.py": 5,
    "specmath/acceptor/rows.py": 5,
    "specmath/arrivals.py": 5,
    "specmath/efficiency.py": 3,
    "specmath/roofline.py": 4,
    "specmath/memory.py": 6,
    "specmath/calibration.py": 6,
    "specmath/cost.py": 5,
    "specmath/queueing.py": 5,
    "specmath/traffic.py": 5,
    "specmath/divergence.py": 5,
    "specmath/hidden.py": 5,
    "specmath/law.py": 5,
    "specmath/tree_search.py": 5,
    "specmath/power_law.py": 5,
    "specmath/acceptor/block.py": 6,
    "specmath/acceptor/chain.py": 6,
    "specmath/acceptor/k_seq.py": 6,
    "specmath/acceptor/tree.py": 6,
    "specmath/finish.py": 6,
    "specmath/intervals.py": 6,
    "specmath/policies.py": 6,
    "specmath/siblings.py": 6,
    "specmath/varying.py": 6,
    "specmath/replica.py": 6,
    "specmath/stay.py": 6,
    "specmath/acceptance.py": 7,
    "specmath/spread.py": 7,
    "specmath/acceptor/lossy.py": 7,
    "specmath/tails.py": 7,
    "specmath/bootstrap.py": 7,
    "specmath/learning.py": 7,
    "specmath/decision.py": 7,
    "specmath/acceptor/__init__.py": 8,
    "specmath/checks.py": 8,
    "specmath/likelihood.py": 8,
    "specmath/simulate.py": 8,
    "specmath/speedup.py": 8,
    "specmath/steady.py": 8,
    "specmath/fitting.py": 9,
    "specmath/regimes.py": 9,
    "specmath/replay.py": 9,
    "specmath/serving.py": 9,
    "specmath/events.py": 10,
    "specmath/selection.py": 10,
    "specmath/economics.py": 10,
    "specmath/estimate.py": 11,
    "specmath/training.py": 11,
    "specmath/schedule.py": 9,
    "specmath/candidates.py": 10,
    "specmath/load.py": 11,
    "specmath/varied.py": 11,
    "specmath/curves.py": 12,
    "specmath/inverse.py": 12,
    "specmath/obstacle.py": 12,
    "specmath/sensitivity.py": 12,
    "specmath/plan.py": 13,
    "specmath/__init__.py": 14,
    "validate/__init__.py": 0,
    "validate/names.py": 15,
    "validate/usage.py": 15,
    "validate/loading.py": 16,
    "validate/lines.py": 16,
    "validate/jsonl.py": 16,
    "validate/console.py": 16,
    "validate/attention.py": 15,
    "validate/graphs.py": 15,
    "validate/cache.py": 16,
    "validate/masks.py": 16,
    "validate/model.py": 17,
    "validate/products.py": 17,
    "validate/clock.py": 17,
    "validate/arrays.py": 16,
    "validate/processors.py": 16,
    "validate/rows.py": 17,
    "validate/rounds.py": 18,
    "validate/workload.py": 17,
    "validate/sampler.py": 16,
    "validate/costs.py": 17,
    "validate/inputs.py": 17,
    "validate/trace.py": 17,
    "validate/folder.py": 17,
    "validate/deployment.py": 17,
    "validate/plan_energy.py": 16,
    "validate/plan_numbers.py": 16,
    "validate/simulated.py": 18,
    "validate/headroom.py": 16,
    "validate/flags.py": 19,
    "validate/candidates.py": 18,
    "validate/acceptances.py": 16,
    "validate/adapters/__init__.py": 0,
    "validate/adapters/llamacpp.py": 18,
    "validate/adapters/sglang.py": 18,
    "validate/adapters/trtllm.py": 18,
    "validate/adapters/vllm.py": 18,
    "validate/texts.py": 18,
    "validate/logged.py": 19,
    "validate/generate.py": 18,
    "validate/hub.py": 18,
    "validate/sources.py": 19,
    "validate/ahead.py": 20,
    "validate/scores.py": 18,
    "validate/drafters.py": 18,
    "validate/dummy.py": 17,
    "validate/models.py": 18,
    "validate/decoder.py": 19,
    "validate/scoring.py": 19,
    "validate/offsets.py": 19,
    "validate/pricing.py": 19,
    "validate/measure.py": 20,
    "validate/arms.py": 20,
    "validate/corpus.py": 21,
    "validate/writing.py": 20,
    "validate/profile.py": 20,
    "validate/arguments.py": 15,
    "validate/planning_arguments.py": 15,
    "validate/laws.py": 19,
    "validate/pairs.py": 20,
    "validate/observing.py": 20,
    "validate/lossless_document.py": 24,
    "validate/lossless_sections.py": 24,
    "validate/plan_sections.py": 25,
    "validate/plan_document.py": 25,
    "validate/plan_words.py": 23,
    "validate/plan_verdict.py": 24,
    "validate/commands/lossless.py": 30,
    "validate/commands/plan.py": 30,
    "validate/betting.py": 18,
    "validate/directions.py": 19,
    "validate/power.py": 19,
    "validate/mismatch.py": 18,
    "validate/lossless.py": 21,
    "validate/fit.py": 21,
    "validate/compare.py": 22,
    "validate/document.py": 22,
    "validate/advice.py": 23,
    "validate/conclude.py": 24,
    "validate/cost_document.py": 23,
    "validate/cost_sections.py": 24,
    "validate/run_sections.py": 25,
    "validate/profile_verdict.py": 24,
    "validate/profile_document.py": 25,
    "validate/words.py": 23,
    "validate/prediction.py": 23,
    "validate/study.py": 24,
    "validate/study_document.py": 25,
    "validate/outcome.py": 24,
    "validate/profile_sections.py": 24,
    "validate/sections.py": 26,
    "validate/terminal.py": 27,
    "validate/report.py": 27,
    "validate/charts.py": 27,
    "validate/plan_charts.py": 28,
    "validate/run_charts.py": 28,
    "validate/page.py": 27,
    "validate/commands/__init__.py": 0,
    "validate/commands/cost.py": 29,
    "validate/commands/fit.py": 29,
    "validate/commands/run.py": 29,
    "validate/commands/profile.py": 30,
    "validate/cli.py": 31,
    "validate/__main__.py": 32,
}
HEAVY = {"torch", "transformers", "matplotlib", "gguf", "safetensors"}
MODELS = "arrays attention cache clock decoder drafters dummy graphs laws loading masks measure model models"
TORCH = f"{MODELS} products scoring"
MAY_IMPORT_TORCH = {f"validate/{name}.py" for name in TORCH.split()}
MAX_LINES, MAX_FUNCTION_LINES, MEDIAN_BODY_LINES = 400, 40, 8
MAX_ARGUMENTS = 7  # verify(tokens, q, p, u, v, *, xp, drafted) and bootstrap are the widest; the others keep to 6
SOURCES = sorted(
    str(path.relative_to(ROOT)) for package in ("specmath", "validate") for path in (ROOT / package).rglob("*.py")
)


def parse(source):
    return ast.parse((ROOT / source).read_text())


def imports(tree, source):
    """(module, line, inside a function?) of every import, `from a import b` giving a.b as well as a."""
    inside = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for n in ast.walk(f)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source}:{node.lineno}: write the whole module name"
            names = [node.module] + [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from ((name, node.lineno, id(node) in inside) for name in names)


def file_of(module):
    path = module.replace(".", "/")
    return next((f for f in (f"{path}.py", f"{path}/__init__.py") if f in FLOORS), None)


def functions(tree):
    return [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]


def length(function):
    return function.end_lineno - function.lineno + 1


def body_length(function):
    """Lines from the signature's end, the docstring not counted."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return body[-1].end_lineno - body[0].lineno + 2 if body else 1


def test_every_file_has_a_floor():
    assert set(SOURCES) <= set(FLOORS)


@pytest.mark.parametrize("source", SOURCES)
def test_imports_point_down(source):
    for module, line, inside in imports(parse(source), source):
        below = file_of(module)
        if below and below != source:
            assert FLOORS[below] < FLOORS[source], f"{source}:{line} imports {module}, not from a lower floor"
        if source != "validate/cli.py":
            assert not inside, f"{source}:{line} imports {module} inside a function"


@pytest.mark.parametrize("source", SOURCES)
def test_heavy_imports_stay_where_they_belong(source):
    roots = {module.split(".")[0] for module, _, _ in imports(parse(source), source)} & HEAVY
    allowed = {"matplotlib"} if source == "validate/charts.py" else set()
    allowed |= HEAVY - {"matplotlib"} if source in MAY_IMPORT_TORCH else set()
    assert roots <= allowed


@pytest.mark.parametrize("source", SOURCES)
def test_files_and_functions_stay_short(source):
    assert len((ROOT / source).read_text().splitlines()) <= MAX_LINES
    for function in functions(parse(source)):
        assert length(function) <= MAX_FUNCTION_LINES, f"{source}:{function.lineno} {function.name} is too long"
        arguments = function.args
        count = len(arguments.args + arguments.kwonlyargs + arguments.posonlyargs)
        count -= bool(arguments.args) and arguments.args[0].arg in ("self", "cls")
        if source != "validate/cli.py":
            assert count <= MAX_ARGUMENTS, f"{source}:{function.lineno} {function.name} takes {count} arguments"


def test_median_function_is_short():
    lengths = sorted(body_length(f) for source in SOURCES for f in functions(parse(source)))
    assert not lengths or lengths[len(lengths) // 2] <= MEDIAN_BODY_LINES
