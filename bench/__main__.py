"""Run every benchmark that this machine can run: `python -m bench [decoding|startup]`."""

import sys

from bench import decoding, startup

BENCHES = {"startup": startup.main, "decoding": decoding.main}

for name in sys.argv[1:] or BENCHES:
    print(f"\n{name}")
    BENCHES[name]()
