# SPDX-License-Identifier: Apache-2.0
# Joins the steps that CMake, CTest and scripts/ do; `make help` lists the targets.

BUILD ?= build
PREFIX ?= /usr/local
DESTDIR ?=
JOBS ?= $(shell nproc)
CTEST_FLAGS ?=
FUZZ_SECONDS ?= 60
# Tests for aarch64 under an emulator are for x86-64; other machines run the tests themselves.
AARCH64 ?= $(if $(filter x86_64,$(shell uname -m)),yes,no)
DEPS := $(if $(AEGISRT_DEPS_DIR),$(AEGISRT_DEPS_DIR),.deps)
CLANG_FORMAT ?= $(DEPS)/venv/bin/clang-format
SOURCES = $(shell find include src sim cli test fuzz bench examples \
	\( -name '*.c' -o -name '*.h' -o -name '*.cpp' \) -not -path '*/corpus/*' 2>/dev/null)

.NOTPARALLEL:
.PHONY: all help setup setup-dev check-setup models build demo demo-llm test test-fast test-all test-asan test-tsan \
	test-minimal test-aarch64 setup-aarch64 test-install gpu-bundle test-gpu bench-gpu coverage coverage-all format format-check lint bench bench-instructions fuzz \
	install doctor clean distclean

all: build ## release build, leaves bin/aegisrt and bin/edge-rt (default)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  %-14s %s\n", $$1, $$2 }' Makefile
	@echo "Variables: JOBS, PREFIX, DESTDIR, CTEST_FLAGS, FUZZ_SECONDS, AARCH64, AEGISRT_DEPS_DIR"

setup: ## install what building and testing need (Debian 12+, Ubuntu 22.04+)
	@scripts/setup.sh

setup-dev: ## also the tools for changing the code: clang, clang-tidy, valgrind
	@scripts/setup.sh --dev

check-setup:
	@scripts/setup.sh --check > /dev/null || { scripts/setup.sh --check; exit 1; }

models: setup ## fetch the models that demos and tests use, into models/
	@scripts/models.sh

build: check-setup
	@scripts/build.sh release
	@mkdir -p bin
	@for name in aegisrt edge-rt; do \
		program=$$(find $(BUILD)/release/cli $(BUILD)/release/bin -name $$name -type f -perm -u+x 2>/dev/null | head -n 1); \
		if [ -n "$$program" ]; then ln -sfn "../$$program" "bin/$$name"; else rm -f "bin/$$name"; fi; \
	done

demo: models build ## run the kiosk example, export its trace and replay it
	@scripts/demo.sh

demo-llm: models build ## a language model under a 128 MiB budget and fully resident: the same tokens
	@scripts/demo-llm.sh

# `test` is what a change must pass: everything once, and the layers with the most pointer and thread work
# again under sanitizers, and cross-built for aarch64 under an emulator (on x86-64; AARCH64=no leaves it out).
# `test-all` runs everything under each sanitizer.
test: models $(if $(filter no,$(AARCH64)),,setup-aarch64) ## all tests, and slices under sanitizers and for aarch64
	@scripts/test.sh dev asan-slice tsan-slice $(if $(filter no,$(AARCH64)),,aarch64)

test-fast: check-setup ## unit and property tests, no models, below two minutes
	@scripts/test.sh fast

test-all: models ## all tests in every configuration
	@scripts/test.sh dev minimal dev-asan dev-tsan

test-asan: models ## all tests under the address and undefined-behaviour sanitizers
	@scripts/test.sh dev-asan

test-tsan: models ## all tests under the thread sanitizer
	@scripts/test.sh dev-tsan

test-minimal: check-setup ## all tests of a build without optional dependencies
	@scripts/test.sh minimal

gpu-bundle: check-setup ## pack what runs on a GPU machine into build/gpu-bundle, parts of 60 MiB
	@scripts/gpu-bundle.sh

test-gpu: ## tests that need a GPU, here or in the unpacked bundle (ARGUMENTS="--sanitize memcheck")
	@scripts/gpu-run.sh test $(ARGUMENTS); rc=$$?; [ $$rc -eq 77 ] || exit $$rc

bench-gpu: ## benchmarks that need a GPU
	@scripts/gpu-run.sh bench $(ARGUMENTS); rc=$$?; [ $$rc -eq 77 ] || exit $$rc

coverage: check-setup ## line, branch and MC/DC coverage of the admission analysis, 100 % or fail (clang 19)
	@scripts/coverage.sh

coverage-all: models ## line and branch coverage of everything, into build/coverage/report.html
	@scripts/test.sh coverage
	gcovr -r . --object-directory $(BUILD)/coverage --filter src/ --filter sim/ --filter cli/ \
		--html-details $(BUILD)/coverage/report.html --print-summary

format: ## rewrite the sources in the project's format
	@$(CLANG_FORMAT) -i $(SOURCES)

format-check: ## fail when a source is not in the project's format
	@$(CLANG_FORMAT) --dry-run --Werror $(SOURCES)

lint: ## clang-tidy over the library and the programs
	@scripts/lint.sh

bench: models build ## benchmarks, JSON into build/bench/
	@scripts/build.sh bench
	@scripts/bench.sh

bench-instructions: check-setup ## instructions of a pool operation against the record (needs valgrind)
	@scripts/build.sh bench bench_pool
	@python3 test/performance/check_pool_instructions.py $(BUILD)/bench/bench/bench_pool

fuzz: check-setup ## every fuzz target for FUZZ_SECONDS (needs clang)
	@scripts/build.sh fuzz
	@scripts/fuzz.sh $(FUZZ_SECONDS)

install: build ## into DESTDIR/PREFIX
	@DESTDIR="$(DESTDIR)" cmake --install $(BUILD)/release --prefix "$(PREFIX)"

setup-aarch64: setup ## cross compiler, emulator and libraries for test-aarch64
	@scripts/setup-aarch64.sh

test-aarch64: setup-aarch64 ## unit tests under qemu-user, and the runner's bits against this machine
	@scripts/test.sh aarch64

test-install: check-setup ## install into a scratch folder and build a program against it
	@scripts/check-packages.sh
	@scripts/check-install.sh

doctor: build ## is this machine set up for real time?
	@bin/aegisrt doctor

clean: ## remove what the build made
	rm -rf $(BUILD) bin

distclean: clean ## also models and downloads
	rm -rf models $(DEPS)
