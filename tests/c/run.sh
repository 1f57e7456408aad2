#!/usr/bin/env bash
# Builds and runs the C and C++ tests, as a user would have them: against an installed prefix, found by CMake and by pkg-config. Then
# all of them again under AddressSanitizer and UndefinedBehaviorSanitizer, with libpark instrumented as well.
#   PYTHON=...      an interpreter in which `import park` works: then the Python example runs too; without one that is said
#   PARK_ASAN=0     leaves the sanitized leg out, and says so
# The last line is "N passed, N failed"; the exit status is 0 if none failed.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
jobs=$(nproc)
passed=0 failed=0

note() { # STATUS NAME
    if (($1 == 0)); then
        passed=$((passed + 1))
        echo "ok      $2"
    else
        failed=$((failed + 1))
        echo "FAILED  $2"
    fi
}
step() { # NAME COMMAND...: counts as one test; its output is shown if it fails
    local name=$1
    shift
    "$@" >"$work/log" 2>&1
    local status=$?
    ((status == 0)) || tail -n 60 "$work/log"
    note "$status" "$name"
    return "$status"
}
finish() {
    echo "$passed passed, $failed failed"
    exit $((failed > 0))
}
# Runs a configured build's tests, each counted.
run_ctest() { # LABEL FOLDER
    (cd "$2" && ctest --output-on-failure -j "$jobs") >"$work/ctest" 2>&1
    local line name before=$((passed + failed))
    while read -r line; do
        name=$(sed -E 's/^[0-9]+\/[0-9]+ Test +#[0-9]+: ([a-z_+]+) .*/\1/' <<<"$line")
        [[ $line == *" Passed "* ]]
        note $? "$1: $name"
    done < <(grep -E '^ *[0-9]+/[0-9]+ Test' "$work/ctest" | sed 's/^ *//')
    grep -qE '(Failed|Timeout|Not Run|Exception)' "$work/ctest" && cat "$work/ctest"
    ((passed + failed > before)) || note 1 "$1: ctest ran no test"
}
every_function_is_tested_with_null() {
    local name missing=0
    for name in $(grep -oE '\bpark_[a-z_]+\(' "$root/include/park.h" | sort -u); do
        grep -qF "$name" "$here/hostile.c" || { echo "hostile.c does not call $name"; missing=1; }
    done
    return "$missing"
}
only_park_is_exported() {
    # Beside the C functions the library exports what the two halves of the cxx bridge call in each other.
    ! nm -D --defined-only "$1" | awk '{print $3}' | grep -vE '^park_|cxxbridge'
}
prints() { # EXPECTED COMMAND...
    local expected=$1 got
    shift
    got=$("$@") && [[ $got == "$expected" ]] || { echo "got: $got"; return 1; }
}

cd "$root" || exit 2
step "cargo build" cargo build -p park-c && step "cargo build --example" cargo build -p park-core --example shared_tensor || finish
prefix=$work/prefix
step "install" park-c/install.sh "$prefix" "$target/debug" || finish
step "hostile.c calls every function" every_function_is_tested_with_null
step "exported symbols" only_park_is_exported "$prefix/lib/libpark.so"

python=()
if [[ -n ${PYTHON:-} ]] && "$PYTHON" -c 'import park, torch; park.attach' 2>/dev/null; then
    python=(-DPARK_PYTHON="$PYTHON")
else
    echo "note: PYTHON names no interpreter with park and torch: a C++ program plays the session of the examples"
fi
# The examples of the README must compile as they stand there.
mkdir "$work/readme"
for language in c cpp; do
    sed -n "/^\`\`\`$language\$/,/^\`\`\`\$/{/^\`\`\`/d;p}" "$root/README.md" >"$work/readme/readme.$language"
done
sed -n '/^```cpp$/,/^```$/{/^```/d;p}' "$root/docs/KV.md" >"$work/readme/kv.cpp"
configure=(-DCMAKE_PREFIX_PATH="$prefix" -DPARK_RUST_EXAMPLE="$target/debug/examples/shared_tensor" -DPARK_README="$work/readme")
step "cmake" cmake -S "$here" -B "$work/build" "${configure[@]}" "${python[@]}" &&
    step "build" cmake --build "$work/build" -j "$jobs" && run_ctest "plain" "$work/build"

# A consumer, and the other way to find the library. A moved prefix must work: nothing in it may name its first place.
mv "$prefix" "$work/moved" && prefix=$work/moved
step "consumer: cmake" cmake -S "$root/tests/cpp/consumer" -B "$work/consumer" -DCMAKE_PREFIX_PATH="$prefix" &&
    step "consumer: build" cmake --build "$work/consumer" && step "consumer: run" prints "hello!" "$work/consumer/consumer"
export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
flags=$(pkg-config --cflags --libs park) static=$(pkg-config --static --cflags --libs park)
# shellcheck disable=SC2086 # the flags are several words
{
    step "pkg-config: build" c++ -std=c++17 tests/cpp/consumer/main.cpp -o "$work/shared" $flags -pthread &&
        step "pkg-config: run" prints "hello!" env LD_LIBRARY_PATH="$prefix/lib" "$work/shared"
    step "pkg-config --static: build" c++ -std=c++17 tests/cpp/consumer/main.cpp -o "$work/static" \
        ${static/-lpark/-l:libpark.a} -pthread && step "pkg-config --static: run" prints "hello!" "$work/static"
}

# --- the same once more, under the sanitizers -------------------------------------------------------------------------------------
if [[ ${PARK_ASAN:-1} == 0 ]]; then
    echo "note: PARK_ASAN=0, so nothing ran under the sanitizers"
    finish
fi
# The stable toolchain ships the sanitizer but wants to be told that its flag is unstable. Only the static library: its runtime
# is then that of the C or C++ program, one for both sides.
triple=$(rustc -vV | sed -n 's/^host: //p')
sanitized() {
    RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address CARGO_TARGET_DIR="$target/asan" \
        cargo rustc -p park-c --lib --crate-type staticlib --target "$triple"
}
step "sanitized: cargo build" sanitized || finish
mkdir "$work/sanitized"
cp "$target/asan/$triple/debug/libpark_c.a" "$work/sanitized/"
cp "$target/debug/libpark_c.so" "$work/sanitized/" # a prefix has both; nothing links this one
step "sanitized: install" park-c/install.sh "$work/prefix-asan" "$work/sanitized"
export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0 UBSAN_OPTIONS=print_stacktrace=1
step "sanitized: cmake" cmake -S "$here" -B "$work/build-asan" -DPARK_SANITIZE=ON -DCMAKE_PREFIX_PATH="$work/prefix-asan" &&
    step "sanitized: build" cmake --build "$work/build-asan" -j "$jobs" && run_ctest "sanitized" "$work/build-asan"
finish
