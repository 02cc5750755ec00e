#!/usr/bin/env bash
# A real model saved in every form, by PyTorch as its users do, is one package to corer: checkpoint, .pt and .pt2 give the
# same operations in the ane layout, and outputs that agree to 1e-6 in f32.
#
#   conformance/one_model.sh [CHECKPOINT]     default: .cache/models/all-MiniLM-L6-v2, as fixtures/fetch_minilm.sh leaves it
#
# CHECKPOINT is a sentence-transformers directory with mean pooling and Normalize.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
checkpoint=$(realpath "${1:-$root/.cache/models/all-MiniLM-L6-v2}")
[ -f "$checkpoint/modules.json" ] || { echo "one_model.sh: no sentence-transformers model in $checkpoint" >&2; exit 2; }
cd "$root"
python=$(fixtures/python-env.sh oracle)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
ln -s "$checkpoint" "$work/checkpoint"
"$python" fixtures/export_sentence_model.py "$checkpoint" -o "$work" >&2
CORER_ONE_MODEL=$work cargo test --package corer --test it --locked -- --ignored --nocapture one_model::
