# Short names for frequent tasks. `make` alone lists them.

# Finds cargo from rustup even if the shell's PATH lacks it.
export PATH := $(PATH):$(HOME)/.cargo/bin

# Statements are checked against .sqlx, so building needs no database.
export SQLX_OFFLINE := true

.DEFAULT_GOAL := help
.PHONY: help setup demo test bench lint fmt chart openapi image fuzz explore triples chaos words hooks troublemakers sqlx

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

setup: ## install what is missing: C compiler, PostgreSQL server programs
	@scripts/setup.sh

demo: setup ## run payments end to end against the gateway simulator; KEEP=1 keeps it running
	cargo build --locked --workspace --bins
	target/debug/demo $(if $(filter 1,$(KEEP)),--keep)

test: troublemakers ## run all tests
	@scripts/test-tools.sh >/dev/null
	@scripts/test-tools.sh prometheus >/dev/null
	cargo build --locked --workspace --bins
	cargo test --locked --workspace

chaos: troublemakers ## kill each component under load; FORM=short|middle|long
	@mkdir -p target && rm -f target/chaos
	@RECONCILER_CHAOS=$(or $(FORM),long) RECONCILER_CHAOS_TABLE=$(CURDIR)/target/chaos \
		cargo test --locked --test it chaos:: -- --test-threads=1; ended=$$?; \
	echo; echo '| what happens | payments | it lasts | ready after | all final after |'; \
	echo '|---|---|---|---|---|'; cat target/chaos; exit $$ended

# Installs what the tests need in addition.
troublemakers:
	@scripts/setup.sh test

bench: setup ## compare throughput with a plain handler and PostgreSQL; QUICK=1 takes a minute
	BENCH_QUICK=$(or $(QUICK),0) cargo bench --locked --bench bench -- $(ONLY)

lint: ## check the format and run clippy; warnings are errors
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

fmt: ## format the source
	cargo fmt --all

chart: ## check the Helm chart, the alerts and the dashboard
	@scripts/check-chart.sh

openapi: ## regenerate the API description, and lint it
	cargo run --locked -- openapi > docs/openapi.json
	@scripts/check-openapi.sh

sqlx: setup ## regenerate .sqlx on a private PostgreSQL; needed when a SQL statement changes
	@scripts/sqlx.sh

image: ## build the image and test it; takes some minutes, needs root
	@scripts/image.sh

fuzz: ## fuzz every reader of outside bytes; FOR=60 seconds each
	@set -e; cd fuzz; for target in $$(sed -n 's/^name = "\(.*\)"$$/\1/p' Cargo.toml | tail -n +2); do \
		mkdir -p "corpus/$$target"; \
		RUSTC_BOOTSTRAP=1 cargo fuzz run "$$target" "corpus/$$target" "seeds/$$target" -- \
			-max_total_time=$(or $(FOR),60) -max_len=4096; \
	done

explore: ## simulate random schedules and responses; FOR=60 seconds, WIDE=2000 plans, FROM=0 first seed
	RECONCILER_EXPLORE_SECONDS=$(or $(FOR),60) RECONCILER_FIRST_SEED=$(or $(FROM),0) \
		cargo test --locked --test it sim::no_seed_breaks_a_rule -- --nocapture
	RECONCILER_WIDE=$(or $(WIDE),2000) RECONCILER_FIRST_SEED=$(or $(FROM),0) \
		cargo test --locked --test it sim::red::misleading_answers_break_no_rule -- --nocapture

triples: ## simulate every triple of values of a response; some minutes, in release
	RECONCILER_TRIPLES=1 RECONCILER_EXPLORE_ALL=1 cargo test --release --locked --test it -- --nocapture \
		sim::layers::triples_in_one_answer sim::covering::tests::every_triple

words: ## list where words that docs/glossary.md replaces still stand; WHERE=docs|comments|texts|tests
	@scripts/words.sh

hooks: ## check commit subjects before each commit (sets core.hooksPath)
	git config core.hooksPath scripts/hooks
