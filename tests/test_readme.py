"""The code of the README runs, and gives what its comments say."""

import re

import pytest

from tests.test_floors import ROOT

BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def promised(line):
    """(expression, how its value begins) of a line that ends in a comment with its value."""
    found = re.fullmatch(r"(.+?)  # ([-\d\[B].*?)(\.\.\..*|: .*)", line)
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
