# make train: the main job on the built-in data. make test: lint, types and tests. make quick: the tests that take seconds.
# make cover: which lines no test reaches. Each makes the environment first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROJECTS := pyproject.toml $(wildcard packages/*/pyproject.toml examples/*/pyproject.toml)
EDITABLE := $(foreach project,core $(filter-out core,$(notdir $(wildcard packages/*))),--editable packages/$(project)) \
	$(foreach project,$(wildcard examples/*/pyproject.toml),--editable $(dir $(project)))

# make fuzz: 10,000 changed inputs (make test: 300). make version TO=0.2.0: the version of all distributions.
# make docs: the documentation as a site, in site/ (`python3 -m http.server -d site` shows it, search included).
.PHONY: train test quick cover lint docs fuzz bench version clean

train: $(VENV)/ready
	$(BIN)/ptapp vision train --epochs 6 --name demo

test: lint
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

quick: $(VENV)/ready
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal -m "not slow"

cover: $(VENV)/ready
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal -m "not slow" --cov --cov-report term:skip-covered

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

fuzz: $(VENV)/ready
	PTAPP_FUZZ=10000 $(BIN)/python -m pytest tests/fuzz --numprocesses auto --dist worksteal

bench: $(VENV)/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--requirement benchmarks/requirements.txt
	$(BIN)/python benchmarks/loop_cost.py

version:
	$(PYTHON) .ci/version $(TO)

$(VENV)/ready: constraints.txt $(PROJECTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		$(EDITABLE) --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV)
