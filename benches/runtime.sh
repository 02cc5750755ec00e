#!/usr/bin/env bash
# corer's runtime against PyTorch eager: BERT-base's shape (random weights), S = 128, B = 1, the same cores, taking turns.
#
#   benches/runtime.sh [--rounds N] [--json FILE]
#
# Packages are made by `corer convert`, both layouts in fp32 and fp16. The fp32 ones run in f32, the fp16 ones with every value
# rounded as written. CORER and RUNTIME_BENCH name other binaries; otherwise they are built.
#
# RUNTIME_BENCH PACKAGE --arithmetic f32|as-written: prints `ready …`, then for every line on stdin runs once and prints the
# seconds (benches/take_turns.py).
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
rounds=30 json=()
while [ $# -gt 0 ]; do
    case $1 in
        --rounds) rounds=$2; shift 2 ;;
        --json) json=(--json "$2"); shift 2 ;;
        *) echo "usage: benches/runtime.sh [--rounds N] [--json FILE]" >&2; exit 2 ;;
    esac
done

target=${CARGO_TARGET_DIR:-$root/target}
if [ -z "${CORER:-}" ]; then
    cargo build --quiet --release --bin corer
    CORER=$target/release/corer
fi
if [ -z "${RUNTIME_BENCH:-}" ]; then
    cargo build --quiet --release -p corer-runtime --example runtime_bench
    RUNTIME_BENCH=$target/release/examples/runtime_bench
fi
oracle=$(fixtures/python-env.sh oracle)
model=$("$oracle" fixtures/make_bert_base.py)

work=$(mktemp -d "$root/.cache/bench-runtime.XXXXXX")
trap 'rm -rf "$work"' EXIT
package() { "$CORER" --quiet convert "$model" -o "$work/$1.mlpackage" --layout "$2" --precision "$3" >/dev/null; }
package standard-fp32 standard fp32
package standard-fp16 standard fp16
package ane-fp32 ane fp32
package ane-fp16 ane fp16

python3 benches/take_turns.py --rounds "$rounds" "${json[@]}" \
    torch "$oracle" benches/torch_bert.py "$model" -- \
    'corer standard fp32' "$RUNTIME_BENCH" "$work/standard-fp32.mlpackage" --arithmetic f32 -- \
    'corer standard fp16 as written' "$RUNTIME_BENCH" "$work/standard-fp16.mlpackage" --arithmetic as-written -- \
    'corer ane fp32' "$RUNTIME_BENCH" "$work/ane-fp32.mlpackage" --arithmetic f32 -- \
    'corer ane fp16 as written' "$RUNTIME_BENCH" "$work/ane-fp16.mlpackage" --arithmetic as-written
