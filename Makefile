# Start with: make demo, make test.
PYTHON ?= python3
# make test NEWEST=1 and make lint NEWEST=1 use the newest releases instead of the locked ones.
VENV := $(if $(NEWEST),.venv-newest,.venv)
BIN := $(VENV)/bin
ARGS ?=
# Workers of the tests, up to 5 (each needs 1 GB and more): one more than cores, as tests of real processes often wait.
WORKERS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN); echo $$(( (n < 4 ? n : 4) + 1 )))
# Folder of data sets; tests that need an absent one are skipped with the reason.
export EDGELOOP_DATA ?= $(abspath $(wildcard ../shared/data))
export UV_PROJECT_ENVIRONMENT := $(VENV)
export UV_PYTHON_DOWNLOADS := never
# The commands and tests start many processes: libraries are compiled once, at installation, and our code at first use.
export UV_COMPILE_BYTECODE := 1
unexport PYTHONDONTWRITEBYTECODE
LOCKED := $(BIN)/uv sync --quiet --locked --inexact
NEWEST_OF := $(BIN)/uv pip install --quiet --python $(BIN)/python --upgrade --editable

.DEFAULT_GOAL := help
.PHONY: help demo test lint format bench screenshots upgrade clean

help:
	@echo "make demo    show the whole loop in the browser (ARGS=--terminal, or ARGS=--headless for plain lines)"
	@echo "make test    run all tests (ARGS=\"-m 'not e2e and not slow'\" for the fast ones; NEWEST=1 with the newest libraries)"
	@echo "make lint    format check, lint, types, import rules"
	@echo "make screenshots   take the screenshots in docs/img (needs Chromium)"
	@echo "make bench   measure the speed of the loop, relative to its broker and database"
	@echo "make upgrade   renew the lock (uv.lock) and run the tests with it"
	@echo "make clean   remove the output of the other commands"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "edgeloop needs Python 3.11 or newer; $(PYTHON) is older. Try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@echo "==> creating $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { echo "no venv module: on Debian and Ubuntu, apt-get install python3-venv"; exit 1; }

$(VENV)/.uv: .ci/uv.txt | $(BIN)/python
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r .ci/uv.txt
	@touch $@

$(VENV)/.demo: uv.lock pyproject.toml $(VENV)/.uv
	@echo "==> installing the demo (about a minute, once)"
	@$(if $(NEWEST),$(NEWEST_OF) '.[demo]',$(LOCKED) --extra demo)
	@touch $@

$(VENV)/.dev: uv.lock pyproject.toml $(VENV)/.uv
	@echo "==> installing tests and checks (a minute or two, once)"
	@$(if $(NEWEST),$(NEWEST_OF) '.[dev]',$(LOCKED) --extra dev)
	@touch $@ $(VENV)/.demo

demo: $(VENV)/.demo
	@echo "==> the loop, end to end, on this machine (Ctrl-C stops everything)"
	@$(BIN)/edgeloop demo $(ARGS)

test: $(VENV)/.dev
	@echo "==> tests, with real brokers, clouds and nodes"
	@$(BIN)/python -m pytest -n $(WORKERS) --no-loadscope-reorder $(ARGS)
	@echo "All tests passed. Next: make demo shows the loop; README.md and the apps' READMEs explain how to run your own source."

lint: $(VENV)/.dev
	@echo "==> format, lint, types, import rules"
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/pyright --pythonpath $(BIN)/python
	@$(BIN)/lint-imports

format: $(VENV)/.dev
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(VENV)/.dev
	@$(BIN)/edgeloop bench loop $(ARGS)

screenshots: $(VENV)/.dev
	@echo "==> screenshots of the shows and of every page"
	@$(BIN)/python -m apps.demo.screenshots.show

upgrade: $(VENV)/.uv
	@echo "==> renewing uv.lock and .ci/uv.txt within the ranges of pyproject.toml"
	@$(BIN)/uv lock --upgrade
	@echo uv | $(BIN)/uv pip compile --quiet --no-config --upgrade --universal --generate-hashes --no-header - -o .ci/uv.txt
	@$(MAKE) --no-print-directory lint test
	@echo "The lock is renewed and the tests pass with it. Next: look at git diff uv.lock, and commit it."

clean:
	rm -rf .venv .venv-newest build dist *.egg-info .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
