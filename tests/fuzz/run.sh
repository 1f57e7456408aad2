#!/usr/bin/env bash
# Builds the fuzz targets for libFuzzer with AddressSanitizer, and runs each in turn. Inputs that reach new code are kept beside what was
# built, in CARGO_TARGET_DIR/fuzz/corpus/TARGET, and the next run goes on from there; tests/fuzz/corpus/TARGET, which is committed and
# replayed by an ordinary test, is a sample of them and everything that once found a defect. A crash is printed, leaves its input, and
# makes the exit status 1: give the input a name and put it there.
#   run.sh MINUTES [TARGET]...      MINUTES may be a fraction
# The stable toolchain has all that is needed and wants to be told that its flags are unstable; no cargo-fuzz, no nightly.
set -uo pipefail
minutes=${1:?usage: run.sh MINUTES [TARGET]...}
shift
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}/fuzz
triple=$(rustc -vV | sed -n 's/^host: //p')
seconds=$(awk -v m="$minutes" 'BEGIN { printf "%d", m * 60 }')
work=$(mktemp -d)
targets=("$@")
((${#targets[@]})) || mapfile -t targets < <(sed -n 's/^    ("\([a-z_]*\)", .*/\1/p' "$here/targets/mod.rs")

coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
RUSTC_BOOTSTRAP=1 RUSTFLAGS="--cfg fuzzing $coverage -Zsanitizer=address -Cdebuginfo=1" CARGO_TARGET_DIR="$target" \
    cargo build --release --manifest-path "$here/Cargo.toml" --target "$triple" || exit 2
program=$target/$triple/release/park-fuzz

failed=0
printf '%-10s %12s %9s %9s %s\n' target executions coverage corpus result
for name in "${targets[@]}"; do
    kept=$target/corpus/$name
    mkdir -p "$kept"
    # New inputs go to the first folder; the committed ones are read only.
    ASAN_OPTIONS=detect_leaks=0 PARK_FUZZ_TARGET=$name "$program" "$kept" "$here/corpus/$name" \
        -max_total_time="$seconds" -timeout=30 -rss_limit_mb=4096 -max_len=4096 -print_final_stats=1 \
        -artifact_prefix="$work/$name-" >"$work/$name.log" 2>&1
    status=$?
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/$name.log")
    covered=$(grep -oE 'cov: [0-9]+' "$work/$name.log" | tail -n 1 | cut -d' ' -f2)
    result=ok
    if ((status != 0)); then
        failed=1
        result="FAILED: $(ls "$work/$name"-* 2>/dev/null | tr '\n' ' ')"
        grep -E 'panicked at|ERROR: |SUMMARY: ' -A 3 "$work/$name.log" | head -n 20
    fi
    printf '%-10s %12s %9s %9s %s\n' "$name" "${executions:-?}" "${covered:-?}" "$(find "$kept" "$here/corpus/$name" -type f | wc -l)" "$result"
done
((failed)) && echo "inputs and logs: $work" || rm -rf "$work"
exit "$failed"
