# Everything a user or a developer does here. `make demo` and `make test` set up what they need.

PYTHON ?= python3
BIN := .venv/bin
DATA ?=

# Set-up is done when the stamp of this very lock is there; a changed lock asks for another stamp.
BASE_STAMP := .venv/.setup-base-$(shell cat requirements.lock pyproject.toml 2>/dev/null | sha256sum | cut -c1-16)
TEST_STAMP := .venv/.setup-test-$(shell cat requirements-test.lock pyproject.toml 2>/dev/null | sha256sum | cut -c1-16)

.PHONY: help setup setup-test demo up test lint unit lock clean

help:
	@echo "make demo [DATA=folder]  enrol speakers, recognise clips that were not enrolled, print a table, stop"
	@echo "make up                  the same stack, staying up: web on 6001, worker, flower on 5555"
	@echo "make test                lint, types, floors, and every test"
	@echo "make unit | make lint    only the quick tests | only the checks"
	@echo "make lock                renew requirements*.lock from pyproject.toml"

demo: setup
	@$(BIN)/speaker-tasks demo $(if $(DATA),--data "$(DATA)")

up: setup
	@$(BIN)/speaker-tasks up

test: lint
	@$(BIN)/pytest

unit: setup-test
	@$(BIN)/pytest tests/unit

lint: setup-test
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

setup: $(BASE_STAMP)

setup-test: $(TEST_STAMP)

$(BASE_STAMP): requirements.lock pyproject.toml
	@PYTHON="$(PYTHON)" sh tools/setup.sh requirements.lock
	@touch $@

$(TEST_STAMP): requirements-test.lock pyproject.toml
	@PYTHON="$(PYTHON)" sh tools/setup.sh requirements-test.lock
	@touch $@ $(BASE_STAMP)

# The options keep the registry's address and local paths out of the files. The larger lock is made first, so that
# what users run is what the tests ran on.
LOCK := uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-annotate --no-header --quiet

lock:
	@rm -f requirements.lock requirements-test.lock
	$(LOCK) --extra build --extra test --extra dev --output-file requirements-test.lock
	$(LOCK) --extra build --constraint requirements-test.lock --output-file requirements.lock

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
