"""Draw every figure: `python -m figures [FOLDER]`, by default into this folder."""

import pathlib
import sys

from figures import break_even, one_alpha, speedup_by_k
from validate.charts import rendered

HERE = pathlib.Path(__file__).parent

folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
for module in (break_even, one_alpha, speedup_by_k):
    figure = module.draw()
    for kind in ("svg", "png"):
        path = folder / f"{module.__name__.rpartition('.')[2]}.{kind}"
        path.write_bytes(rendered(figure, kind))
        print(path)
