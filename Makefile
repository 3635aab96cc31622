# Two commands do everything: `make quickstart` and `make test`. Both make .venv first.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
# idle threads that spin would take the cores from the other processes
export OMP_WAIT_POLICY ?= PASSIVE

CHECK_VERSION := import sys; found = sys.version.split()[0]; \
	sys.exit(0 if (3, 10) <= sys.version_info < (3, 14) else \
	f"halo_cm needs Python 3.10 to 3.13, but $(PYTHON) is {found}: run `make setup PYTHON=python3.12` or the like")

.PHONY: help setup quickstart test test-slow clean
.DEFAULT_GOAL := help

help:
	@echo "make setup       make .venv and install everything into it"
	@echo "make quickstart  simulate, train, sample and benchmark the quickstart model"
	@echo "make test        lint, check types, run the fast tests and the commands of the README"
	@echo "make test-slow   run the tests that take minutes"
	@echo "make clean       remove .venv and caches; data/ and runs/ stay"
	@echo "Another Python:  make setup PYTHON=python3.12"

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c '$(CHECK_VERSION)'
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv || { rm -rf .venv; \
	  echo "$(PYTHON) cannot make a virtual environment: install its venv module (Debian: python3-venv)"; exit 1; }
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt \
	  -C editable_mode=compat -e '.[test,tensorboard,dev]'
	@touch $@

quickstart: setup
	$(BIN)/python train_unified.py --model consistency --resume

test: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest --numprocesses 2

test-slow: setup
	$(BIN)/python -m pytest -m slow

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache build dist halo_cm.egg-info
	find halo_cm tests -name __pycache__ -type d -prune -exec rm -rf {} +
