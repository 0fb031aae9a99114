"""Twenty-four cells of `bench/cells.json`: the speedup written down before any speculation, and what the clock said."""

import json
import pathlib

from validate.run_charts import predicted_and_measured

TITLE = "Written down before any speculation, 24 cells: the clock agreed within 0.8 % (median), 3.0 % (worst)"
RECORD = pathlib.Path(__file__).with_name("data") / "cells.json"


def draw():
    return predicted_and_measured(json.loads(RECORD.read_text()), TITLE)
