#!/usr/bin/env bash
# corer's conversion against the least that must be done and against coremltools, from the same directories.
#
#   benches/convert.sh [--rounds N] [--no-peer] [--json FILE]
#
# For MiniLM (real weights) and a checkpoint of BERT-base's shape (random weights):
#   floor        reads the checkpoint, rounds to f16, hashes the source, writes, fsyncs; two threads (benches/floor)
#   corer        corer convert, default flags
#   coremltools  load with transformers, trace, convert to fp16 (conformance/peer_package.py)
# and corer's peak memory for a checkpoint four times as large. Once as they are, and once with fsync made free, because a
# disk's mood hides a program's speed. Files are in the page cache. CORER names another binary; otherwise it is built.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
rounds=7 peer=1 json=()
while [ $# -gt 0 ]; do
    case $1 in
        --rounds) rounds=$2; shift 2 ;;
        --no-peer) peer=; shift ;;
        --json) json=(--json "$2"); shift 2 ;;
        *) echo "usage: benches/convert.sh [--rounds N] [--no-peer] [--json FILE]" >&2; exit 2 ;;
    esac
done

target=${CARGO_TARGET_DIR:-$root/target}
cargo build --quiet --release --manifest-path benches/floor/Cargo.toml --target-dir "$target/floor"
floor=$target/floor/release/corer-floor
if [ -z "${CORER:-}" ]; then
    cargo build --quiet --release --bin corer
    CORER=$target/release/corer
fi

oracle=$(fixtures/python-env.sh oracle)
minilm=$(fixtures/fetch_minilm.sh)
base=$("$oracle" fixtures/make_bert_base.py)
large=$("$oracle" fixtures/make_bert_base.py --scale 4)

# Under .cache, so on the same disk as the repository, not in memory.
work=$(mktemp -d "$root/.cache/bench-convert.XXXXXX")
trap 'rm -rf "$work"' EXIT
nosync=
if cc -shared -fPIC -O2 -o "$work/nosync.so" benches/nosync.c 2>/dev/null; then nosync=$work/nosync.so; fi

# measure TITLE MODEL ENV PEER?
measure() {
    local title=$1 model=$2 env=$3 with_peer=$4
    cat "$model"/*.safetensors >/dev/null
    {
        printf '{"title": "%s", "base": "floor", "programs": [\n' "$title"
        printf '{"name": "floor", "command": ["%s", "%s", "%s"], "remove": ["%s"], "env": %s},\n' \
            "$floor" "$model" "$work/floor.bin" "$work/floor.bin" "$env"
        printf '{"name": "corer", "command": ["%s", "convert", "%s", "-o", "%s"], "remove": ["%s"], "env": %s}' \
            "$CORER" "$model" "$work/corer.mlpackage" "$work/corer.mlpackage" "$env"
        if [ -n "$with_peer" ]; then
            printf ',\n{"name": "coremltools", "command": ["%s", "conformance/peer_package.py", "%s", "-o", "%s"], "remove": ["%s"], "rounds": 3, "warm": false, "env": %s}' \
                "$oracle" "$model" "$work/peer.mlpackage" "$work/peer.mlpackage" "$env"
        fi
        printf '\n]}\n'
    } >"$work/spec.json"
    python3 benches/measure.py "$work/spec.json" --rounds "$rounds" "${json[@]}"
    rm -rf "$work/floor.bin" "$work/corer.mlpackage" "$work/peer.mlpackage"
}

for sync in fsync free; do
    env='{}' note='as it is'
    if [ $sync = free ]; then
        [ -n "$nosync" ] || { echo "no C compiler: fsync cannot be made free, left out" >&2; break; }
        env="{\"LD_PRELOAD\": \"$nosync\"}" note='fsync made free'
    fi
    # The peer's time does not depend on the disk: once is enough.
    with_peer=$([ $sync = fsync ] && echo "$peer" || true)
    measure "MiniLM, $note" "$minilm" "$env" "$with_peer"
    measure "BERT-base shape, $note" "$base" "$env" "$with_peer"
done
rounds=1
measure "Four times BERT-base, for memory, one run" "$large" '{}' ''
