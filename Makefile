# `make demo` and `make test` need nothing but a Python from 3.10 to 3.12 and a package index.
SHELL := /bin/bash
PYTHON ?= $(shell for p in python3.11 python3.12 python3.10 python3; do \
  $$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin

.PHONY: help demo test test-ray soak check format bench lock docs clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

.venv/.done: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "No Python from 3.10 to 3.12 here; say make PYTHON=/path/to/python"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

demo: .venv/.done  ## draw 24 pictures with MindSpore and show what came of it
	$(BIN)/batchgen run jobs=demo
	@echo; echo "The pictures, on one sheet:"; $(BIN)/batchgen report outputs/demo --columns 6
	@echo; echo "The first rows of outputs/demo/metadata.parquet:"
	@$(BIN)/python -c "import batchgen; \
	  columns = ['file_name', 'text', 'seed', 'steps', 'latency_s', 'peak_memory_bytes']; \
	  print(batchgen.read_metadata('outputs/demo')[columns].head().to_string(max_colwidth=40))"

test: .venv/.done  ## run the tests, real MindSpore included
	$(BIN)/python -m pytest -q -n 2 --dist worksteal

test-ray: .venv/.done  ## run the tests that start a Ray cluster
	$(BIN)/python -m pytest -q -m ray

MINUTES ?= 10
soak: .venv/.done  ## run the slow tests, MINUTES= of them with faults at I/O calls, SEED= to repeat
	SOAK_MINUTES=$(MINUTES) SOAK_SEED=$(SEED) $(BIN)/python -m pytest -q -s -m slow

check: .venv/.done  ## lint, types and the order of the rooms
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

format: .venv/.done  ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/.done  ## print the ratios behind the performance claims
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/pipeline.py
	$(BIN)/python benchmarks/picture.py
	$(BIN)/python benchmarks/large_table.py
	$(BIN)/python benchmarks/merge.py
	$(BIN)/python benchmarks/workers.py

docs: .venv/.done  ## print the pages of docs/ that come from the code
	$(BIN)/python -m tools.config_page > docs/.page && mv docs/.page docs/config.md
	$(BIN)/python -m tools.metadata_page > docs/.page && mv docs/.page docs/metadata.md

lock: .venv/.done  ## resolve the dependencies anew for every supported Python
	printf "mindspore==2.7.1; python_version < '3.12'\n" > .venv/constraints.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.10 --no-header --no-annotate \
	  --constraint .venv/constraints.txt --extra test --extra dev pyproject.toml -o requirements.lock

clean:  ## remove what can be made again, but for outputs/
	rm -rf .venv dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis
