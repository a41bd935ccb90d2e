# The front door: every target is a script under scripts/, which CI and people run alike.
# Arguments go through ARGS: make test ARGS="-k rate_limit -x"
.DEFAULT_GOAL := help
.SUFFIXES:
MAKEFLAGS += --no-print-directory
export PYTHON
ARGS ?=

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: install
install: ## Make .venv and install what the gateway needs (PYTHON=python3.12 picks a Python)
	@exec scripts/install.sh runtime

.PHONY: demo
demo: ## Serve a simulated provider: a first chat with no API key
	@exec scripts/demo.sh $(ARGS)

.PHONY: run
run: ## Serve on port 18000, in the foreground
	@exec scripts/run.sh $(ARGS)

.PHONY: migrate
migrate: ## Bring the database's schema up to date (serve does this by itself)
	@exec scripts/db_migrate.sh up

.PHONY: test
test: ## Run the tests, all but the long ones
	@exec scripts/test.sh $(ARGS)

.PHONY: lint
lint: ## Check style and formatting
	@exec scripts/lint.sh

.PHONY: format
format: ## Format the code, fix what has a safe fix
	@exec scripts/format.sh

.PHONY: types
types: ## Check types
	@exec scripts/types.sh

.PHONY: contracts
contracts: ## Check who imports whom
	@exec scripts/contracts.sh

.PHONY: coverage
coverage: ## Run the tests and show what they do not reach
	@exec scripts/coverage.sh $(ARGS)

.PHONY: soak
soak: ## Run every test at full size; takes long
	@exec scripts/soak.sh $(ARGS)

.PHONY: bench
bench: ## Measure what a request costs
	@exec scripts/bench.sh $(ARGS)

.PHONY: lock
lock: ## Resolve the dependencies anew (needs uv)
	@exec scripts/lock.sh

.PHONY: clean
clean: ## Remove .venv and caches; never ./data
	@exec scripts/clean.sh
