# Two commands are enough for a start: make demo, make test.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
# Data sets that are already on disk; tests that need one skip, with the reason, where it is absent.
export EDGELOOP_DATA ?= $(abspath $(wildcard ../shared/data))

.DEFAULT_GOAL := help
.PHONY: help demo test lint format bench screenshots clean

help:
	@echo "make demo    show the whole loop in the browser (ARGS=--terminal, or ARGS=--headless for plain lines)"
	@echo "make test    run every test (ARGS=\"-m 'not e2e'\" for the fast ones)"
	@echo "make lint    format check, lint, types, import rules"
	@echo "make screenshots   take the pictures in docs/img again (needs Chromium)"
	@echo "make bench   measure speed (ratios against the broker and the database)"
	@echo "make clean   remove what the other commands made"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "edgeloop needs Python 3.11 or newer; $(PYTHON) is older. Try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@echo "==> creating $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { echo "no venv module: on Debian and Ubuntu, apt-get install python3-venv"; exit 1; }

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	@echo "==> installing what the demo needs (about a minute, once)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -e '.[demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	@echo "==> installing what tests and checks need (a minute or two, once)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -e '.[dev]'
	@touch $@ $(VENV)/.demo

demo: $(VENV)/.demo
	@echo "==> the loop, end to end, on this machine (Ctrl-C stops everything)"
	@$(BIN)/edgeloop demo $(ARGS)

test: $(VENV)/.dev
	@echo "==> tests; the slow ones start real brokers, clouds and nodes"
	@$(BIN)/python -m pytest -n 2 --no-loadscope-reorder $(ARGS)
	@echo "All green. Next: make demo shows the loop; docs and apps' READMEs tell how to run your own source."

lint: $(VENV)/.dev
	@echo "==> format, lint, types, import rules"
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/pyright
	@$(BIN)/lint-imports

format: $(VENV)/.dev
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(VENV)/.dev
	@$(BIN)/edgeloop bench loop $(ARGS)

screenshots: $(VENV)/.dev
	@echo "==> pictures of the show and of every page, from a show that starts now (about eight minutes)"
	@$(BIN)/python -m apps.demo.show_pictures

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
