# `make` lists the targets. Everything is installed into .venv; nothing outside this folder changes.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# gpu where the NVIDIA driver answers, else cpu; `make DEVICE=cpu ...` decides it by hand.
DEVICE := $(shell nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu)
LOCK := requirements/$(DEVICE).txt
STAMP := $(VENV)/.installed-$(DEVICE)
OTHER_STAMP := $(filter-out $(STAMP),$(wildcard $(VENV)/.installed-*))

# Builds of torch without CUDA are not on the default index.
TORCH_CPU_INDEX := https://download.pytorch.org/whl/cpu
# Audio and image packages that the engines ask for but whose builds do not fit the pinned torch; text models need
# none, and with them `import transformers` fails on a CPU.
LEAVE_OUT_cpu := torchvision torchaudio torchcodec
LEAVE_OUT_gpu := torchaudio torchcodec

# DeepSpeed compiles an operator on first use and looks for ninja on the path.
export PATH := $(PATH):$(CURDIR)/$(BIN)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup run test test-all lint format unit lock clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-15s %s\n", $$1, $$2}'

setup: $(STAMP) ## make .venv and install the locked packages

run: $(STAMP) ## run the whole chain on a tiny model, in minutes
	$(BIN)/rlreason run configs/tiny-cpu

# A file's tests share engines, so a file, or a folder of files that share one, stays in one process (tests/conftest.py).
# The longest come first, so that both processes end together.
PYTEST_TWO := $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder
LONGEST := tests/e2e/one_engine $(addprefix tests/,faults/test_kills.py e2e/test_run.py)
OTHERS := $(filter-out $(LONGEST),$(wildcard tests/faults/test_*.py tests/e2e/test_*.py))
ENGINES := $(LONGEST) $(OTHERS) tests/contract

test: lint unit ## lint, types, import rules, then the tests
	$(PYTEST_TWO) $(ENGINES)

test-all: lint unit ## the tests with their long matrices, before a release
	$(PYTEST_TWO) -m 'not smollm and not bench' $(ENGINES)

lint: $(STAMP) ## ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## put the code into the one format, mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

unit: $(STAMP) ## the unit tests alone
	$(BIN)/pytest -n 2 --dist loadfile tests/unit

fail = { echo "error: $(1)" >&2; exit 1; }
OTHER_PYTHON := name one that fits: make PYTHON=/path/to/python3

# The lock is complete, so --no-deps keeps out what it leaves out on purpose. The CPU build of torch comes from
# wherever pip is set up to find it, and else from PyTorch's own index. The two sets do not mix: pip takes the
# CPU build for good enough where the GPU lock says torch==, so the other set's .venv is made anew.
$(STAMP): $(LOCK) pyproject.toml
	@command -v "$(PYTHON)" >/dev/null || $(call fail,$(PYTHON) not found; $(OTHER_PYTHON))
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || \
	    $(call fail,Python 3.11 to 3.13 is needed but $(PYTHON) is $$("$(PYTHON)" -V 2>&1); $(OTHER_PYTHON))
	@"$(PYTHON)" -c 'import venv, ensurepip' 2>/dev/null || \
	    $(call fail,$(PYTHON) cannot make virtual environments; install its venv module (on Debian: python3-venv))
	@$(if $(OTHER_STAMP),echo "$(OTHER_STAMP) found: making $(VENV) anew for $(DEVICE)"; rm -rf $(VENV))
	@test -x $(BIN)/pip || "$(PYTHON)" -m venv $(VENV)
	@torch=$$(grep '^torch==.*+cpu' $(LOCK)) || exit 0; \
	$(BIN)/pip install --no-deps "$$torch" || { \
	    echo "$$torch is not where pip looks; asking $(TORCH_CPU_INDEX)"; \
	    $(BIN)/pip install --no-deps --extra-index-url $(TORCH_CPU_INDEX) "$$torch"; }
	$(BIN)/pip install --no-deps -r $(LOCK)
	$(BIN)/pip install --no-deps --no-build-isolation -e .
	@touch $@

# Keeps each pin that still fits; `make lock LOCK_FLAGS=--upgrade` moves all of them. Needs the network.
# Naming torch's CPU build as an input makes the resolver fail rather than take the CUDA build.
LOCK_FLAGS ?=
compile = $(BIN)/uv pip compile --quiet --no-header --no-annotate --python-version 3.11 --extra dev --extra $(1) \
	$(LEAVE_OUT_$(1):%=--no-emit-package %) --output-file requirements/$(1).txt $(LOCK_FLAGS) pyproject.toml
torch_cpu = sed -n 's/.*"\(torch==[0-9.]*\)".*/\1+cpu/p' pyproject.toml

lock: ## resolve both lock files again with uv
	@test -x $(BIN)/pip || "$(PYTHON)" -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/pip install uv
	$(call compile,gpu)
	@$(torch_cpu) | UV_FIND_LINKS="$${UV_FIND_LINKS:-$$PIP_FIND_LINKS}" $(call compile,cpu) - || { \
	    echo "torch's CPU build is not where uv looks; asking $(TORCH_CPU_INDEX)"; \
	    $(torch_cpu) | $(call compile,cpu) - --extra-index-url $(TORCH_CPU_INDEX) --index-strategy unsafe-best-match; }

clean: ## remove .venv, caches and build products; runs are kept
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .hypothesis .ruff_cache .mypy_cache .import_linter_cache
	find rlreason tests reward_fns -name __pycache__ -type d -prune -exec rm -rf {} +
