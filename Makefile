# The front door. What is longer than two lines is a script in scripts/.

# A commit that raises the limit says what the new packages save. 260 to 300: scrypt, secretbox, PKCS#8 and
# Ed25519ph, to read what cosign writes, none of which is worth own code. 300 to 335: the Sigstore project's
# verifier, with its ASN.1, and an event parser for YAML.
LOCK_LIMIT := 335
# How long each target is fuzzed, in seconds: what was asked of a release, and what CI has time for.
FUZZ_SECONDS ?= 600
FUZZ_SHORT_SECONDS ?= 10
# What `make soak` runs: so many soaks, of so many images each.
SOAK_SEEDS ?= 20
SOAK_IMAGES ?= 1000
# Which cases `make bench` runs, all that take minutes unless told otherwise, and where `make bench-plots` draws.
CASES ?=
PLOTS ?= docs/plots
SCRIPTS := $(wildcard scripts/*.sh) .ci/run
PYTHON := $(wildcard scripts/*.py scripts/bench/*.py scripts/bench/*/*.py)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help build setup demo test test-real soak fuzz fuzz-short fmt format lint lint-scripts docs deny lock-size advisories check bench bench-plots dist clean

help: ## Print this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build the release binary, target/release/consign
	cargo build --release --locked

setup: ## Fetch the tools to test against into the cache, without changing the system
	scripts/counterparts.sh registry crane oras skopeo cosign2 cosign3 compose

demo: ## Mirror real images between two registries on loopback, step by step
	scripts/demo.sh

test: ## Run all tests; those whose outside tool is missing are skipped by name
	cargo test --locked

test-real: setup ## Run all tests, and fail where an outside tool is missing
	CONSIGN_REQUIRE_TOOLS=1 cargo test --locked

soak: ## Run seeded soaks: faults, signals and rivals until both registries hold the same
	CONSIGN_SOAK_SEEDS=$(SOAK_SEEDS) CONSIGN_SOAK_IMAGES=$(SOAK_IMAGES) \
	  cargo test --locked --test end_to_end -- --test-threads 2 soak::

fuzz: ## Fuzz every parser, each for FUZZ_SECONDS
	scripts/fuzz.sh $(FUZZ_SECONDS)

fuzz-short: ## The same for some seconds each and with the same inputs every time, as CI does
	scripts/fuzz.sh -s 6 $(FUZZ_SHORT_SECONDS)

fmt: ## Check the format
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check

format: ## Format the code
	cargo fmt --all
	cargo fmt --manifest-path fuzz/Cargo.toml

lint: lint-scripts ## Run clippy and check the scripts, with warnings as errors
	cargo clippy --all-targets --locked -- -D warnings

lint-scripts: ## Check the syntax of the scripts, and what of the benchmark needs no server
	@for f in $(SCRIPTS); do bash -n "$$f" || exit 1; done
	@python3 -c 'import ast, sys; [ast.parse(open(f).read(), f) for f in sys.argv[1:]]' $(PYTHON)
	@PYTHONPATH=scripts PYTHONDONTWRITEBYTECODE=1 python3 -m unittest -q bench.test_bench

docs: ## Build the documentation of the code, with warnings as errors
	RUSTDOCFLAGS=-Dwarnings cargo doc --no-deps --document-private-items --locked

deny: ## Check licences, sources and banned crates
	cargo deny --locked check --hide-inclusion-graph bans licenses sources

lock-size: ## Check the number of packages in Cargo.lock
	@scripts/lock_size.sh $(LOCK_LIMIT)

advisories: ## Check for known holes in dependencies; needs the internet
	cargo deny --locked check advisories

check: fmt lint lock-size deny docs test fuzz-short ## The gate: everything that has to pass, the same in CI

bench: build ## Measure beside crane, oras, skopeo, regsync and cosign on loopback; CASES="big tiny" for some cases
	scripts/bench.sh $(CASES)

bench-plots: build ## Measure how cost grows with images, sizes and jobs, and draw it into PLOTS
	BENCH_PLOTS=$(PLOTS) scripts/bench.sh growth

dist: ## Build the static release binary into dist/
	scripts/dist.sh

clean: ## Remove what was built
	cargo clean
	rm -rf dist fuzz/target
