# make demo: install, train on the embedded demo, compare learned prompts with zero-shot.
# make test: install, check style and types, run the tests.
# make test-fast: the tests that a developer runs all day: without those marked slow.
# make test-oldest: the tests with the oldest allowed dependencies, in an environment of their own.
# make docs: install, build the documentation into build/site.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OLDEST ?= .venv-oldest
# Tests run on all cores.
SPREAD := --numprocesses auto --maxprocesses 8 --dist worksteal

.PHONY: demo test test-fast test-oldest docs install check clean

demo: install
	$(BIN)/python train.py --config configs/demo.yaml --overwrite true
	$(BIN)/python evaluate.py --prompts zero_shot runs/demo/prompts.safetensors \
		--data configs/demo.yaml --out runs/demo/evaluation

test: check
	$(BIN)/python -m pytest $(SPREAD)

test-fast: install
	$(BIN)/python -m pytest $(SPREAD) -m "not slow"

# The lower bounds of requirements.txt, taken as they are written.
test-oldest: $(OLDEST)/.installed
	$(OLDEST)/bin/python -m pytest $(SPREAD)

$(OLDEST)/.installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --upgrade pip
	sed -E 's/>=([0-9.]+).*/==\1/' requirements.txt > $(OLDEST)/oldest.txt
	$(OLDEST)/bin/python -m pip install -r $(OLDEST)/oldest.txt
	sed 's/\[.*\]//' $(OLDEST)/oldest.txt > $(OLDEST)/constraints.txt  # extras are not allowed there
	$(OLDEST)/bin/python -m pip install -c $(OLDEST)/constraints.txt -e '.[dev]'
	touch $@

docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

install: $(VENV)/.installed

$(VENV)/.installed: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --upgrade pip
	$(BIN)/python -m pip install -r requirements.txt
	$(BIN)/python -m pip install -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache build dist
