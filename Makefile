# The words that continuous integration and the README use.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: setup validate check test test-all bench docs default-model clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints-ci.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv
	UV_FIND_LINKS="$${PIP_FIND_LINKS:-}" $(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints-ci.txt -e '.[test]'
	touch $(STAMP)

validate: setup
	$(BIN)/heedful validate

check: setup
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/conformance/test_sizes.py

test: setup check
	$(BIN)/python -m pytest -q -n 2 -m "not slow and not gpu and not realmodels"
	$(BIN)/python -m pytest -q -m "slow and not gpu and not realmodels"

bench: setup
	$(BIN)/python benchmarks/engine.py
	$(BIN)/python benchmarks/length.py
	$(BIN)/python benchmarks/validate.py

default-model: setup
	$(BIN)/python -m heedful.training.default_model --out src/heedful/assets/default

clean:
	rm -rf $(VENV) build dist
