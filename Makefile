# One door for everything: `make help`.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
MIN ?= 20
T ?= tests
JOBS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
PACKAGES := triage models dicom_node worklist workers firstread

# Images of containers often set it; here processes are started by the hundred, and each would compile all it imports.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo up test ohif neighbours lint format bench ingest faults soak docs clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/ready ## The whole product with synthetic patients and a stand-in PACS (ARGS=--once to end by itself)
	@$(BIN)/firstread demo $(ARGS)

up: $(VENV)/ready ## The product for real use (ARGS="--destination PACS@host:port")
	@$(BIN)/firstread up $(ARGS)

test: $(VENV)/ready ## All tests (T=tests/unit for a part); neighbours that are not installed are skipped with a reason
ifeq ($(T),tests)
# Side by side, a file at a time, one more process than cores, for many tests wait; first those that start products, in a
# run of their own, for products that nobody asks for any more cost the others time. Then those that need the machine.
	@failed=0; side_by_side="--numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder"; \
	$(BIN)/python -m pytest tests --ignore tests/unit -m 'not alone and not faults' $$side_by_side $(ARGS) || failed=1; \
	$(BIN)/python -m pytest tests/unit -m 'not alone and not faults' $$side_by_side $(ARGS) || failed=1; \
	$(BIN)/python -m pytest $$(grep -rl 'mark[.]alone' tests --include 'test_*.py') -m 'alone and not faults' $(ARGS) || failed=1; \
	exit $$failed
else
	@$(BIN)/python -m pytest $(T) $(ARGS)
endif

ohif: $(VENV)/ready ## The OHIF viewer, by npm, for the test that looks through it (48 MB into .ohif/)
	@PYTHONPATH=tests $(BIN)/python -m peers.ohif

neighbours: $(VENV)/ready ## A FHIR server, an HL7 receiver and the libraries that models come from, by pip, for tests (240 MB into .neighbours/)
	@$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python .neighbours
	@$(BIN)/uv pip install --quiet --python .neighbours/bin/python --require-hashes -r tests/peers/neighbours.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --target .neighbours/originals --no-deps --require-hashes -r tests/peers/originals.lock

lint: $(VENV)/ready ## ruff (format and lint) and mypy (strict)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

format: $(VENV)/ready ## Let ruff format and fix
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(VENV)/ready ## Time to result, measured beside its floor; writes docs/measurements/
	@$(BIN)/python benchmarks/time_to_result.py $(ARGS)

ingest: $(VENV)/ready ## C-STORE beside DCMTK, Orthanc and pynetdicom (ARGS="--repeats 5 --write" writes docs/measurements/)
	@$(BIN)/python benchmarks/ingest.py $(ARGS)

faults: $(VENV)/ready ## Every fault of the catalogue, as root (ARGS="F7 F19", --quick, "--kills 1000"); writes docs/measurements/
	@PYTHONPATH=$(CURDIR):$(CURDIR)/tests $(BIN)/python -m faults $(ARGS)

soak: $(VENV)/ready ## Load with a fault a minute (MIN=20), memory and threads watched; writes docs/measurements/
	@PYTHONPATH=$(CURDIR):$(CURDIR)/tests $(BIN)/python -m faults.soak --minutes $(MIN) $(ARGS)

docs: $(VENV)/ready ## Write the documents that are generated
	@$(BIN)/firstread conformance > docs/CONFORMANCE.md
	@$(BIN)/python -m firstread settings > docs/SETTINGS.md

clean: ## Remove the virtual environment and caches
	@rm -rf $(VENV) .neighbours .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info

# Everything is pinned with hashes; uv only makes the installation quick.
$(VENV)/ready: requirements.lock bootstrap.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "firstread needs Python 3.11 or newer; name one with PYTHON=..." >&2; exit 1; }
	@echo "Installing into $(VENV) (some minutes at the first time) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r bootstrap.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@
