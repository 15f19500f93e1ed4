# Every target sets up what it needs: a virtual environment in .venv with the project and its development tools.
PYTHON ?= python3

.PHONY: train test lint demo
train: .venv/installed
	.venv/bin/accelerate launch scripts/train.py --config configs/shapes.yaml

test: .venv/installed
	.venv/bin/python -m pytest

lint: .venv/installed
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

# Serves the model of `make train`; where there is none, one that is trained here in about a minute.
DEMO_MODEL = $(dir $(firstword $(wildcard outputs/shapes/model.safetensors) outputs/demo/model.safetensors))

demo: .venv/installed $(DEMO_MODEL)model.safetensors
	.venv/bin/python spaces_app/app.py --model $(DEMO_MODEL)

outputs/demo/model.safetensors: | .venv/installed
	.venv/bin/accelerate launch scripts/train.py --config configs/shapes.yaml --max_steps 100 --output_dir outputs/demo

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --editable ".[dev]"
	touch $@
