# Every target sets up what it needs: a virtual environment in .venv with the project and its development tools.
PYTHON ?= python3

.PHONY: train test lint
train: .venv/installed
	.venv/bin/accelerate launch scripts/train.py --config configs/shapes.yaml

test: .venv/installed
	.venv/bin/python -m pytest

lint: .venv/installed
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --editable ".[dev]"
	touch $@
