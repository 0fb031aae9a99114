"""What `import specmath` brings along, asked of a fresh interpreter."""

import subprocess
import sys

import pytest

import specmath

HEAVY = ("torch", "matplotlib", "transformers", "scipy.stats", "scipy.optimize", "rich", "typer", "array_api_compat")


def modules_after(statement):
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=specmath_root())
    return set(done.stdout.split())


def specmath_root():
    return specmath.__path__[0] + "/.."


def test_importing_specmath_loads_nothing_heavy():
    loaded = modules_after("import specmath")
    assert "specmath.speedup" in loaded
    assert not {name for name in loaded if name.startswith(HEAVY)}


def test_the_check_would_see_a_heavy_module():
    assert "scipy.optimize" in modules_after("import specmath, scipy.optimize")


def test_every_public_name_resolves():
    for name in specmath.__all__:
        assert getattr(specmath, name) is not None
    assert specmath.speedup(0.5, 1, 0) == 1.5
    assert specmath.estimate.alpha(specmath.Tally([[2]], [[1]])).value == 0.5


def test_what_is_imported_later_is_public_and_nothing_else_resolves():
    later = {*specmath.MODULES, *(name for names in specmath.LATER.values() for name in names)}
    assert later < set(specmath.__all__)
    assert specmath.simulate.simulate.__module__ == "specmath.simulate"
    with pytest.raises(AttributeError, match="has no attribute 'no_such_name'"):
        _ = specmath.no_such_name


def test_the_acceptance_rules_wait_until_they_are_asked_for():
    assert "specmath.acceptor" not in modules_after("import specmath")
    assert "specmath.acceptor" in modules_after("from specmath import verify")


def test_names_that_come_later_are_listed_and_a_typo_is_answered_with_the_name():
    assert {"Replay", "best_tree", "verify_tree", "policies"} <= set(dir(specmath))
    with pytest.raises(AttributeError) as raised:
        _ = specmath.best_treee
    assert (raised.value.name, raised.value.obj) == ("best_treee", specmath)
