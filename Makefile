# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
PYTHON ?= python

.PHONY: quality style security test test-slow test-peer card docs lock

quality:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mlinter --no-progress configuration_*.py modeling_*.py processing_*.py baselines/*/configuration_*.py baselines/*/modeling_*.py vlm/configuration_*.py vlm/modeling_*.py
	$(PYTHON) benchmarks/readme_table.py --check
	$(PYTHON) benchmarks/renderer_tables.py --check

style:
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

# Needs the network: pip install bandit pip-audit
security:
	$(PYTHON) -m bandit --quiet --recursive . --configfile pyproject.toml --severity-level medium --confidence-level medium
	$(PYTHON) -m pip_audit --requirement constraints.txt --no-deps --disable-pip

test:
	$(PYTHON) -m pytest

test-slow:
	$(PYTHON) -m pytest -m slow

test-peer:
	$(PYTHON) tests/peer/run.py

card:
	$(PYTHON) benchmarks/readme_table.py
	$(PYTHON) benchmarks/renderer_tables.py

docs:
	$(PYTHON) -m mkdocs build --strict

# Everything moves but torch, with which README's commands begin.
lock:
	grep '^torch==' constraints.txt > .torch.txt
	uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --no-annotate --upgrade --quiet \
		--constraints .torch.txt --custom-compile-command "make lock" --output-file constraints.txt
	rm .torch.txt
