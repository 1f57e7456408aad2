# park: every command of the repository. `make help` lists them.
#
# A fresh clone needs Rust 1.95, Python 3.11 or newer with headers, a C and a C++ compiler and make. What else is needed is installed
# by make and named as it happens: Debian's cmake and pkg-config if absent, Python wheels into .venv. Stamps in .venv/.stamps keep
# anything from being installed or built twice.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
CHAOS ?=
TREE ?=
MINUTES ?= 5
BENCH_ARGS ?=
PREFIX ?= /usr/local
TESTS ?=
# Peers of bench-kv that pip cannot install whole here: an interpreter with what their modules import, and the unpacked package.
VLLM_PYTHON ?= benches/.venv-vllm/bin/python
VLLM_TREE ?=
# The environment of conformance-vllm: made in tests/conformance/vllm/.venv unless one is named.
VLLM_VENV ?=
SGLANG_PYTHON ?= benches/.venv-sglang/bin/python
SGLANG_TREE ?=
VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
STAMPS := $(VENV)/.stamps
STAGES := tests/tools/stages.sh
# What tasks and actors promise, whatever workers are: these files run with threads, too.
THREADED := $(addprefix tests/python/test_,$(addsuffix .py,actors async_actors await cancel concurrency_groups crowds decorators \
  exceptions exit_actor get_wait gpus method_retries nodes objects options placement_groups queue refs resources runtime_context \
  runtime_env session streaming task_errors task_limits tasks threaded_actors threads util util_pools))
# Crates whose tests run as plain cargo tests; park-py is tested from Python.
CRATES := -p park-core -p park-c -p park-tests

EXTENSION_SOURCES := $(shell find park-core/src park-py -name '*.rs' 2>/dev/null) Cargo.toml Cargo.lock park-core/Cargo.toml park-py/Cargo.toml

# The loom build sees other atomics, so it has its own target folder: else each switch would rebuild everything. The bound on
# preemptions is the usual one: nearly all known bugs of this kind show with two, and the state space stays small.
LOOM := LOOM_MAX_PREEMPTIONS=2 RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom cargo test -p park-core --release --lib loom_

# shuttle switches threads before each atomic access of the whole store. Its build sees other atomics too.
SHUTTLE := RUSTFLAGS="--cfg shuttle" CARGO_TARGET_DIR=target/shuttle cargo test -p park-core --release --lib shuttle_
# The core with its fail points compiled in, killed at each of them.
CRASH := CARGO_TARGET_DIR=target/crash cargo test -p park-tests --features failpoints --test crash

.PHONY: help setup extension demo test quick check crash soak fuzz bench bench-ray bench-store conformance-ray conformance-ray-others conformance-verl install header abi stubs clean bench-kv conformance-vllm FORCE

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

# --- set-up -----------------------------------------------------------------------------------------------------------------------

setup: $(STAMPS)/packages ## install what demo, test and check need, into .venv
	@echo "setup: done ($$($(PY) -V), $$(rustc -V | cut -d' ' -f1-2))"

$(STAMPS)/system:
	@tests/tools/system.sh "$(PYTHON)"
	@[[ -x $(PY) ]] || { echo "setup: making $(VENV)"; "$(PYTHON)" -m venv $(VENV); }
	@mkdir -p $(STAMPS)
	@touch $@

# Rewritten only when the text differs, so that a change elsewhere in pyproject.toml reinstalls nothing.
$(STAMPS)/requirements.txt: FORCE | $(STAMPS)/system
	@$(PY) tests/tools/requirements.py demo dev >$@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

$(STAMPS)/packages: $(STAMPS)/requirements.txt
	@echo "setup: pip install into $(VENV): $$(tr '\n' ' ' <$<)"
	@echo "setup: PyTorch is large; the first time takes some minutes"
	@$(PY) -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

# `maturin develop` builds the module into python/park/ and puts that folder on the path of .venv: edits of Python need no rebuild.
extension: $(STAMPS)/extension ## build park._park and make it importable in .venv

$(STAMPS)/extension: $(EXTENSION_SOURCES) $(STAMPS)/packages
	@echo "extension: maturin develop --release"
	@VIRTUAL_ENV="$(CURDIR)/$(VENV)" $(BIN)/maturin develop --release --quiet >/dev/null
	@touch $@

# --- run --------------------------------------------------------------------------------------------------------------------------

demo: $(STAMPS)/extension ## the main job: digits, from scans to a report in demo-out/ (CHAOS=1 kills a worker in mid-run)
	CHAOS="$(CHAOS)" $(PY) python/examples/digits.py

