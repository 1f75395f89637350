# Everything a newcomer needs: `make demo` trains the tiny agent, `make test` proves the code.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check unit lint types harnesses clean

demo: .venv/installed
	$(BIN)/rstar2 train configs/tiny.toml --run runs/demo

test: lint types
	$(BIN)/python -m pytest --hypothesis-profile=thorough

check: lint types unit

unit: .venv/installed
	$(BIN)/python -m pytest -m "not integration and not e2e"

lint: .venv/installed
	$(BIN)/ruff check .

types: .venv/installed
	$(BIN)/mypy

# lm-eval and Inspect against `rstar2 serve`, from an environment of their own: they bring much with them.
harnesses: .venv/installed .venv-harnesses/installed
	$(BIN)/python -m pytest tests/verbs/test_harnesses.py

.venv-harnesses/installed:
	test -x .venv-harnesses/bin/python || $(PYTHON) -m venv .venv-harnesses
	.venv-harnesses/bin/python -m pip install --quiet "lm-eval[api]==0.4.13" "inspect-ai==0.3.285" openai transformers
	touch $@

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf .venv .venv-harnesses .mypy_cache .ruff_cache .pytest_cache .hypothesis
