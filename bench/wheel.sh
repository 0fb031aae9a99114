#!/usr/bin/env bash
# Build the wheel, install it without extras into an empty environment, and ask it something there.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
rm -rf "$here/dist"
"$here/.venv/bin/python" -m pip wheel --quiet --no-deps --wheel-dir "$here/dist" "$here"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"${PYTHON:-python3}" -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip install --quiet --constraint "$here/constraints.txt" "$here"/dist/*.whl
cd "$scratch"
venv/bin/specmath speedup --alpha .75 --k 4 --c .02
venv/bin/python -c "from validate.workload import bundled; print(len(bundled()), 'bundled prompts inside the wheel')"
