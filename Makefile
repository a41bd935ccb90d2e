# Every target runs a script in scripts/; CI runs the same scripts. ARGS passes arguments: make test ARGS="-k rate_limit -x"
.DEFAULT_GOAL := help
.SUFFIXES:
MAKEFLAGS += --no-print-directory
export PYTHON
ARGS ?=

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: install
install: ## Create .venv and install the gateway (PYTHON=python3.12 selects a Python)
	@exec scripts/install.sh runtime

.PHONY: demo
demo: ## Serve a simulated provider: a first chat without any API key
	@exec scripts/demo.sh $(ARGS)

.PHONY: run
run: ## Serve on port 18000, in the foreground
	@exec scripts/run.sh $(ARGS)

.PHONY: migrate
migrate: ## Upgrade the database schema (serve does this at start)
	@exec scripts/db_migrate.sh up

.PHONY: test
test: ## Run all tests except the long ones
	@exec scripts/test.sh $(ARGS)

.PHONY: console-test
console-test: ## Run the tests of the console in a browser alone (make test has them too)
	@exec scripts/console_test.sh $(ARGS)

.PHONY: services
services: ## Install what the tests need: PostgreSQL, Redis, PgBouncer, Prometheus, Chromium, a compiler (Debian, Ubuntu)
	@exec scripts/services.sh

.PHONY: lint
lint: ## Check style and formatting
	@exec scripts/lint.sh

.PHONY: format
format: ## Format the code and apply safe fixes
	@exec scripts/format.sh

.PHONY: types
types: ## Check types
	@exec scripts/types.sh

.PHONY: contracts
contracts: ## Check the import contracts
	@exec scripts/contracts.sh

.PHONY: coverage
coverage: ## Run the tests and report the lines that they do not cover
	@exec scripts/coverage.sh $(ARGS)

.PHONY: soak
soak: ## Run every test at full size (slow)
	@exec scripts/soak.sh $(ARGS)

.PHONY: bench
bench: ## Measure what a request costs
	@exec scripts/bench.sh $(ARGS)

.PHONY: prices
prices: ## Compile the prices that ship with the gateway
	@exec scripts/prices.sh $(ARGS)

.PHONY: lock
lock: ## Pin the newest dependencies (needs uv)
	@exec scripts/lock.sh

.PHONY: clean
clean: ## Remove .venv and caches; keep ./data
	@exec scripts/clean.sh
