"""Run every benchmark that this machine can run, or those named: `python -m bench [startup|grid|replay ...]`."""

import sys

from bench import acceptor, cells, decoding, grid, plan, products, profile, published, replay, startup, trees

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
    "published": published.main,
    "cells": cells.main,
}

for name in sys.argv[1:] or BENCHES:
    print(f"\n{name}")
    BENCHES[name]()
