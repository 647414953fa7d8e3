# Two commands for a fresh Debian or Ubuntu machine with Rust, git and make: `make demo` and `make test`.

CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
export CARGO_TERM_COLOR ?= auto

.PHONY: help demo serve test torture setup lint docs bench bench-service

help:
	@echo 'make demo    build, start a server, render a sample scene over HTTP into demo.png, stop'
	@echo 'make serve   run the service on http://127.0.0.1:8080'
	@echo 'make test    run all tests'
	@echo 'make torture kill the server and its GPU process 1000 times over 5000 jobs, and check that nothing is lost'
	@echo 'make bench   measure the shader path and the service; make bench-service: the service alone'

# Installs a software Vulkan driver where there is no Vulkan adapter at all.
setup:
	@tests/setup.sh

demo:
	@tests/setup.sh curl
	$(CARGO) build --release --locked --bin kiln
	@tests/demo.sh $(TARGET)/release/kiln demo.png

serve: setup
	$(CARGO) build --release --locked --bin kiln
	$(TARGET)/release/kiln serve

test: setup
	KILN_REQUIRE_GPU=1 $(CARGO) test --locked

# The long form of what "make test" does in short; about half an hour. KILN_TORTURE_SEED=N plays a campaign again.
torture: setup
	KILN_REQUIRE_GPU=1 KILN_TORTURE_KILLS=$${KILN_TORTURE_KILLS:-1000} KILN_TORTURE_JOBS=$${KILN_TORTURE_JOBS:-5000} \
	    $(CARGO) test --locked --test it torture:: -- --nocapture

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

docs:
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps --document-private-items

bench: setup
	$(CARGO) bench --locked

# The service as a whole: latency under load, the queue with ten thousand jobs, how good the estimates are, what a thousand event streams cost, what
# interruptions do.
bench-service: setup
	$(CARGO) bench --locked --bench front_end --bench queue --bench estimates --bench event_streams --bench interruptions
