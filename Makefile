# `make help` lists what there is.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
RUN := $(VENV)/.run
INSTALLED := $(VENV)/.installed
EXTRAS := $(VENV)/.extras
PEERS := $(VENV)/.peers
HYDRA14 := $(VENV)-hydra14
ARGS ?=
# A process for each core, so a thread for each process.
PYTEST := -m pytest -n auto
KILLS ?= 30
# Where there is a GPU, an environment that already exists will do, with the packages that pyproject.toml names.
GPU_PYTHON ?= $(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON))
GPU_PATH = $(CURDIR)/src:$(CURDIR)/tests:$(CURDIR)/tests/benchmarks
NEXT_HYDRA := hydra-core==1.4.0rc3 omegaconf==2.4.1rc1
NEXT_TESTS := tests/config tests/errors tests/sweep tests/test_cli.py tests/test_plugins.py tests/test_experiments.py

.DEFAULT_GOAL := help
.PHONY: help install run test test-all test-hydra14 lint format type check bench gpu torture tensorboard clean

test test-all test-hydra14: export OMP_NUM_THREADS = 1

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(RUN): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e .
	@touch $@

$(INSTALLED): $(RUN)
	$(PIP) -e '.[dev]'
	@touch $@

$(EXTRAS): $(INSTALLED)
	$(PIP) -e '.[dev,all]'
	@touch $@

$(PEERS): $(INSTALLED)
	$(PIP) -e '.[dev,bench]'
	@touch $@

# A small environment of its own, first in the path, over all that the other one holds.
$(HYDRA14)/.installed: $(INSTALLED)
	$(PYTHON) -m venv --without-pip --clear $(HYDRA14)
	$(BIN)/python -m pip --python $(HYDRA14)/bin/python install --quiet --disable-pip-version-check --no-deps $(NEXT_HYDRA)
	echo "import site; site.addsitedir('$$($(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")')" \
		> "$$($(HYDRA14)/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/base.pth"
	@touch $@

install: $(INSTALLED)  ## make the virtual environment, with what the tests need

run: $(RUN)  ## train; ARGS="model=mlp optim.lr=0.1" for another run
	$(BIN)/python -m runner $(ARGS)

test: $(INSTALLED)  ## the tests, without the slow ones
	$(BIN)/python $(PYTEST) $(ARGS)

test-all: $(EXTRAS)  ## all tests but the benchmarks; a skipped one fails
	$(BIN)/python $(PYTEST) -m "" --forbid-skips $(ARGS)

test-hydra14: $(HYDRA14)/.installed  ## the tests that touch Hydra, on the next Hydra
	$(HYDRA14)/bin/python $(PYTEST) $(NEXT_TESTS) $(ARGS)

lint: $(INSTALLED)  ## ruff, and the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

format: $(INSTALLED)  ## let ruff write the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

type: $(INSTALLED)  ## mypy
	$(BIN)/mypy

check: lint type test  ## what to run before a commit

bench: $(PEERS)  ## speed, against peers that do the same work: half an hour; ARGS="W1 W3 --pairs 5" for some of it
	$(BIN)/python tests/benchmarks/bench.py $(ARGS)

gpu:  ## what only an NVIDIA GPU can show, in nine minutes, without network; GPU_PYTHON=python3
	PYTHONPATH="$(GPU_PATH)$${PYTHONPATH:+:$$PYTHONPATH}" $(GPU_PYTHON) -m gpu $(ARGS)

torture: $(INSTALLED)  ## kill runs at random instants, KILLS=30 times, and compare with undisturbed ones
	OMP_NUM_THREADS=1 $(BIN)/python tests/faults/torture.py --kills $(KILLS)

tensorboard: $(RUN)  ## the dashboard of everything under outputs/, on this machine alone
	$(BIN)/tensorboard --logdir outputs --host 127.0.0.1

clean:  ## remove what can be made again; outputs/ stays
	rm -rf $(VENV) $(HYDRA14) dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
