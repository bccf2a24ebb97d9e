# Every target sets itself up first (tests/setup): Python packages in .venv, Debian's when root.

PY := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help demo test test-full lint format bench wheel clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

demo: ## the main job: visits to addresses that exist nowhere, seen by the application
	@tests/setup demo
	@$(PY) -m tests.lab.demo

test: ## all tests that fit into 30 minutes, and the linters
	@tests/setup test
	@$(PY) -m tests.stages

test-full: ## the same, with many more examples for each property
	@tests/setup test
	@$(PY) -m tests.stages --full

lint: ## ruff and mypy --strict
	@tests/setup test
	@$(PY) -m ruff format --check . && $(PY) -m ruff check . && $(PY) -m mypy

format: ## ruff's layout and the fixes that it is sure of
	@tests/setup test
	@$(PY) -m ruff format . && $(PY) -m ruff check --fix .

bench: ## our server beside its peers; a table, and build/bench.json
	@tests/setup bench
	@$(PY) -m bench

wheel: ## dist/ctwsgi-*.whl
	@tests/setup test
	@$(PY) -m pip wheel -q --no-deps -w dist .

clean: ## takes away what the targets made, .venv included
	@rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage*
	@find . -name __pycache__ -prune -exec rm -rf {} +
