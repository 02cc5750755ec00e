#!/usr/bin/env bash
# Apple's own tools as judges, in one command: their reader over every kind of package corer writes, corer's reader over
# packages theirs wrote, and the recorded facts against the tools they were read from.
#
#   conformance/run.sh path/to/corer
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
[ $# -eq 1 ] || { echo "usage: conformance/run.sh path/to/corer" >&2; exit 2; }
corer=$(realpath "$1")
cd "$root"
python=$(fixtures/python-env.sh reader)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
status=0

# What coremltools says on import about a missing Mac is not news.
quiet() { "$@" 2> >(grep -v -e 'Failed to load _ML' >&2); }

echo "-- the reader refuses what is wrong"
quiet "$python" conformance/apple_reader_test.py >"$work/log" 2>&1 || { cat "$work/log"; status=1; }

echo "-- op_signatures.json is what coremltools registers"
quiet "$python" conformance/op_signatures.py >"$work/op_signatures.json"
cmp "$work/op_signatures.json" conformance/op_signatures.json || status=1

echo "-- Apple's reader over the packages in git"
# A package without large constants has an empty weights folder, which git does not keep and Apple's reader asks for.
mkdir -p $(printf '%s/Data/com.apple.CoreML/weights ' conformance/foreign/*.mlpackage)
quiet "$python" conformance/apple_reader.py conformance/foreign/*.mlpackage conformance/foreign-bert/*.mlpackage >"$work/log" || {
    grep -F '"ok": false' "$work/log"
    status=1
}

echo "-- corer over the packages in git"
for package in conformance/foreign/*.mlpackage conformance/foreign-bert/*.mlpackage; do
    "$corer" inspect --check "$package" >"$work/log" 2>&1 || {
        echo "$package"
        cat "$work/log"
        status=1
    }
done

echo "-- Apple's reader over every package corer writes"
quiet "$python" conformance/every_package.py "$corer" || status=1

echo "-- every compressed variant, decompressed by coremltools and by corer"
quiet "$(fixtures/python-env.sh compress)" conformance/compressed.py "$corer" 2>"$work/log" || { tail -n 3 "$work/log"; status=1; }

echo "-- what packages compute, by numpy over Apple's reader, is what PyTorch computed"
# 125 dB is six digits: what two orders of summing in fp32 leave alike.
length_of() {
    python3 -c 'import json, struct, sys
data = open(sys.argv[1], "rb").read()
print(json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])["input.input_ids"]["shape"][1])' "$1"
}
for expected in fixtures/bert-tiny/*/expected.safetensors fixtures/families/*/*/expected.safetensors; do
    model=$(dirname "$expected")
    length=$(length_of "$expected")
    forms=("--attention packed" "--attention split" "--layout standard" "--layout standard --target ios18")
    # Heads are the same few in every family.
    case $model in
        fixtures/bert-tiny/* | */feature-extraction) ;;
        *) forms=("--layout ane") ;;
    esac
    for flags in "${forms[@]}"; do
        # shellcheck disable=SC2086 # flags are words
        "$corer" --quiet convert "$model" -o "$work/m.mlpackage" --force --precision fp32 --sequence-length "$length" $flags >/dev/null &&
            quiet "$python" conformance/execute.py "$work/m.mlpackage" --expected "$expected" --min-psnr 125 >"$work/log" || {
            echo "$model $flags"
            cat "$work/log"
            status=1
        }
    done
done
for program in fixtures/families/*/*/torch2.15-*; do
    "$corer" --quiet convert "$program" -o "$work/m.mlpackage" --force --precision fp32 --sequence-length 32 >/dev/null &&
        quiet "$python" conformance/execute.py "$work/m.mlpackage" --expected "${program%/*}/expected.safetensors" --min-psnr 125 >"$work/log" || {
        echo "$program"
        cat "$work/log"
        status=1
    }
done

if [ -d .cache/models/all-MiniLM-L6-v2 ]; then
    echo "-- MiniLM as checkpoint, trace and export is one package"
    conformance/one_model.sh || status=1
    echo "-- candle, graphs and PyTorch's recording of MiniLM are one model"
    conformance/references.sh || status=1
fi
exit $status
