# Everything sets itself up: `make demo` and `make test` work in a fresh clone with Python >= 3.11, git and make.

SHELL := /bin/sh
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help install demo test soak lint format bench bench-builder bench-registry bench-packages clean clients

help:
	@echo "make demo     build an image, push it to a registry, pull it back with a real client"
	@echo "make test     all tests (as root: with docker, podman, buildah, skopeo and umoci)"
	@echo "make lint     ruff, mypy, and the contracts between the rooms"
	@echo "make soak     the long version of the registry's load and model tests"
	@echo "make bench    measure against other tools, in half an hour; make bench-builder, bench-packages, bench-registry do a part"
	@echo "make install  a .venv with the project in it"

install: .venv/installed

.venv/installed: pyproject.toml .ci/venv
	@PYTHON="$(PYTHON)" .ci/venv .
	@touch $@

.venv/developing: .venv/installed
	@PYTHON="$(PYTHON)" .ci/venv '.[test,lint]'
	@touch $@

specs/hello/bin/busybox:
	@.ci/busybox $@

demo: .venv/installed specs/hello/bin/busybox
	@PATH="$$PWD/$(BIN):$$PATH" specs/demo

clients:
	@.ci/clients

test: .venv/developing clients specs/hello/bin/busybox
	@$(BIN)/pytest -n 2 --dist loadfile $(PYTEST_ARGS)

soak: .venv/developing
	@SOAK=1 $(BIN)/pytest --timeout 3600 tests/registry/test_load.py tests/registry/test_model.py

lint: .venv/developing
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: .venv/developing
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: .venv/developing
	@$(BIN)/python -m tests.bench

bench-builder bench-registry bench-packages: bench-%: .venv/developing
	@$(BIN)/python -m tests.bench $*

clean:
	rm -rf .venv dist build specs/hello/bin .mypy_cache .pytest_cache .ruff_cache .hypothesis
