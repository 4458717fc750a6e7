# What one does with this repository. Thin on purpose: each target calls cargo or a script.

DENY := target/tools/bin/cargo-deny
REGIONS := configs/regions
# Run from here: `cargo run` of one package would build its dependencies again with other features.
RELEASE := $(or $(CARGO_TARGET_DIR),target)/release

.DEFAULT_GOAL := help
.PHONY: help setup setup-build demo test bench check audit regions

help: ## Show this help
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F '|' '{ printf "  make %-8s %s\n", $$1, $$2 }'

setup: ## Check and install what building and testing need; quick when all is there
	@scripts/setup.sh all

# What building alone needs: nobody waits for the tools of the checks in order to see the demo.
setup-build:
	@scripts/setup.sh build

demo: setup-build ## Play a vaccination day on this machine (ONCE=1 ends after it; SEED, KEEP)
	cargo build --release --locked -p lapwing -p lapwing-testnet
	$(RELEASE)/lapwing-testnet demo $(if $(filter-out 0,$(ONCE)),--once)

test: check ## Run the checks, then every test
	cargo test --workspace --locked

bench: setup-build ## Measure a node against bare baselines; writes target/bench.json
	cargo build --release --locked -p lapwing -p lapwing-bench -p lapwing-testnet
	$(RELEASE)/lapwing-bench

check: setup ## Format, walls, licences, bans, sources, lints, documentation
	cargo fmt --all --check
	scripts/check-walls.sh
	$(DENY) --offline --locked -L error check licenses bans sources
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS=-Dwarnings cargo doc --no-deps --workspace --locked --quiet

audit: check ## Run the checks, show duplicate dependencies, ask the advisory database (needs a network)
	$(DENY) --offline --locked check --hide-inclusion-graph bans
	@$(DENY) --locked fetch db >/dev/null 2>&1 || { echo "audit: the advisory database cannot be had here: advisories were NOT checked" >&2; exit 1; }
	$(DENY) --locked check --disable-fetch advisories

regions: setup-build ## Regenerate the region file from the table of postal codes
	cargo run --locked -q -p lapwing-testnet -- regions --table $(REGIONS)/postal-codes-de.tsv --out $(REGIONS)/regions-de.toml