test: $(STAMPS)/extension ## all tests: Rust, a kill at every step, loom, shuttle, C and C++ (again under sanitizers), Python
	@$(STAGES) \
	  rust 1200 'cargo test $(CRATES) --no-fail-fast' \
	  crash 900 '$(CRASH)' \
	  loom 600 '$(LOOM)' \
	  shuttle 600 '$(SHUTTLE)' \
	  c-and-c++ 600 'PYTHON="$(CURDIR)/$(PY)" bash tests/c/run.sh' \
	  python 1200 '$(PY) -m pytest tests/python' \
	  threads 600 'PARK_MODE=thread $(PY) -m pytest $(THREADED)'

quick: $(STAMPS)/extension ## the core's tests and the fast Python tests
	@$(STAGES) \
	  rust 300 'cargo test -p park-core' \
	  python 240 '$(PY) -m pytest tests/python -m "not slow" -x -q'

check: $(STAMPS)/extension ## format, lints, stubs, header drift, import table, licences and advisories
	@$(STAGES) \
	  format 120 'cargo fmt --all --check && $(BIN)/ruff format --check . && $(BIN)/ruff check .' \
	  clippy 900 'cargo clippy --workspace --all-targets --features park-tests/failpoints -- -D warnings' \
	  arch 300 'cargo test -p park-tests --test arch' \
	  header 300 'cargo test -p park-tests --test header' \
	  doc 600 'RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps' \
	  stubs 300 'bash tests/tools/stubs.sh check $(BIN)' \
	  audit 1200 'bash tests/tools/audit.sh $(PY)'

crash: ## kill a process at every fail point of the core, in every role (about 80 s)
	$(CRASH)

soak: ## an hour's worth of allocations; eight processes, random sizes, random deaths for MINUTES (default 5) in memory and again on disk, then random schedules
	cargo test -p park-core --release --lib an_hours_worth -- --ignored --nocapture
	cargo test -p park-tests --release --test soak -- --minutes "$(MINUTES)" --seed "$$RANDOM"
	cargo test -p park-tests --release --test soak -- --minutes "$(MINUTES)" --seed "$$RANDOM" --capacity-mb 256 --largest-mb 64 --keep 2.5
	PARK_SHUTTLE=$$(awk -v m="$(MINUTES)" 'BEGIN { printf "%d", m * 1000 }') $(SHUTTLE)

fuzz: ## fuzz each target for MINUTES (default 5), and let a hostile process scribble for as long
	bash tests/fuzz/run.sh "$(MINUTES)"
	PARK_HOSTILE_SECONDS=$$(awk -v m="$(MINUTES)" 'BEGIN { printf "%d", m * 60 }') cargo test --quiet -p park-tests --test hostile -- --nocapture

bench: ## criterion benches of the Rust crates
	cargo bench -p park-bench

bench-ray: $(STAMPS)/extension benches/.venv-ray/.ready ## ratios to real Ray, Pool, a pipe and memcpy, into benches/RESULTS.md
	$(PY) benches/peers/run.py $(BENCH_ARGS)

bench-store: $(STAMPS)/extension benches/.venv-ray/.ready ## the store beside Plasma, shared_memory, iceoryx2 and memcpy, into benches/STORE.md
	$(PY) benches/peers/store_run.py $(BENCH_ARGS)

# Ray's files are not kept here: TESTS is `python/ray/tests` of a checkout. A run that finds failures is no failure of the command: results.py
# says which of them are not accounted for.
CONFORMANCE := benches/out/conformance
# Seconds for a case and for a file, on both: generous, for Ray takes minutes for some.
CONFORMANCE_LIMITS := --timeout 180 --limit 3600
conformance-ray: $(STAMPS)/extension benches/.venv-ray/.ready-for-tests ## Ray's own tests on real Ray and on park, into tests/conformance/ray/RESULTS.md (TESTS=python/ray/tests of a checkout of Ray)
	@[[ -n "$(TESTS)" ]] || { echo "conformance-ray: say TESTS=DIR, the folder python/ray/tests of a checkout of Ray" >&2; exit 2; }
	$(PY) tests/conformance/ray/run.py --tests "$(TESTS)" --module ray --again 2 --json $(CONFORMANCE)/on-ray.json $(CONFORMANCE_LIMITS) || [[ $$? == 1 ]]
	$(PY) tests/conformance/ray/run.py --tests "$(TESTS)" --against $(CONFORMANCE)/on-ray.json --json $(CONFORMANCE)/on-park.json $(CONFORMANCE_LIMITS) || [[ $$? == 1 ]]
	$(PY) tests/conformance/ray/results.py $(CONFORMANCE)/on-ray.json $(CONFORMANCE)/on-park.json

