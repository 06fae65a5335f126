# Two commands to start with: `make demo` and `make test`. Everything lives in .venv; nothing needs a GPU or, once installed, the network.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
THREADS := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 NUMBA_NUM_THREADS=1

.PHONY: help demo test lint claims bench clean

help:
	@echo "make demo    compare decoders on a real EEG recording and write demo/report.html"
	@echo "make test    run the tests"
	@echo "make lint    check style, types and layers"
	@echo "make claims  measure every claim and record it under results/"
	@echo "make bench   measure speed and memory beside the peers"
	@echo "make clean   remove .venv and caches"

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "neuropil needs Python 3.11 or newer, $(PYTHON) is $$($(PYTHON) --version 2>&1); run: make PYTHON=python3.11 ..."; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "Python's venv module is missing; on Debian run: apt-get install python3-venv"; exit 2; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	@touch $@

demo: $(INSTALLED)
	$(BIN)/neuropil compare scp-healthy --results demo/results --report demo/report.html

test: $(INSTALLED)
	$(THREADS) $(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(INSTALLED)
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports

claims: $(INSTALLED)
	$(BIN)/neuropil reproduce --all --record

bench: $(INSTALLED)
	$(BIN)/python -m benchmarks --all

clean:
	rm -rf $(VENV) .venv-bench build demo runs .ruff_cache .mypy_cache .hypothesis .import_linter_cache src/neuropil.egg-info
