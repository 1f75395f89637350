# Everything a newcomer needs: `make demo` trains the tiny agent, `make test` proves the code.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test whole-runs sandboxes all-else test-vllm test-vllm-runs check unit lint types harnesses clean

demo: .venv/installed
	$(BIN)/rstar2 train configs/tiny.toml --run runs/demo

# Whole runs, then sandboxes, wait for their processes most of the time, so they go beside everything else.
test: lint types
	$(MAKE) --jobs=2 whole-runs all-else sandboxes

whole-runs: .venv/installed
	$(BIN)/python -m pytest --hypothesis-profile=thorough -m e2e

sandboxes: .venv/installed
	$(BIN)/python -m pytest --hypothesis-profile=thorough -m "not e2e" tests/sandbox

all-else: .venv/installed
	$(BIN)/python -m pytest --hypothesis-profile=thorough -m "not e2e" --ignore tests/sandbox

# What generates with a real vLLM, on CPU, from an environment of its own: it wants other versions than we do.
test-vllm: .venv-vllm/installed
	.venv-vllm/bin/python -m pytest -m vllm tests/engines

# The recipe on it, by itself and on Ray with parts that are killed: minutes more.
test-vllm-runs: .venv-vllm/installed
	.venv-vllm/bin/python -m pytest -m vllm tests/test_recipe.py tests/cluster

check: lint types unit

unit: .venv/installed
	$(BIN)/python -m pytest -m "not integration and not e2e"

lint: .venv/installed
	$(BIN)/ruff check .

types: .venv/installed
	$(BIN)/mypy

# lm-eval, Inspect and BFCL against `rstar2 serve`, from environments of their own: they bring much with them.
harnesses: .venv/installed .venv-harnesses/installed .venv-bfcl/installed
	$(BIN)/python -m pytest tests/verbs/test_harnesses.py

.venv-harnesses/installed:
	test -x .venv-harnesses/bin/python || $(PYTHON) -m venv .venv-harnesses
	.venv-harnesses/bin/python -m pip install --quiet "lm-eval[api,ifeval]==0.4.13" "inspect-ai==0.3.285" openai transformers
	touch $@

# The last of BFCL v3; it wants a NumPy that lm-eval cannot use, and a soundfile that it does not name.
.venv-bfcl/installed:
	test -x .venv-bfcl/bin/python || $(PYTHON) -m venv .venv-bfcl
	.venv-bfcl/bin/python -m pip install --quiet "bfcl-eval==2025.8.6.2" soundfile
	touch $@

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

.venv-vllm/installed: pyproject.toml constraints-vllm.txt
	test -x .venv-vllm/bin/python || $(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/python -m pip install --quiet --no-compile --no-deps --requirement constraints-vllm.txt --editable .
	touch $@

clean:
	rm -rf .venv .venv-harnesses .venv-bfcl .venv-vllm .mypy_cache .ruff_cache .pytest_cache .hypothesis
