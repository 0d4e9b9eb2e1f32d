# What people do daily. `make check` is exactly what CI runs.

PYTHON ?= python3
VENV   := tests/.venv
HEARTH := target/release/hearth
PYTEST := $(VENV)/bin/python -m pytest -q -c tests/pytest.ini
# What the dashboard is built to, and of; its types are the API's.
DASHBOARD := dashboard/dist/index.html
DASHBOARD_SOURCES := $(shell find dashboard/src dashboard/public dashboard/scripts -type f ! -name schema.ts) \
	$(wildcard dashboard/*.html dashboard/*.json dashboard/*.ts) crates/control/openapi.json

.PHONY: help build up hello test check unit dashboard dashboard-unit browser screenshots bootstraps examples conformance e2e crash \
	switches attacks guest soak bench bench-quick lint deny clean

help: ## this list
	@grep -E '^[a-z0-9 -]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

build: $(DASHBOARD) ## the release binary, target/release/hearth
	cargo build --release --locked -p hearth

up: build ## build and start Hearth in the foreground
	$(HEARTH) up

hello: build ## build, start Hearth for a moment, deploy and call an example
	@tests/hello $(HEARTH)

test: build $(VENV)/ready unit dashboard-unit browser bootstraps examples ## all tests; the crash suite in its short version
	tests/again $(PYTEST) tests

check: lint test guest bench-quick ## what CI runs

lint: $(DASHBOARD) ## formatting and clippy
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	@if cargo deny --version >/dev/null 2>&1; then $(MAKE) --no-print-directory deny; \
		else echo "lint: licences, bans and sources are not checked: cargo install cargo-deny --locked"; fi

unit: $(DASHBOARD) ## Rust unit tests, property tests and house rules
	tests/again cargo test --workspace --locked

dashboard: $(DASHBOARD) ## the dashboard's files, which the binary holds

$(DASHBOARD): $(DASHBOARD_SOURCES)
	cd dashboard && npm ci --silent --no-audit --no-fund --ignore-scripts && npm run --silent build

dashboard-unit: $(DASHBOARD) ## the dashboard's pure parts
	cd dashboard && npm run --silent test

browser: build ## the dashboard in a browser (chromium), against a real Hearth
	cd dashboard && HEARTH=$(abspath $(HEARTH)) ../tests/again npm run --silent e2e

screenshots: build ## pictures of every page, in dashboard/shots
	cd dashboard && HEARTH=$(abspath $(HEARTH)) npm run --silent screenshots

bootstraps: $(VENV)/ready ## the Python, Node and Java bootstraps over real streams
	cd runtimes/tests && ../../tests/again ../../$(VENV)/bin/python -m pytest -q

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

switches: build $(VENV)/ready ## 1,000 deploys and alias switches under load: nobody may feel one
	HEARTH_SWITCHES=1000 $(PYTEST) -s tests/e2e/test_versions.py -k felt_by_nobody

attacks: build $(VENV)/ready ## every attack on every isolation; docs/attacks.md is the table of them
	$(PYTEST) -s --all-attacks tests/attacks

guest: build $(VENV)/ready ## the limits on cgroup v2, in a small virtual machine
	tests/again tests/guest/run

# What parses what comes from outside. `fuzz/`: targets that cargo-fuzz leads into every corner of the code; they need a
# nightly compiler and `cargo install cargo-fuzz --locked`. `chance`: inputs by chance on the stable one, part of the unit tests.
FUZZ_SECONDS ?= 3600
FUZZ_TARGETS ?= $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs)))
FUZZ := cd fuzz && cargo +nightly fuzz
# The code is safe Rust; `make fuzz SANITIZER=address` looks for what its unsafe dependencies do, at half the speed.
SANITIZER ?= none
FUZZ_RUN := -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=4096 -max_len=65536 -print_final_stats=1 -verbosity=1
CHANCE := HEARTH_FUZZ_CASES=$${HEARTH_FUZZ_CASES:-1000000} cargo test --release --locked

.PHONY: fuzz fuzz-quick fuzz-build fuzz-seeds chance $(FUZZ_TARGETS:%=fuzz-%)
fuzz: $(FUZZ_TARGETS:%=fuzz-%) ## every target of fuzz/, FUZZ_SECONDS each (3600); one: fuzz-NAME
fuzz-quick: ## every target for ten seconds
	$(MAKE) fuzz FUZZ_SECONDS=10
fuzz-build:
	$(FUZZ) build --fuzz-dir . --sanitizer $(SANITIZER)
$(FUZZ_TARGETS:%=fuzz-%): fuzz-%: fuzz-build
	mkdir -p fuzz/corpus/$*
	$(FUZZ) run --fuzz-dir . --sanitizer $(SANITIZER) $* corpus/$* seeds/$* -- $(FUZZ_RUN)
fuzz-seeds: ## what the targets begin with, out of the tests' vectors
	$(PYTHON) fuzz/seeds.py
chance: ## hostile texts and messages by chance, a million each
	$(CHANCE) -p model --test hostile
	$(CHANCE) -p spawner hostile

# What an interpreter of Rust can run, watched for undefined behaviour. Few cases: it is a thousand times slower.
MIRI := HEARTH_FUZZ_CASES=3 PROPTEST_CASES=2 MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test --locked

.PHONY: miri sbom licences
miri: ## under Miri, all that calls nobody (rustup component add miri rust-src --toolchain nightly)
	$(MIRI) -p wire
	$(MIRI) -p linux --lib -- --skip live --skip quick_to_load seccomp::tests net::rules net::range net::netlink

sbom: $(DASHBOARD) ## what Hearth is made of, as CycloneDX: target/sbom (needs cargo-cyclonedx)
	mkdir -p target/sbom
	cargo cyclonedx --manifest-path crates/hearth/Cargo.toml --format json --spec-version 1.5 \
		--target $$(rustc --print host-tuple) --override-filename hearth-sbom
	mv crates/hearth/hearth-sbom.json target/sbom/hearth.cdx.json
	find bench crates -name hearth-sbom.json -delete
	cd dashboard && npm sbom --sbom-format cyclonedx --package-lock-only --omit dev >../target/sbom/dashboard.cdx.json

licences: ## docs/licences.md, of what is built in today
	UPDATE=1 cargo test --locked -p hearth --test licences

# The reliability bars, each as long as its bar says; CI runs their short versions with the tests. A figure is printed.
# How many: HEARTH_CRASH_ROUNDS (1), HEARTH_RELIABILITY_ROUNDS (2, 4, 10, 12, 21), HEARTH_RELIABILITY_STEP (8: each n-th),
# HEARTH_RELIABILITY_SEEDS (3, 13, 17), HEARTH_RELIABILITY_LINES (18), HEARTH_RELIABILITY_SANDBOXES (12),
# HEARTH_RELIABILITY_STARTS (14), HEARTH_RELIABILITY_FLIPS (20), HEARTH_RELIABILITY_MIB (25), SOAK_MINUTES and SOAK_RATE,
# HEARTH_RELIABILITY_SECONDS (22, 23) and HEARTH_RELIABILITY_CONNECTIONS (24).
LONG := $(VENV)/bin/python -m pytest -s -q -c tests/pytest.ini
ROWS := 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25

.PHONY: reliability $(ROWS:%=reliability-%)
reliability: $(ROWS:%=reliability-%) ## every reliability bar in full; hours
reliability-1: build $(VENV)/ready ## 500 kills at 200 events a second
	HEARTH_CRASH_ROUNDS=$${HEARTH_CRASH_ROUNDS:-250} $(LONG) tests/crash/test_queue.py
reliability-2: build $(VENV)/ready ## 200 power cuts on ext4, 50 on XFS
	HEARTH_RELIABILITY_ROUNDS=$${HEARTH_RELIABILITY_ROUNDS:-200} $(LONG) tests/reliability/test_power.py -k ext4
	HEARTH_RELIABILITY_ROUNDS=$${HEARTH_RELIABILITY_ROUNDS:-50} $(LONG) tests/reliability/test_power.py -k xfs
reliability-3: ## 1,000 torn disks
	HEARTH_RELIABILITY_SEEDS=$${HEARTH_RELIABILITY_SEEDS:-1000} cargo test --release --locked -p store --test store torn -- --nocapture
reliability-4: build $(VENV)/ready ## a sync that fails, at 20 moments
	HEARTH_RELIABILITY_ROUNDS=$${HEARTH_RELIABILITY_ROUNDS:-20} $(LONG) tests/reliability/test_disk.py
reliability-5: build $(VENV)/ready ## a key, a hundred times at once and over a restart
	$(LONG) tests/reliability/test_events.py -k key
reliability-6: build $(VENV)/ready ## retries and ages
	cargo test --locked -p triggers verdict
	$(LONG) tests/reliability/test_events.py -k failing
reliability-7: build $(VENV)/ready ## poison
	$(LONG) tests/reliability/test_events.py -k kills
reliability-8: build $(VENV)/ready ## killed at each system call of a deploy
	HEARTH_RELIABILITY_STEP=$${HEARTH_RELIABILITY_STEP:-1} $(LONG) tests/reliability/test_deploy.py
reliability-9: switches ## 1,000 deploys and alias switches under load
reliability-10: build $(VENV)/ready ## 20 upgrades under load
	HEARTH_RELIABILITY_ROUNDS=$${HEARTH_RELIABILITY_ROUNDS:-20} $(LONG) tests/reliability/test_upgrade.py
reliability-11: build $(VENV)/ready ## SIGTERM under load
	$(LONG) tests/reliability/test_drain.py
reliability-12: build $(VENV)/ready ## 100 kills with 50 sandboxes each
	HEARTH_RELIABILITY_ROUNDS=$${HEARTH_RELIABILITY_ROUNDS:-100} HEARTH_RELIABILITY_SANDBOXES=$${HEARTH_RELIABILITY_SANDBOXES:-50} \
		$(LONG) tests/reliability/test_orphans.py
reliability-13: ## queue, schedules and deploys simulated, 10,000 seeds; SEED=n tells the walk of one
	HEARTH_RELIABILITY_SEEDS=$${HEARTH_RELIABILITY_SEEDS:-10000} $(if $(SEED),SEED=$(SEED)) cargo test --release --locked -p triggers simulation -- --nocapture
reliability-14: build $(VENV)/ready ## 10,000 cold starts
	HEARTH_RELIABILITY_STARTS=$${HEARTH_RELIABILITY_STARTS:-10000} $(LONG) tests/reliability/test_cold_starts.py
reliability-15 reliability-16: ## 200 schedules, a day, 50 kills; six hours down
	cargo test --release --locked -p triggers clock_tests -- --nocapture
reliability-17: ## clocks that are set, and a decade of their changes
	cargo test --release --locked -p model schedule
	HEARTH_RELIABILITY_SEEDS=$${HEARTH_RELIABILITY_SEEDS:-30} cargo test --release --locked -p triggers however -- --nocapture
reliability-18: build $(VENV)/ready ## a million numbered log lines, and a flood
	HEARTH_RELIABILITY_LINES=$${HEARTH_RELIABILITY_LINES:-1000000} $(LONG) tests/reliability/test_logs.py
reliability-19: build $(VENV)/ready ## a disk that is full
	$(LONG) tests/reliability/test_full_disk.py
reliability-20: build $(VENV)/ready ## 1,000 bytes that the disk keeps wrong
	HEARTH_RELIABILITY_FLIPS=$${HEARTH_RELIABILITY_FLIPS:-1000} $(LONG) tests/reliability/test_flips.py
reliability-21: build $(VENV)/ready ## 20 backups at 200 events a second
	HEARTH_RELIABILITY_ROUNDS=$${HEARTH_RELIABILITY_ROUNDS:-20} $(LONG) tests/reliability/test_backup_load.py
reliability-22 reliability-23: build $(VENV)/ready ## ten times what a function can do, for a minute; a busy neighbour
	HEARTH_RELIABILITY_SECONDS=$${HEARTH_RELIABILITY_SECONDS:-60} $(LONG) tests/reliability/test_overload.py
reliability-24: build $(VENV)/ready ## 10,000 connections that do nothing, and 10,000 slow heads
	HEARTH_RELIABILITY_CONNECTIONS=$${HEARTH_RELIABILITY_CONNECTIONS:-10000} $(LONG) tests/reliability/test_connections.py

reliability-25: build $(VENV)/ready ## a heart that beats every 10 ms while the server has much to do
	HEARTH_RELIABILITY_MIB=$${HEARTH_RELIABILITY_MIB:-200} $(LONG) tests/reliability/test_stalls.py

soak: build $(VENV)/ready ## half load for SOAK_MINUTES (60): nothing that Hearth holds may grow
	SOAK_MINUTES=$${SOAK_MINUTES:-60} SOAK_RATE=$${SOAK_RATE:-150} $(LONG) tests/reliability/test_soak.py

bench: build ## side-by-side speed, full; a table of all goals; within half an hour
	cargo run --release --locked -p bench -- $(ARGS)

bench-quick: build ## that the benchmark runs, with wide gates
	tests/again cargo run --release --locked -p bench -- --quick

# Advisories come from the network, the rest does not: `make deny CHECKS=` for all.
CHECKS ?= licenses bans sources
deny: ## licences, bans and sources of what is built in (needs cargo-deny)
	cargo deny --locked check --hide-inclusion-graph $(CHECKS)

$(VENV)/ready: tests/requirements.txt
	$(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/pip install --quiet --requirement tests/requirements.txt
	touch $@

clean: ## build output and the tests' environment
	rm -rf target $(VENV) dashboard/dist dashboard/node_modules
