"""What it costs to import specmath and to ask it one thing, against the least that such a program needs."""

import itertools
import statistics
import subprocess
import sys
import time

RUNS = 15
COMMANDS = {
    "import numpy, scipy.special": ["-c", "import numpy, scipy.special"],
    "import numpy, scipy.special (control)": ["-c", "import numpy, scipy.special"],
    "import specmath": ["-c", "import specmath"],
    "import numpy, typer, rich": ["-c", "import numpy, typer, rich"],
    "import numpy, typer, rich (control)": ["-c", "import numpy, typer, rich"],
    "specmath speedup": ["-m", "validate", "speedup", "--alpha", ".75", "--k", "4", "--c", ".02"],
}
RATIOS = [
    ("import numpy, scipy.special (control)", "import numpy, scipy.special", None),
    ("import specmath", "import numpy, scipy.special", 2.0),
    ("import numpy, typer, rich (control)", "import numpy, typer, rich", None),
    ("specmath speedup", "import numpy, typer, rich", 2.5),
]


def main():
    """Interleaved whole processes; medians and their ratios."""
    seconds = {name: [] for name in COMMANDS}
    for _, (name, arguments) in itertools.product(range(RUNS), COMMANDS.items()):
        started = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        seconds[name].append(time.perf_counter() - started)
    median = {name: statistics.median(times) for name, times in seconds.items()}
    for name, base, target in RATIOS:
        goal = f"   (target: at most {target})" if target else ""
        print(f"{name:40s} / {base:28s} {median[name] / median[base]:5.2f}{goal}   {median[name] * 1e3:.0f} ms")
