# Two commands do everything on a fresh machine with Python 3.11 to 3.13: `make demo` and `make test`.
FITS := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do $$p -c '$(FITS)' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint types suite docs site clean

demo: $(STAMP)
	$(BIN)/fraudctl demo

# The types are checked while the tests run: mypy keeps one core busy for most of a minute.
test: lint
	$(MAKE) --no-print-directory -j 2 types suite

suite: $(STAMP)
	$(BIN)/python -m pytest -n auto --dist worksteal

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: $(STAMP)
	$(BIN)/mypy

docs: $(STAMP)
	$(BIN)/python docs/build_reference.py

site: $(STAMP)
	$(BIN)/python -m sphinx -b html -W --keep-going -q docs build/site
	@echo "the site: build/site/index.html"

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "fraudctl needs Python 3.11, 3.12 or 3.13; name one: make PYTHON=/path/to/python"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[serve,docs,dev]'
	touch $(STAMP)

clean:
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
