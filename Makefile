# The whole of Freshet in two commands: `make demo` and `make test`. Each sets up what it needs.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up

.PHONY: setup demo test lint bench clean
.NOTPARALLEL:

setup: $(STAMP)

$(STAMP): requirements/portable.lock requirements/native.lock requirements/bench.lock pyproject.toml
	@sh requirements/set_up.sh "$(PYTHON)" "$(VENV)"
	@touch $(STAMP)

demo: setup
	$(BIN)/freshet demo $(ARGS)

test: setup lint
	@sh tests/support/prerequisites.sh
	$(BIN)/python -m pytest $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy

bench: setup
	$(BIN)/freshet bench $(ARGS)

clean:
	rm -rf $(VENV) .cache .freshet
