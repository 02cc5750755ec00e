#!/usr/bin/env bash
# Builds every fuzz target and runs each for a while on seeds made from the fixtures.
#
#   fuzz/run-brief.sh [SECONDS [TARGET...]]     20 seconds each, all targets
#
# Needs nothing but the pinned Rust and a C++ compiler (libFuzzer is compiled in): the coverage instrumentation is an
# LLVM pass stable Rust can run. What is found stays in .cache/fuzz: inputs that reached something new in
# corpus/TARGET, inputs that failed in failures/. Ends with 1 when any did; run one again with
#   .cache/fuzz/bin/TARGET .cache/fuzz/failures/FILE
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
    echo "usage: fuzz/run-brief.sh [SECONDS [TARGET...]]" >&2
    exit 2
}

seconds=${1:-20}
[[ $seconds =~ ^[1-9][0-9]*$ ]] || usage
shift || true
all=$(sed -n 's|^path = "targets/\(.*\)\.rs"$|\1|p' fuzz/Cargo.toml)
targets=${*:-$all}
for target in $targets; do
    grep -qxF "$target" <<<"$all" || { echo "run-brief.sh: no target $target; there are" $all >&2; exit 2; }
done

work=$PWD/.cache/fuzz
mkdir -p "$work/bin" "$work/failures"
# Inputs of an earlier run would be taken for this one's.
rm -f "$work"/failures/*

# The dependencies the product is built with; what only the targets need is added by cargo.
cp Cargo.lock fuzz/Cargo.lock

host=$(rustc -vV | sed -n 's/^host: //p')
flags=(
    -Cpasses=sancov-module
    -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares
)
# With --target, build scripts and macros are spared the instrumentation, which only links with libFuzzer.
names=()
for target in $targets; do names+=(--bin "$target"); done
RUSTFLAGS="${flags[*]}" cargo build --release --manifest-path fuzz/Cargo.toml --target "$host" \
    --target-dir "$work/target" "${names[@]}"

failed=()
for target in $targets; do
    cp "$work/target/$host/release/$target" "$work/bin/"
    rm -rf "$work/seeds/$target"
    mkdir -p "$work/corpus/$target" "$work/seeds/$target"
    CORER_FUZZ_WRITE_SEEDS=$work/seeds/$target "$work/bin/$target" -runs=0 2>/dev/null
    count=$(find "$work/seeds/$target" -type f | wc -l)
    [ "$count" -gt 0 ] || { echo "run-brief.sh: $target has no seeds" >&2; exit 1; }
    log=$work/$target.log
    set +e
    # Half the longest seed again leaves room to grow without drowning in length.
    longest=$(wc -c "$work/seeds/$target"/seed-* | sort -n | awk '$2 != "total" { size = $1 } END { print size }')
    "$work/bin/$target" "$work/corpus/$target" "$work/seeds/$target" -max_total_time="$seconds" -timeout=10 \
        -rss_limit_mb=1024 -max_len=$((${longest:-65536} * 3 / 2 + 64)) -print_final_stats=1 \
        -artifact_prefix="$work/failures/$target-" >"$log" 2>&1
    status=$?
    set -e
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    coverage=$(grep -o 'cov: [0-9]*' "$log" | tail -n 1 || true)
    if [ $status -eq 0 ] && [ "${runs:-0}" -gt 0 ]; then
        printf '%-12s %10s runs   %s   %s seeds\n' "$target" "$runs" "$coverage" "$count"
    else
        failed+=("$target")
        printf '%-12s FAILED (status %s), see %s\n' "$target" "$status" "$log"
        grep -m 5 -E 'panicked|assertion|ERROR|SUMMARY|left:|right:' "$log" || tail -n 5 "$log"
    fi
done
if [ ${#failed[@]} -gt 0 ]; then
    echo "failed: ${failed[*]}" >&2
    ls "$work/failures" >&2
    exit 1
fi
