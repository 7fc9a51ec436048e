# Everything sets itself up: `make demo` and `make test` work on a fresh machine.
.DEFAULT_GOAL := help
python := .venv/bin/python

.PHONY: help setup demo test test-registries chaos check bench docs lock clean

help:  ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup:  ## programs of Debian (as root), .venv and what requirements.lock names
	@scripts/bootstrap

demo: setup  ## copy real images between two local registries with the files of example/
	@$(python) -m scripts.demo

test: setup  ## all tests, on two cores; TESTS=tests/unit runs a part
	@$(python) -m pytest -n 2 -rs $(TESTS)

test-registries: setup  ## conformance and copies with distribution 3, on memory and on S3, which Go builds in minutes
	@$(python) -m tests.real.golang registry gofakes3 oras cosign
	@$(python) -m pytest -m built -rx tests/registry tests/e2e/test_other_registries.py tests/e2e/test_companions_of_tools.py

chaos: setup  ## 30 rounds of faults, kills and signals, checked; N=1000 for long, SEED= repeats one, ENGINE=dask
	@N=$(N) SEED=$(SEED) FIRST=$(FIRST) JOBS=$(JOBS) CALM=$(CALM) ENGINE=$(ENGINE) $(python) -m tests.chaos

check: setup  ## format, lint, types, the rules of tests/test_architecture.py, the links of docs/
	@$(python) -m ruff format --check .
	@$(python) -m ruff check .
	@$(python) -m mypy
	@$(python) -m mypy --explicit-package-bases $(wildcard scripts/*.py scripts/bench/*.py)
	@$(python) -m pytest -q tests/test_architecture.py tests/test_docs.py

bench: setup  ## copies beside skopeo, crane, regsync, PEER="a command"; BENCH="many tags --rounds 5", BENCH=--help
	@$(python) -m scripts.bench --peer "$(PEER)" $(BENCH)

docs: setup  ## write docs/ and completions/ anew from the catalogues and the flags
	@$(python) -m scripts.docs

lock:  ## renew requirements.lock after a change of pyproject.toml; needs uv; LOCK=--upgrade takes newer versions
	@printf 'hatchling\neditables\n' | uv pip compile pyproject.toml - --group dev --extra dask --universal \
		--generate-hashes --no-emit-index-url --custom-compile-command 'make lock' \
		--quiet --output-file requirements.lock $(LOCK)

clean:  ## remove what was set up, built or cached
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage* build dist *.egg-info bench-results.json
	@find . -name __pycache__ -prune -exec rm -rf {} +
