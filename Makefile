# Short names for what one does here. `make` alone lists them.

# Cargo from rustup is found even where the shell has not been told of it.
export PATH := $(PATH):$(HOME)/.cargo/bin

# Queries were checked when they were written; building needs no database.
export SQLX_OFFLINE := true

.DEFAULT_GOAL := help
.PHONY: help setup demo test bench lint fmt chart openapi image fuzz explore chaos troublemakers

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

setup: ## install what is missing: C compiler, PostgreSQL server programs
	@scripts/setup.sh

demo: setup ## show the service at work against a twin of the gateway; KEEP=1 leaves it running
	cargo build --locked --workspace --bins
	target/debug/demo $(if $(filter 1,$(KEEP)),--keep)

test: troublemakers ## run every test
	@scripts/test-tools.sh >/dev/null
	@scripts/test-tools.sh prometheus >/dev/null
	cargo build --locked --workspace --bins
	cargo test --locked --workspace

chaos: troublemakers ## kill everything under load, one after the other; FORM=short|middle|long
	@mkdir -p target && rm -f target/chaos
	@RECONCILER_CHAOS=$(or $(FORM),long) RECONCILER_CHAOS_TABLE=$(CURDIR)/target/chaos \
		cargo test --locked --test it chaos:: -- --test-threads=1; ended=$$?; \
	echo; echo '| what happens | payments | it lasts | ready after | all final after |'; \
	echo '|---|---|---|---|---|'; cat target/chaos; exit $$ended

# What the tests need beside the rest.
troublemakers:
	@scripts/setup.sh test

bench: setup ## measure the service beside a plain handler and PostgreSQL itself; QUICK=1 takes a minute
	BENCH_QUICK=$(or $(QUICK),0) cargo bench --locked --bench bench -- $(ONLY)

lint: ## check the format and run clippy, warnings are errors
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

fmt: ## format the source
	cargo fmt --all

chart: ## check the Helm chart, the alerts and the dashboard
	@scripts/check-chart.sh

openapi: ## write the API's description anew, and lint it
	cargo run --locked -- openapi > docs/openapi.json
	@scripts/check-openapi.sh

image: ## build the image and try it; takes some minutes, needs root
	@scripts/image.sh

fuzz: ## feed made-up bytes to all that reads from outside; FOR=60 seconds each
	@set -e; cd fuzz; for target in $$(sed -n 's/^name = "\(.*\)"$$/\1/p' Cargo.toml | tail -n +2); do \
		mkdir -p "corpus/$$target"; \
		RUSTC_BOOTSTRAP=1 cargo fuzz run "$$target" "corpus/$$target" "seeds/$$target" -- \
			-max_total_time=$(or $(FOR),60) -max_len=4096; \
	done

explore: ## explore made-up schedules and answers; FOR=60 seconds, WIDE=2000 plans, FROM=0 is the first seed
	RECONCILER_EXPLORE_SECONDS=$(or $(FOR),60) RECONCILER_FIRST_SEED=$(or $(FROM),0) \
		cargo test --locked --test it sim::no_seed_breaks_a_rule -- --nocapture
	RECONCILER_WIDE=$(or $(WIDE),2000) RECONCILER_FIRST_SEED=$(or $(FROM),0) \
		cargo test --locked --test it sim::red::misleading_answers_break_no_rule -- --nocapture
