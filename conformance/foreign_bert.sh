#!/usr/bin/env bash
# Converts a few of fixtures/bert-tiny with coremltools: packages of whole networks that corer did not write, in git.
# Their recorded outputs are the checkpoints' own expected.safetensors; index.json says which is whose.
#
#   conformance/foreign_bert.sh [DIR]     DIR defaults to conformance/foreign-bert
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${1:-$here/foreign-bert}
python=$("$here/../fixtures/python-env.sh" oracle)
rm -rf "$out"
mkdir -p "$out"
{
    sep='['
    while read -r model target precision; do
        name=$(basename "$model")-$target-$precision
        "$python" "$here/peer_package.py" "$here/../fixtures/bert-tiny/$model" -S 64 --target "$target" --precision "$precision" \
            -o "$out/$name.mlpackage" 2>"$out/log" >&2 || { cat "$out/log" >&2; exit 1; }
        printf '%s\n  {"package": "%s", "model": "bert-tiny/%s"}' "$sep" "$name" "$model"
        sep=','
    done <<EOF
feature-extraction ios17 fp16
sequence-classification ios16 fp16
sentence-mean ios18 fp16
formats/prefixed ios18 fp32
EOF
    printf '\n]\n'
} >"$out/index.json"
rm "$out/log"
