# What one does with kluis. `make` alone lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run test soak fuzz build lint doc bench bench-compare bench-id examples-id install-packages clean

CARGO ?= cargo
# Where `make install` puts things; DESTDIR before it, for packages.
PREFIX ?= /usr/local
target := $(or $(CARGO_TARGET_DIR),target)
# Where `make bench-compare` keeps the tools that it builds.
peers := $(or $(KLUIS_PEERS),$(target)/peers)
# A release is never a lab build, whatever the caller's environment says (src/lab.rs).
release := env -u KLUIS_LAB $(CARGO)
# Where the models that read pictures are fetched to, unless they are kept elsewhere.
models := $(or $(KLUIS_MODELS),$(abspath $(target))/models)

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## build kluis and show it at work: a throwaway vault, letters in, an answer out
	@echo '==> fetching the models that read pictures, unless they are there'
	@KLUIS_MODELS='$(models)' $(target)/release/kluis doctor --fetch-models || echo '==> without them pictures are not read'
	@echo '==> running $(target)/release/kluis demo'
	@KLUIS_MODELS='$(models)' $(target)/release/kluis demo

test: ## check everything: format, lints, documents, every test, real peers
	@CARGO='$(CARGO)' bash .ci/test

soak: ## kills, power cuts and simulated crashes for hours; adds up over runs (ROUNDS=1, or more)
	@CARGO='$(CARGO)' bash .ci/soak

fuzz: ## feed every parser with anything, ten minutes each (FUZZ_SECONDS=60: shorter)
	@CARGO='$(CARGO)' bash .ci/fuzz

build: ## build the program: target/release/kluis
	@bash .ci/packages build
	@echo '==> building $(target)/release/kluis (some minutes the first time)'
	@$(release) build --release --locked

install: ## put the program, its service, its users and its pages in place (as root, after `make build`)
	@DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' bash .ci/install '$(target)/release/kluis'

uninstall: ## take all of that away again; the vault, its keys and its users stay
	@DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' bash .ci/install --remove

lint: ## check format and lints only
	@$(CARGO) fmt --check
	@$(release) clippy --locked --all-targets --test one_key -- -D warnings

doc: ## build the documentation of the code: target/doc/kluis/index.html
	@RUSTDOCFLAGS='-D warnings' $(release) doc --locked --no-deps

bench: ## measure the vault on this machine (docs/benchmarks.md)
	@bash .ci/packages build
	@echo '==> measuring; keep the machine quiet'
	@$(release) bench --locked --bench '*'

bench-compare: ## measure kluis and other tools on the same bytes, and write docs/benchmarks.md (20 minutes)
	@bash .ci/packages compare
	@echo '==> building kluis and the tools that Debian does not have'
	@$(release) build --release --locked --bin kluis --example load
	@for crate in rage rustic-rs; do \
	  test -x "$(peers)/bin/$${crate%-rs}" || $(release) install --root '$(peers)' --locked $$crate; \
	done
	@echo '==> measuring; keep the machine quiet'
	@KLUIS_PEERS='$(peers)' python3 benches/compare/compare.py --write docs/benchmarks.md

bench-id: ## read 1550 pictures of documents and other things, and print the table of docs/identity.md (STEP=10: a tenth)
	@bash .ci/packages test
	@$(release) build --release --locked --bin kluis
	@KLUIS_MODELS='$(models)' $(target)/release/kluis doctor --fetch-models
	@echo '==> reading; keep the machine quiet (an hour)'
	@KLUIS_BENCH_ID=1 KLUIS_MODELS='$(models)' $(release) bench --locked --bench identity

examples-id: ## draw the pictures of docs/identity.md anew, and their masks
	@$(CARGO) build --locked --bin kluis
	@KLUIS_MODELS='$(models)' $(target)/debug/kluis doctor --fetch-models
	@KLUIS_DRAW_EXAMPLES=1 KLUIS_MODELS='$(models)' $(CARGO) test --locked --test suite \
	  mask::the_pictures_in_the_documents_are_what_is_drawn_now

install-packages: ## install the system packages that building and testing need
	@bash .ci/packages test

clean: ## remove what was built
	@$(CARGO) clean
