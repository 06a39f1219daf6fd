# Two commands do it all on a fresh machine: `make demo` and `make test`.
# `make help` lists the rest.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PREFIX ?= /usr/local
CACHE ?= $(CURDIR)/target/cache
SIZE ?= 1G
SECONDS ?= 60
RIG ?= /var/cache/haul/rigs
# The compressor: isal, or zlib (pure Rust; archives as good, but larger, at about half the speed). Never chosen by what is installed.
CODEC ?= isal
ifeq ($(filter isal zlib,$(CODEC)),)
$(error CODEC is isal or zlib, not "$(CODEC)")
endif
export HAUL_RIG := $(RIG)

# What ISA-L is built with, and what the tests use.
BUILD_PACKAGES := cc=gcc
ifneq ($(CODEC),zlib)
BUILD_PACKAGES += autoconf=autoconf automake=automake libtoolize=libtool
# ISA-L's assembler is that of the C compiler everywhere but on x86.
ifeq ($(shell uname -m),x86_64)
BUILD_PACKAGES += nasm=nasm
endif
endif
TEST_PACKAGES := python3=python3 gzip=gzip igzip=isal fincore=util-linux-extra sqlite3=sqlite3 strace=strace debootstrap=debootstrap \
	/usr/sbin/sshd=openssh-server /usr/sbin/apache2=apache2 promtool=prometheus chromium=chromium chromedriver=chromium-driver \
	/usr/sbin/mosquitto=mosquitto mosquitto_pub=mosquitto-clients smbclient=smbclient \
	/usr/sbin/apparmor_parser=apparmor buildah=buildah
WEEK_LIBRARY := /usr/lib/$(shell uname -m)-linux-gnu/faketime/libfaketimeMT.so.1
BENCH_PACKAGES := python3=python3 pigz=pigz igzip=isal
NETWORK_PACKAGES := python3=python3 pigz=pigz nc=netcat-openbsd rclone=rclone /usr/sbin/ip=iproute2 /usr/sbin/tc=iproute2
APP_PACKAGES := python3=python3 rclone=rclone smbclient=smbclient taskset=util-linux

FEATURES := $(if $(filter zlib,$(CODEC)),--no-default-features)

.PHONY: week help demo build install test test-fast test-arm64 lint deps format bench bench-app bench-latency bench-network bench-service bench-vault dist fuzz rig rigs fixtures ask verdicts clean tools

help: ## Say what there is
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | sort | expand -t 16

demo: build ## Back up a running sample installation, verify it, restore it, and compare
	target/release/haul demo

tools:
	@tools/need $(BUILD_PACKAGES)$(if $(filter isal,$(CODEC)), || { echo "ISA-L can't be built without them. Without ISA-L archives are larger and take about twice as long: make CODEC=zlib $(MAKECMDGOALS)" >&2; exit 1; })

build: tools ## Build target/release/haul
	cargo build --release --locked --package haul $(FEATURES)

install: build ## Install the program, its manual pages and completions below PREFIX (/usr/local)
	install -Dm755 target/release/haul $(DESTDIR)$(PREFIX)/bin/haul
	install -d $(DESTDIR)$(PREFIX)/share/man/man1
	target/release/haul man $(DESTDIR)$(PREFIX)/share/man/man1
	install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/share/zsh/site-functions $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	target/release/haul completions bash > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/haul
	target/release/haul completions zsh > $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_haul
	target/release/haul completions fish > $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/haul.fish

dist: tools ## Make dist/: static programs, Debian packages, container images and the app for Home Assistant OS, for x86_64 and arm64 (arm64 and images need root)
	@tools/need python3=python3 readelf=binutils dpkg-deb=dpkg
	packaging/dist $(FEATURES)

# Home Assistant's own Python library, for reading what we write and writing what we read.
$(CACHE)/python/.ready: tests/requirements.txt tests/requirements-alone.txt
	@tools/need python3=python3 /usr/share/doc/python3-venv=python3-venv
	rm -rf $(CACHE)/python
	python3 -m venv $(CACHE)/python
	$(CACHE)/python/bin/pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	$(CACHE)/python/bin/pip install --quiet --disable-pip-version-check --no-deps -r tests/requirements-alone.txt
	touch $@

test: tools $(CACHE)/python/.ready rig ## Run every test
	@tools/need $(TEST_PACKAGES)
	HAUL_PYTHON=$(CACHE)/python/bin/python cargo xtask test --locked --workspace $(FEATURES)
	cargo test --locked --package pargz --no-default-features
	@if [ "$$(uname -m)" != x86_64 ]; then echo "this is $$(uname -m): the tests ran on it, and those for arm64 under qemu are skipped"; \
	elif [ "$$(id -u)" -ne 0 ]; then echo "not root: the tests for arm64 under qemu are skipped"; \
	else $(MAKE) test-arm64; fi

test-fast: lint ## Check lints, run the unit tests and the contract of a local destination: for the edit loop
	cargo test --locked --workspace --lib --bins $(FEATURES)
	cargo test --locked --package store --test contract $(FEATURES) local

