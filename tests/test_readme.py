"""The code of the README runs, and gives what its comments say."""

import re

import pytest

from tests.test_floors import FLOORS, ROOT

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def promised(line):
    """(expression, how its value begins) of a line that ends in a comment with its value."""
    found = re.fullmatch(r"(.+?)  # ([-\d\['B].*?)(\.\.\..*|: .*|)", line)
    return (found[1], found[2]) if found else None


@pytest.mark.parametrize("block", BLOCKS)
def test_every_value_in_the_readme_is_what_its_line_gives(block):
    names: dict = {}
    checked = 0
    for line in block.strip().splitlines():
        value = promised(line)
        if value:
            assert repr(eval(value[0], names)).startswith(value[1]), line
            checked += 1
        else:
            exec(line, names)
    assert checked >= 3


def test_a_wrong_value_would_be_noticed():
    expression, beginning = promised("1 + 1  # 3...: no")
    assert not repr(eval(expression)).startswith(beginning)


def mapped():
    """(path, lowest floor, highest floor) of every file in the map; a second name of a row is beside the first."""
    for names, floors in re.findall(r"^\| (`(?:specmath|validate)/.+?) \| .+ \| ([\d-]+) \|$", README, re.MULTILINE):
        first, *others = re.findall(r"`(.+?)`", names)
        low, _, high = floors.partition("-")
        for name in (first, *(f"{first.split('/')[0]}/{other}" for other in others)):
            yield name, int(low), int(high or low)


def test_the_map_shows_every_file_on_its_floor():
    rows = list(mapped())
    for path, floor in FLOORS.items():
        if not path.endswith(("__init__.py", "__main__.py")):
            assert any(path.startswith(name) and low <= floor <= high for name, low, high in rows), path


def test_every_file_the_readme_names_is_there():
    named = set(re.findall(r"`((?:specmath|validate|tests|notebooks|figures)/[\w/.]+)`", README))
    assert len(named) > 30
    assert not [name for name in named if not (ROOT / name).exists()]
