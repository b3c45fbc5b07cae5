# make demo | test | lint: each sets up .venv by itself
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: demo test unit lint format clean
.DEFAULT_GOAL := help

help:
	@echo 'make demo   simulator, relay and subscriber on the loopback interface, until Ctrl-C'
	@echo 'make test   every test (the network tests need root and iproute2, and are skipped without)'
	@echo 'make unit   the fast tests only'
	@echo 'make lint   ruff and mypy'

# The group of development tools is read from pyproject.toml, so that it stands in one place.
$(VENV)/ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable . --group dev
	touch $@

demo: $(VENV)/ready
	$(BIN)/apx demo

test: $(VENV)/ready
	$(BIN)/python -m pytest

unit: $(VENV)/ready
	$(BIN)/python -m pytest tests/unit

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) dist build