test-arm64: tools ## Build for arm64, run tests there under qemu, exchange archives with this machine (needs root)
	@tools/need debootstrap=debootstrap
	tests/arm64/prepare
	cargo fetch --quiet --locked --target aarch64-unknown-linux-gnu
	cargo build --locked --workspace --bin haul --example make_config $(FEATURES)
	rm -rf target/arm64-sample
	target/debug/examples/make_config target/arm64-sample --size 16M
	tests/arm64/run target/debug/haul target/arm64-sample

rig: ## Prepare the real Home Assistants, and the Linux with a kernel of its own, that the tests run against (needs root; kept between runs)
	@if [ "$$(id -u)" -ne 0 ]; then echo "not root: the tests against a real Home Assistant and a kernel that mounts will be skipped"; exit; fi; \
	tools/need debootstrap=debootstrap; tests/rig/prepare; \
	if [ "$$(uname -m)" = x86_64 ]; then tests/kernel/prepare; else echo "this is $$(uname -m): the tests with a kernel that mounts will be skipped"; fi

rigs: rig ## The same, and the system for arm64
	@if [ "$$(id -u)" -eq 0 ] && [ "$$(uname -m)" = x86_64 ]; then tests/arm64/prepare; fi

fixtures: $(CACHE)/python/.ready ## Make an archive for every defect, in target/fixtures
	$(CACHE)/python/bin/python tests/fixtures/make target/fixtures
	$(CACHE)/python/bin/python tests/fixtures/make --check

ask: fixtures rig ## Ask the real Home Assistants what they do with every fixture, and compare with what is written
	@if [ "$$(id -u)" -ne 0 ]; then echo "not root: skipped"; exit; fi; for version in 2025.6.3 2026.11.0; do \
		HAUL_RIG_VERSION=$$version tests/fixtures/ask target/fixtures --check tests/fixtures/home-assistant-$$version.jsonl; done

verdicts: $(CACHE)/python/.ready rig ## Print what Home Assistant does with every fixture beside what haul inspect says of it
	@HAUL_PYTHON=$(CACHE)/python/bin/python HAUL_VERDICTS=$(CURDIR)/target cargo test --locked --quiet --package haul --test verdicts $(FEATURES) \
		> target/verdicts.log 2>&1 || { cat target/verdicts.log; exit 1; }
	@cat target/verdicts-*.txt

fuzz: ## Fuzz every parser (SECONDS=60 for each)
	fuzz/run $(SECONDS)

lint: tools ## Check formatting, lints, the layers and the app for Home Assistant OS, and that every fuzz target compiles
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets $(FEATURES) -- -D warnings
	cargo xtask layers
	cargo xtask app
	@tools/need c++=g++
	RUSTC_BOOTSTRAP=1 cargo check --quiet --locked --manifest-path fuzz/Cargo.toml --target-dir target
	@tools/deps

deps: ## Check that each dependency is used, its licence and origin, and what is known against it (cargo-machete, cargo-deny)
	@tools/deps advisories

format: ## Format the source
	cargo fmt --all

week: tools $(CACHE)/python/.ready ## Let a week pass in an hour: real servers behind lines that break, the service killed again and again (MINUTES=60)
	@tools/need $(TEST_PACKAGES) $(WEEK_LIBRARY)=faketime
	HAUL_WEEK_MINUTES=$(or $(MINUTES),60) HAUL_PYTHON=$(CACHE)/python/bin/python cargo test --locked --workspace --test week $(FEATURES) -- --ignored --nocapture

bench: build ## Measure against Home Assistant's own writers, tar | pigz, tar | nc, rclone and Supervisor's own way (SIZE=1G)
	@tools/need $(BENCH_PACKAGES)
	HAUL=$(CURDIR)/target/release/haul bench/run --size $(SIZE)
	@tools/need $(NETWORK_PACKAGES)
	HAUL=$(CURDIR)/target/release/haul bench/network --size $(SIZE) $(if $(filter 0,$(shell id -u)),,--only s3,measuring)
	@tools/need $(APP_PACKAGES)
	HAUL=$(CURDIR)/target/release/haul bench/app --size $(SIZE)

bench-network: build ## Measure destinations against tar | nc | pigz and rclone (SIZE=1G; needs root)
	@tools/need $(NETWORK_PACKAGES)
	HAUL=$(CURDIR)/target/release/haul bench/network --size $(SIZE)

bench-app: build ## Measure backups of everything in Home Assistant OS against Supervisor's own way (SIZE=1G)
	@tools/need $(APP_PACKAGES)
	HAUL=$(CURDIR)/target/release/haul bench/app --size $(SIZE)

bench-latency: build ## Measure what a backup costs a database's writer
	HAUL=$(CURDIR)/target/release/haul bench/latency

bench-service: build ## Measure what the service costs at rest, and how fast it answers with 10,000 archives
	HAUL=$(CURDIR)/target/release/haul bench/service

bench-vault: build ## Measure what a second backup costs restic, rustic and borg, and what differs page by page (SIZE=1G; peers that are missing are left out)
	HAUL=$(CURDIR)/target/release/haul bench/vault --size $(SIZE)

clean: ## Remove what was built
	cargo clean
