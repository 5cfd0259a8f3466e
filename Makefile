# Everything a user or a developer does here. `make demo` and `make test` set up what they need.

PYTHON ?= python3
BIN := .venv/bin
DATA ?=
# Processes that share the tests: most tests wait for processes of their own, so that two keep two cores busy.
PROCESSES ?= 2

# Set-up is done when the stamp of this very lock is there; a changed lock asks for another stamp.
BASE_STAMP := .venv/.setup-base-$(shell cat requirements.lock pyproject.toml 2>/dev/null | sha256sum | cut -c1-16)
GPU_STAMP := .venv/.setup-gpu-$(shell cat requirements-gpu.lock pyproject.toml 2>/dev/null | sha256sum | cut -c1-16)
TEST_STAMP := .venv/.setup-test-$(shell cat requirements-test.lock pyproject.toml 2>/dev/null | sha256sum | cut -c1-16)

.PHONY: help setup setup-test demo up test browser docs lint unit lock clean

help:
	@echo "make demo [DATA=folder]  enrol speakers, recognise clips that were not enrolled, print a table, stop"
	@echo "make up                  the same stack, staying up: web on 6001, worker, flower on 5555"
	@echo "make test                lint, types, floors, and every test"
	@echo "make unit | make lint    only the quick tests | only the checks"
	@echo "make setup EXTRA=gpu     with TensorFlow and NVIDIA's libraries, for GPU workers"
	@echo "make docs                the docs as a site in build/site; no dead links"
	@echo "make lock                renew requirements*.lock from pyproject.toml"

demo: setup
	@$(BIN)/speaker-tasks demo $(if $(DATA),--data "$(DATA)")

up: setup
	@$(BIN)/speaker-tasks up

test: lint browser
	@$(BIN)/pytest -n $(PROCESSES) --dist loadfile

# The browser tests' Chromium: Debian's, where we may install it. Quick when it is there, and no test fails without it.
browser:
	@command -v chromium >/dev/null || sh tools/chromium.sh

unit: setup-test
	@$(BIN)/pytest tests/unit

lint: setup-test
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

docs: setup
	@$(BIN)/python -c "import material" 2>/dev/null || \
		uv pip install --quiet --python $(BIN)/python 'mkdocs-material>=9.6' 2>/dev/null || $(BIN)/python -m pip install --quiet 'mkdocs-material>=9.6'
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build
	@echo "the docs are in build/site: $(BIN)/python -m http.server -d build/site"

ifeq ($(EXTRA),gpu)
setup: $(GPU_STAMP)
else
setup: $(BASE_STAMP)
endif

setup-test: $(TEST_STAMP)

$(BASE_STAMP): requirements.lock pyproject.toml
	@PYTHON="$(PYTHON)" sh tools/setup.sh requirements.lock
	@touch $@

$(GPU_STAMP): requirements-gpu.lock pyproject.toml
	@PYTHON="$(PYTHON)" sh tools/setup.sh requirements-gpu.lock
	@touch $@ $(BASE_STAMP)

$(TEST_STAMP): requirements-test.lock pyproject.toml
	@PYTHON="$(PYTHON)" sh tools/setup.sh requirements-test.lock
	@touch $@ $(BASE_STAMP)

# The options keep the registry's address and local paths out of the files. The larger lock is made first, so that
# what users run is what the tests ran on.
LOCK := uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-annotate --no-header --quiet

lock:
	@rm -f requirements.lock requirements-test.lock requirements-gpu.lock
	$(LOCK) --extra build --extra test --extra dev --output-file requirements-test.lock
	$(LOCK) --extra build --constraint requirements-test.lock --output-file requirements.lock
	$(LOCK) --extra build --extra gpu --constraint requirements-test.lock --output-file requirements-gpu.lock

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