conformance-ray-others: $(STAMPS)/extension benches/.venv-ray/.ready-for-tests ## the same for other files of Ray's suite, into tests/conformance/ray/OTHERS.md
	@[[ -n "$(TESTS)" ]] || { echo "conformance-ray-others: say TESTS=DIR, the folder python/ray/tests of a checkout of Ray" >&2; exit 2; }
	$(PY) tests/conformance/ray/run.py --others --tests "$(TESTS)" --module ray --again 2 --json $(CONFORMANCE)/others-on-ray.json $(CONFORMANCE_LIMITS) || [[ $$? == 1 ]]
	$(PY) tests/conformance/ray/run.py --others --tests "$(TESTS)" --against $(CONFORMANCE)/others-on-ray.json --json $(CONFORMANCE)/others-on-park.json $(CONFORMANCE_LIMITS) || [[ $$? == 1 ]]
	$(PY) tests/conformance/ray/results.py --others $(CONFORMANCE)/others-on-ray.json $(CONFORMANCE)/others-on-park.json

bench-kv: $(STAMPS)/extension ## the KV cache beside vLLM's, SGLang's and kvbm-logical's (benches/peers/README.md says how they are found), into benches/KV.md
	VLLM_PYTHON="$(VLLM_PYTHON)" VLLM_TREE="$(VLLM_TREE)" SGLANG_PYTHON="$(SGLANG_PYTHON)" SGLANG_TREE="$(SGLANG_TREE)" \
	  $(PY) benches/peers/kv_run.py $(BENCH_ARGS)

conformance-verl: $(STAMPS)/extension benches/.venv-ray/.ready ## verl's own tests of worker groups on park and on real Ray, with both times
	$(PY) tests/conformance/verl/run.py --plain

VLLM := tests/conformance/vllm
VLLM_AT = --tree "$(TREE)" $(if $(VLLM_VENV),--venv "$(VLLM_VENV)")
conformance-vllm: $(STAMPS)/extension ## vLLM's own tests of its KV cache and its offloading on its classes and on park's, then random traces on both (TREE=DIR, its source package)
	@[[ -n "$(TREE)" ]] || { echo "conformance-vllm: TREE=DIR is missing: vLLM's source package, unpacked" >&2; exit 2; }
	$(PY) $(VLLM)/run.py $(VLLM_AT) --results $(VLLM)/RESULTS.md
	$(PY) $(VLLM)/differential.py $(VLLM_AT) --seed 1 --seeds 10
	$(PY) $(VLLM)/differential.py $(VLLM_AT) --seed 1 --seeds 10 --groups full,window:48 --hash-size 8
	$(PY) $(VLLM)/differential.py $(VLLM_AT) --side cache --seed 1 --seeds 20 --blocks 24
	$(PY) $(VLLM)/differential.py $(VLLM_AT) --side cache --seed 1 --seeds 20 --blocks 40 --groups full,window:48
	$(PY) $(VLLM)/differential.py $(VLLM_AT) --side cache --seed 1 --seeds 10 --blocks 24 --preempt 0.3 --mutations
	$(PY) $(VLLM)/run_offload.py $(VLLM_AT)

# Real Ray has an environment of its own: nothing of it can reach the project's requirements.
benches/.venv-ray/.ready: benches/peers/requirements-ray.txt
	@echo "benches: pip install into benches/.venv-ray: $$(grep -v '^#' $< | tr '\n' ' ')"
	@[[ -x benches/.venv-ray/bin/python ]] || "$(PYTHON)" -m venv benches/.venv-ray
	@benches/.venv-ray/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

benches/.venv-ray/.ready-for-tests: benches/peers/requirements-ray-tests.txt benches/.venv-ray/.ready
	@echo "conformance: pip install into benches/.venv-ray: $$(grep -v '^[#-]' $< | tr '\n' ' ')"
	@benches/.venv-ray/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

install: ## build libpark and install it for C and C++ under PREFIX (default /usr/local)
	park-c/install.sh "$(PREFIX)"

# --- generated files --------------------------------------------------------------------------------------------------------------

header: ## write include/park.h from park-c (cbindgen)
	PARK_HEADER=write cargo test --quiet -p park-tests --test header
	@git --no-pager diff --stat -- include/park.h || true

abi: ## write tests/c/abi.txt, the copy of the C ABI that is committed: additions only
	PARK_ABI=write cargo test --quiet -p park-tests --test arch abi::
	@git --no-pager diff --stat -- tests/c/abi.txt || true

stubs: $(STAMPS)/packages ## write the generated part of python/park/_park.pyi
	bash tests/tools/stubs.sh write $(BIN)

clean: ## remove what was built (the environments stay; remove .venv by hand)
	cargo clean
	rm -rf demo-out dist benches/out tests/c/build* tests/cpp/build* .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -f python/park/*.so $(STAMPS)/extension
	find python tests benches/peers -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
