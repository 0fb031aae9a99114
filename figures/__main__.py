"""Draw every figure: `python -m figures [FOLDER]`, by default into this folder."""

import pathlib
import sys

from figures import (
    block_verification,
    break_even,
    by_position,
    by_prompt,
    capacity_gain,
    load_curves,
    one_alpha,
    persistence,
    predicted_measured,
    slowest,
    speedup_by_k,
    step_parts,
    tree_or_chain,
)
from validate.charts import rendered

HERE = pathlib.Path(__file__).parent
MODULES = (
    block_verification,
    break_even,
    by_position,
    by_prompt,
    capacity_gain,
    load_curves,
    one_alpha,
    persistence,
    predicted_measured,
    slowest,
    speedup_by_k,
    step_parts,
    tree_or_chain,
)

folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
for module in MODULES:
    figure = module.draw()
    for kind in ("svg", "png"):
        path = folder / f"{module.__name__.rpartition('.')[2]}.{kind}"
        path.write_bytes(rendered(figure, kind))
        print(path)
