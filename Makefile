# Every target sets up what it needs: a virtual environment in .venv with the project and its development tools.
PYTHON ?= python3

.PHONY: train test lint demo bench lowest
train: .venv/installed
	.venv/bin/accelerate launch scripts/train.py --config configs/shapes.yaml

# Two workers with a thread each: the models are too small to share a thread's work.
test: .venv/installed
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n 2 --dist worksteal

lint: .venv/installed
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

# The tables and plots of docs/results.md from benchmarks/records.
bench: .venv/installed
	.venv/bin/python benchmarks/run.py --suite tables

# The tests with the lowest versions that pyproject.toml allows.
lowest: .venv-lowest/installed
	OMP_NUM_THREADS=1 .venv-lowest/bin/python -m pytest -n 2 --dist worksteal

# Serves the model of `make train`; where there is none, one that is trained here in about a minute.
DEMO_MODEL = $(dir $(firstword $(wildcard outputs/shapes/model.safetensors) outputs/demo/model.safetensors))

demo: .venv/installed $(DEMO_MODEL)model.safetensors
	.venv/bin/rss-hf demo --model $(DEMO_MODEL)

outputs/demo/model.safetensors: | .venv/installed
	.venv/bin/accelerate launch scripts/train.py --config configs/shapes.yaml --max_steps 100 --output_dir outputs/demo

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --editable ".[dev]"
	touch $@

.venv-lowest/installed: pyproject.toml
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -c "import tomllib; print('\n'.join(line.replace('>=', '==') for line in tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies']))" > .venv-lowest/constraints.txt
	.venv-lowest/bin/pip install --quiet --constraint .venv-lowest/constraints.txt --editable ".[dev]"
	touch $@
