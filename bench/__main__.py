"""Run every benchmark that this machine can run, or those named: `python -m bench [startup|grid|replay ...]`."""

import sys

from bench import (
    acceptor,
    cells,
    decoding,
    engine_2024,
    grid,
    plan,
    products,
    profile,
    published,
    replay,
    serving,
    silicon,
    startup,
    trees,
)

BENCHES = {
    "startup": startup.main,
    "grid": grid.main,
    "replay": replay.main,
    "trees": trees.main,
    "plan": plan.main,
    "profile": profile.main,
    "products": products.main,
    "decoding": decoding.main,
    "acceptor": acceptor.main,
    "silicon": silicon.main,
    "published": published.main,
    "engine_2024": engine_2024.main,
    "cells": cells.main,
    "serving": serving.main,
}

for name in sys.argv[1:] or BENCHES:
    print(f"\n{name}")
    BENCHES[name]()
