# Everything from a fresh checkout; needs Python 3.11 or newer, make and git.
#
#   make demo                                   the whole network on this machine
#   make demo ARGS="--rounds 3 --json demo.json"
#   make demo-subtensor SUBTENSOR_RUNTIME_WASM=FILE   the demo on a real Subtensor runtime
#   make test                                   checks, then all tests
#   make bench                                  every benchmark, more than an hour; ARGS=--quick for a look
#
# TORCH_INDEX names one more package index, searched for torch alone. On Linux the default index serves a CUDA build of
# several gigabytes; with the URL of PyTorch's own index of CPU wheels here the download is about 200 MB.
# PYTHON names the interpreter to build the environment with.

ARGS ?=
PYTEST_ARGS ?=
TORCH_INDEX ?=
PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
TORCH := $(shell sed -n 's/^torch==/torch==/p' constraints.txt)
PIP_INSTALL := $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --no-input --progress-bar off

.PHONY: help demo demo-subtensor test bench check format clean
.DELETE_ON_ERROR:

help:
	@sed -n '3,7s/^# *//p' Makefile
	@echo "make check | format | clean"

demo: $(VENV)/.demo
	@$(BIN)/hivetune demo $(ARGS)

demo-subtensor: $(VENV)/.runtime
	@$(BIN)/python -m tools.demo_on_runtime "$(SUBTENSOR_RUNTIME_WASM)" $(ARGS)

test: check
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

# Figures go to bench/ as JSON, too.
bench: $(VENV)/.dev
	@mkdir -p bench
	@set -e; for name in train miner score credit merge merge_quality originality yuma hostile; do \
	  echo; echo "== $$name"; $(BIN)/python -W ignore -m benchmarks.$$name --json bench/$$name.json $(ARGS); \
	done

check: $(VENV)/.dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(VENV)/.dev
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

# The environment, downloads, caches and the demo's state: all that the other targets made.
clean:
	rm -rf $(VENV) .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis demo demo.json bench
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.python:
	@set -e; found=; \
	for python in $(or $(PYTHON),python3.11 python3 python3.12 python3.13); do \
	  if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found="$$python"; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "hivetune needs Python 3.11 or newer; found $$($(or $(PYTHON),python3) --version 2>&1 || true)" >&2; exit 2; \
	fi; \
	echo "setup 1/3: environment $(VENV) with $$("$$found" --version) (about 10 s)"; \
	"$$found" -m venv $(VENV)
	@touch $@

# torch first and alone, so that its index is asked for nothing that another index should serve.
$(VENV)/.torch: $(VENV)/.python constraints.txt
	@echo "setup 2/3: $(TORCH), the large one (1 to 5 minutes)"
	@$(PIP_INSTALL) -c constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) $(TORCH)
	@touch $@

$(VENV)/.demo: $(VENV)/.torch pyproject.toml
	@echo "setup 3/3: hivetune and what it runs on (about 1 minute)"
	@$(PIP_INSTALL) -c constraints.txt -e '.[demo]'
	@touch $@

$(VENV)/.runtime: $(VENV)/.demo
	@echo "one more: what executes a runtime (some seconds)"
	@$(PIP_INSTALL) -c constraints.txt -e '.[demo,runtime]'
	@touch $@

$(VENV)/.dev: $(VENV)/.torch pyproject.toml
	@echo "setup 3/3: hivetune with its test tools (about 1 minute)"
	@$(PIP_INSTALL) -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/.demo
