# What people do daily. `make check` is exactly what CI runs.

PYTHON ?= python3
VENV   := tests/.venv
HEARTH := target/release/hearth
PYTEST := $(VENV)/bin/python -m pytest -q -c tests/pytest.ini

.PHONY: help build up hello test check unit bootstraps examples conformance e2e crash guest bench bench-quick lint deny clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

build: ## the release binary, target/release/hearth
	cargo build --release --locked -p hearth

up: build ## build and start Hearth in the foreground
	$(HEARTH) up

hello: build ## build, start Hearth for a moment, deploy and call an example
	@tests/hello $(HEARTH)

test: build $(VENV)/ready unit bootstraps examples ## all tests; the crash suite in its short version
	$(PYTEST) tests

check: lint test guest bench-quick ## what CI runs

lint: ## formatting and clippy
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

unit: ## Rust unit tests, property tests and house rules
	cargo test --workspace --locked

bootstraps: $(VENV)/ready ## the Python and Node bootstraps over real streams
	cd runtimes/tests && ../../$(VENV)/bin/python -m pytest -q

examples: $(VENV)/ready ## the examples' own unit tests
	PYTHONPATH=examples $(VENV)/bin/python -m pytest -q --import-mode=importlib examples
	cd examples/json-api && npm ci --silent --ignore-scripts --omit=dev && node --test
	cd examples/webhook && node --test

conformance: build $(VENV)/ready ## every case on every runtime and driver, through boto3
	$(PYTEST) tests/conformance

e2e: build $(VENV)/ready ## CLI, boto3, HTTP, examples, packages
	$(PYTEST) tests/e2e

crash: build $(VENV)/ready ## kill -9 at random moments; HEARTH_CRASH_ROUNDS=50 for the long version
	$(PYTEST) tests/crash

guest: build $(VENV)/ready ## the limits on cgroup v2, in a small virtual machine
	tests/guest/run

bench: build ## side-by-side speed, full; a table of all goals; within half an hour
	cargo run --release --locked -p bench -- $(ARGS)

bench-quick: build ## that the benchmark runs, with wide gates
	cargo run --release --locked -p bench -- --quick

deny: ## licences, bans, sources and advisories (needs cargo-deny)
	cargo deny check

$(VENV)/ready: tests/requirements.txt
	$(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/pip install --quiet --requirement tests/requirements.txt
	touch $@

clean: ## build output and the tests' environment
	rm -rf target $(VENV)
