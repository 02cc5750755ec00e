#!/usr/bin/env bash
# Verifying MiniLM in fp16 on 1,000 texts, against the time PyTorch needs just to run them: the same texts at S = 128 and the same
# batch, the same cores, taking turns.
#
#   benches/verify.sh [--rounds N] [--texts N] [--batch N] [--json FILE]
#   benches/verify.sh --memory      corer alone: peak memory on 1,000 texts and on 10,000
#
# corer's time is the whole command, from reading package and checkpoint to the written report, once with --fast (the verdict) and
# once with default flags (numerics and headroom beside it); PyTorch's is the forward passes alone. CORER names another binary;
# otherwise it is built.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
rounds=3 texts=1000 batch=1 json=() memory=
while [ $# -gt 0 ]; do
    case $1 in
        --rounds) rounds=$2; shift 2 ;;
        --texts) texts=$2; shift 2 ;;
        --batch) batch=$2; shift 2 ;;
        --json) json=(--json "$2"); shift 2 ;;
        --memory) memory=1; shift ;;
        *) echo "usage: benches/verify.sh [--rounds N] [--texts N] [--batch N] [--json FILE] | --memory" >&2; exit 2 ;;
    esac
done

target=${CARGO_TARGET_DIR:-$root/target}
if [ -z "${CORER:-}" ]; then
    cargo build --quiet --release --bin corer
    CORER=$target/release/corer
fi
model=${MODEL:-$(fixtures/fetch_minilm.sh)}
mkdir -p .cache
work=$(mktemp -d "$root/.cache/bench-verify.XXXXXX")
trap 'rm -rf "$work"' EXIT
"$CORER" --quiet convert "$model" -o "$work/MiniLM.mlpackage" --batch-size "$batch" >/dev/null
python3 benches/texts.py "$texts" >"$work/texts.txt"
verify() { printf '"%s", "--quiet", "verify", "%s", "--reference", "%s", "--fast", "--texts", "%s"' "$CORER" "$work/MiniLM.mlpackage" "$model" "$1"; }

if [ -n "$memory" ]; then
    python3 benches/texts.py 10000 >"$work/many.txt"
    printf '{"title": "corer verify, peak memory by texts", "base": "1,000 texts", "programs": [
        {"name": "1,000 texts", "command": [%s], "warm": false}, {"name": "10,000 texts", "command": [%s], "warm": false}]}' \
        "$(verify "$work/texts.txt")" "$(verify "$work/many.txt")" >"$work/spec.json"
    exec python3 benches/measure.py "$work/spec.json" --rounds 1 "${json[@]}"
fi

oracle=$(fixtures/python-env.sh oracle)
corer=("$CORER" --quiet verify "$work/MiniLM.mlpackage" --reference "$model" --texts "$work/texts.txt" --report "$work/report")
python3 benches/take_turns.py --warm 0 --rounds "$rounds" "${json[@]}" \
    torch "$oracle" benches/torch_texts.py "$model" "$work/texts.txt" -B "$batch" -- \
    'corer verify --fast' python3 benches/each_line.py "${corer[@]}" --fast -- \
    'corer verify' python3 benches/each_line.py "${corer[@]}"
