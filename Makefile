# Two commands do everything on a fresh machine with Python >= 3.11, pip and make: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT := demo

.PHONY: setup demo test lint clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "convbench needs Python 3.11 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

# Four normalizations on real handwritten digits under all 15 corruptions: CSV, Markdown and plots in demo/.
demo: setup
	$(BIN)/convbench sweep experiments/demo.toml --out $(OUT)/runs
	$(BIN)/convbench compare '$(OUT)/runs/*' -o md=$(OUT)/report.md -o csv=$(OUT)/report.csv -o plots=$(OUT)/plots
	@echo "results, report and plots are in $(OUT)/"

test: setup
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

clean:
	rm -rf $(VENV) $(OUT) build dist .pytest_cache .ruff_cache
