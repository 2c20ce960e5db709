# Two commands on a fresh machine: make search, make test. See CONTRIBUTING.md for the others.
PYTHON ?= python3
TEST_WORKERS ?= 2
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# The stamp's name holds what was installed and where, so that a changed file or a moved folder
# installs again, and a touched file (a checkout, a pull) does not: the second time is offline.
STAMP := .venv/installed-$(shell (pwd; cat pyproject.toml constraints.txt) | cksum | cut -d' ' -f1)

# What the benchmarks are measured against is installed by itself: nothing else needs it.
BENCH_STAMP := $(STAMP)-bench

.DEFAULT_GOAL := help

.PHONY: help search test check lint types imports format bench clean
help:
	@echo "make search   run or resume the default study (about ten minutes on two cores)"
	@echo "make test     run the tests"
	@echo "make check    format, lint, types, import contracts, tests"
	@echo "make format   rewrite the files as 'make check' wants them"
	@echo "make bench    run the short benchmarks"
	@echo "make clean    remove the virtual environment and the caches"

search: $(STAMP)
	$(BIN)/tsdiag search

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TEST_WORKERS)

check: lint types imports test

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(STAMP)
	$(BIN)/mypy

imports: $(STAMP)
	$(BIN)/lint-imports --no-cache

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(BENCH_STAMP)
	@set -e; for script in $(wildcard benchmarks/*.py); do \
		echo "== $$script"; OMP_NUM_THREADS=1 $(BIN)/python $$script --short; \
	done

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# Building without isolation uses the pinned hatchling, and needs no network when nothing new is
# asked for.
$(STAMP): | $(BIN)/python
	@$(BIN)/python -c 'import pip' 2>/dev/null || $(PYTHON) -m venv --clear .venv
	$(INSTALL) hatchling
	$(INSTALL) --no-build-isolation -e '.[dev,postgres,mysql,s3]'
	@rm -f .venv/installed-*
	@touch $@

$(BENCH_STAMP): $(STAMP)
	$(INSTALL) --no-build-isolation -e '.[bench]'
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "tsdiag needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) -V 2>&1);" \
		"name a newer one, such as: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@echo "setting up .venv: once, a minute or two"
	$(PYTHON) -m venv --clear .venv
