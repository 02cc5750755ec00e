#!/usr/bin/env bash
# What packages are held against, held against each other on real weights: candle and the source graph of MiniLM's
# checkpoint, the graphs of its trace and its export, and what PyTorch recorded, every two within 1e-5 on 200 sentences.
#
#   conformance/references.sh [--libtorch] [CHECKPOINT]     default: MiniLM, fetched if need be
#
# --libtorch runs the trace in libtorch too, which builds corer with that feature. CHECKPOINT is a sentence-transformers
# directory with mean pooling and Normalize. `cargo test -p corer-references agreement` does the same on a small model.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
libtorch=
if [ "${1:-}" = --libtorch ]; then libtorch=1; shift; fi
[ $# -le 1 ] || { echo "usage: conformance/references.sh [--libtorch] [CHECKPOINT]" >&2; exit 2; }
checkpoint=${1:+$(realpath "$1")}
cd "$root"
checkpoint=${checkpoint:-$(fixtures/fetch_minilm.sh)}
[ -f "$checkpoint/modules.json" ] || { echo "references.sh: no sentence-transformers model in $checkpoint" >&2; exit 2; }
python=$(fixtures/python-env.sh oracle)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
ln -s "$checkpoint" "$work/checkpoint"
"$python" fixtures/export_sentence_model.py "$checkpoint" -o "$work" >&2
"$python" fixtures/record_outputs.py "$checkpoint" fixtures/sentences.txt -S 128 -o "$work/recorded.safetensors" >&2
export CORER_AGREEMENT=$work
cargo test --workspace --test it --locked -- --ignored --nocapture agreement::
if [ -n "$libtorch" ]; then
    eval "$(conformance/libtorch.sh env)"
    cargo test -p corer-libtorch --features libtorch --locked -- --ignored --nocapture libtorch_on_a_real_model
fi
