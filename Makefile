# Every command sets up what it needs: a virtual environment in .venv with the pinned versions of
# requirements/*.txt, once per change of those files. Plain pip is enough; nothing else must run.

PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null && echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
CODE := $(wildcard src examples benchmarks)

.DEFAULT_GOAL := help
.PHONY: help run test lint check faults bench-calls bench-shares bench-durable bench-events bench-restart bench-hops bench-gateway soak fuzz-frames pins clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

run: $(VENV)/.run ## Run the fraud example: data, training, serving, then the same day under other presets
	$(BIN)/python -m examples.fraud

test: $(VENV)/.dev ## Run the test suite, without the long tests
	$(BIN)/python -m pytest -m "not long"

lint: $(VENV)/.dev ## Check style, format, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict $(CODE)
	$(BIN)/lint-imports

check: $(VENV)/.run ## Replay the fraud example under every preset and compare the answers
	$(BIN)/allotrope check examples.fraud

faults: $(VENV)/.dev ## Run the long tests: kill -9 at every crash point, lost writes, planted mistakes
	$(BIN)/python -m pytest -m long

bench-calls: $(VENV)/.run ## Measure what a call costs over a plain await
	$(BIN)/python -m benchmarks.calls

bench-shares: $(VENV)/.run ## Show where the time of a payment in the monolith goes
	$(BIN)/python -m benchmarks.shares

bench-durable: $(VENV)/.run ## Measure durable throughput at each durability
	$(BIN)/python -m benchmarks.durable

bench-events: $(VENV)/.dev ## Measure events from publishing to effect, beside FastStream on NATS and on Redis
	$(BIN)/python -m benchmarks.events

bench-restart: $(VENV)/.run ## Measure a start on a log of a million events: seconds until ready, memory
	$(BIN)/python -m benchmarks.restart

bench-hops: $(VENV)/.dev ## Measure a call between processes beside gRPC, HTTP, Ray Serve and BentoML; PEERS="grpc web" for some
	$(BIN)/python -m benchmarks.hops $(PEERS)

bench-gateway: $(VENV)/.run ## Measure a typed POST through the gateway beside FastAPI with the same checks, and overload
	$(BIN)/python -m benchmarks.gateway

soak: $(VENV)/.dev ## Load the fraud example under microservices for SECONDS=600, and fail on memory, files or tasks that grow
	$(BIN)/python -m benchmarks.soak $(or $(SECONDS),600)

fuzz-frames: $(VENV)/.dev ## Throw noise at the frame decoder and a live server for SECONDS=600
	$(BIN)/python -m tests.transports.frames.fuzz $(or $(SECONDS),600)

# The dev set holds the run set in the same versions, so that it satisfies both stamps.
$(VENV)/.dev: requirements/dev.txt pyproject.toml | $(BIN)/python
	$(PIP) install --quiet --require-hashes --requirement requirements/dev.txt
	$(PIP) install --quiet --no-build-isolation --no-deps --editable .
	@touch $(VENV)/.run $@

$(VENV)/.run: requirements/run.txt pyproject.toml | $(BIN)/python
	$(PIP) install --quiet --require-hashes --requirement requirements/run.txt
	$(PIP) install --quiet --no-build-isolation --no-deps --editable .
	@touch $@

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Allotrope needs Python 3.11 to 3.14. Install one, or name it: make PYTHON=/path/to/python"; exit 1; }
	@echo "Setting up $(VENV) with $(PYTHON); the first time this fetches the pinned packages."
	"$(PYTHON)" -m venv $(VENV)

COMPILE = build/pins/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--custom-compile-command "make pins" --group build $(if $(UPGRADE),--upgrade) pyproject.toml

pins: ## Resolve versions again and write requirements/*.txt; UPGRADE=1 takes newer ones
	test -x build/pins/bin/uv || { "$(PYTHON)" -m venv build/pins && build/pins/bin/python -m pip install --quiet uv; }
	$(COMPILE) --extra examples --extra otlp --extra grpc --extra sidecar --extra foreign --extra nats \
		--extra redis --extra postgres --extra kafka --extra rabbitmq --extra mqtt --extra dev --output-file requirements/dev.txt
	$(COMPILE) --extra examples --constraint requirements/dev.txt --output-file requirements/run.txt

clean: ## Remove the virtual environment, caches and build outputs
	rm -rf $(VENV) build dist .allotrope .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
