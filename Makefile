# Two stamps say what .venv holds; both are remade only when pyproject.toml changed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CRITICAL := $(wildcard $(addprefix tests/test_,operators_anisotropic.py fits_loader_meta.py ssl_schedule.py \
            kappa_pooling_area.py tiled_inference_equiv.py sie_smoke.py))

.PHONY: help install demo test check critical bench clean

help:  ## what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mlensing needs Python 3.11 or newer; name one with PYTHON=...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ $(VENV)/.installed

install: $(VENV)/.installed  ## make .venv and install the package

demo: $(VENV)/.installed  ## search a simulated sky with the released ensemble: under a minute
	PATH="$(CURDIR)/$(BIN):$$PATH" runs/demo.sh

test: $(VENV)/.installed-dev  ## run the tests and the examples in the docstrings
	$(BIN)/python -m pytest tests src/mlensing --doctest-modules

check: $(VENV)/.installed-dev  ## style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

critical: $(VENV)/.installed-dev  ## the critical tests, three times in a row in random order
	for run in 1 2 3; do $(BIN)/python -m pytest -p randomly $(CRITICAL) || exit 1; done

bench: $(VENV)/.installed-dev  ## every benchmark, a minute each
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

clean:  ## remove what make demo and make test left behind, and .venv
	rm -rf $(VENV) demo lightning_logs .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
