# What one does with this checkout. Nothing but a Rust toolchain is needed beforehand.

.PHONY: help run test test-pgbouncer test-citus test-console console-pictures replay check fmt sqlx bench bench-citus fuzz fuzz-targets chaos overload

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## start PostgreSQL and the service, with a demo app, on http://127.0.0.1:8080
	@scripts/run

test: ## run all tests, on a PostgreSQL made for them
	@scripts/test

test-pgbouncer: ## run all tests on a service that reaches its database through PgBouncer
	@ROOMWARD_TEST_POOLER=1 scripts/test

test-citus: ## run all tests on the Citus cluster whose coordinator ROOMWARD_TEST_DATABASE_URL names
	@scripts/test-citus

test-console: ## try the moderators' console in a real Chromium, which is installed if need be (npm registry)
	@scripts/test-console

console-pictures: ## take the pictures of docs/pictures anew
	@scripts/test-console --pictures

replay: ## replay the examples of the page that defines the calls, answers side by side
	@scripts/test --test api page:: -- --nocapture

check: ## what CI runs: formatting, lints, generated files, all tests
	@.ci/run

fmt: ## format the code
	@cargo fmt

sqlx: ## regenerate .sqlx/ after a statement or the schema changed
	@scripts/sqlx

bench: ## measure every call beside PostgreSQL alone, and write docs/performance.md (15 minutes)
	@scripts/bench

bench-citus: ## what it costs to distribute rooms over the workers of ROOMWARD_TEST_DATABASE_URL's coordinator
	@scripts/bench citus

fuzz: ## try 100,000 calls of every kind against the OpenAPI document (FUZZ_REQUESTS, FUZZ_SECONDS)
	@scripts/fuzz

fuzz-targets: ## have libFuzzer think up paths, bodies, tokens, settings and the like (FUZZ_SECONDS=60 for each target)
	@scripts/fuzz-targets

chaos: ## kill, cut, stall and fill everything for 20 minutes (CHAOS_SECONDS, CHAOS_SEED): nothing may be lost
	@scripts/chaos

overload: ## more than the service can do: floods, requests that never end, streams without readers (OVERLOAD_SECONDS)
	@scripts/chaos overload
