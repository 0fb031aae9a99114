"""Hypothesis profiles: derandomised by default, `HYPOTHESIS_PROFILE=random` for a scheduled random run.

One thread, unless it is set: tiny models gain nothing from two, which wait for each other where a core is taken.
"""

import os

from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("random", derandomize=False, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
