# SPDX-License-Identifier: MIT
# Every target sets itself up first (tests/setup): Python packages in .venv, Debian's when root.

PY := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help demo portal test test-full test-kernel test-repeat test-pythons test-kasan lint format bench bench-kernel wheel clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

portal: ## the captive portal in the lab, until Ctrl-C: it says what to open
	@tests/setup demo
	@$(PY) -m tests.lab.portal

demo: ## the main job: visits to addresses that exist nowhere, seen by the application
	@tests/setup demo
	@$(PY) -m tests.lab.demo

test: ## what finds most, in ten minutes: linters, unit tests, namespaces, portal, a smoke run in guests
	@tests/setup test
	@$(PY) -m tests.stages test

test-kernel: ## module and eBPF program in QEMU (Linux 6.1, 6.12 and the newest), eBPF on this kernel, packaging
	@tests/setup kernel
	@$(PY) -m tests.stages test-kernel

test-full: ## everything: whole matrices, many more examples for each property, deliberate mistakes
	@tests/setup full
	@$(PY) -m tests.stages test-full --coverage

test-repeat: ## N=20 rounds of STAGE=namespaces or TESTS='PATH...', beside busy loops with LOAD=1
	@tests/setup full
	@$(PY) -m tests.stages.repeat -n $(or $(N),20) $(if $(filter 1,$(LOAD)),--load) $(addprefix --stage ,$(STAGE)) $(TESTS)

test-pythons: ## the unit, protocol and serve tests on each Python, 3.10 and newer, that is here
	@tests/setup pythons
	@$(PY) -m tests.pythons

test-kasan: ## the module's suites on a kernel with KASAN, lockdep and kmemleak; hours, and 20 minutes once to build it
	@tests/setup kasan
	@$(PY) -m tests.kernel.kasan

lint: ## ruff and mypy --strict
	@tests/setup lint
	@$(PY) -m ruff format --check . && $(PY) -m ruff check . && $(PY) -m mypy

format: ## ruff's layout and the fixes that it is sure of
	@tests/setup lint
	@$(PY) -m ruff format . && $(PY) -m ruff check --fix .

bench: ## our server beside its peers; a table, and build/bench.json
	@tests/setup bench
	@$(PY) -m bench

bench-kernel: ## the kernel module beside haproxy, in one guest that counts instructions; ten minutes
	@tests/setup bench-kernel
	@$(PY) -m bench.kernel

wheel: ## dist/ctwsgi-*.whl, with the eBPF program in it
	@tests/setup wheel
	@$(PY) -m pip wheel -q --disable-pip-version-check --no-deps --no-build-isolation -w dist .

clean: ## removes what the targets made, .venv included
	@rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage*
	@find . -name __pycache__ -prune -exec rm -rf {} +
