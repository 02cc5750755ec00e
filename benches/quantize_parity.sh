#!/usr/bin/env bash
# What compression costs end to end: MiniLM on 200 real sentences, S = 128, every scheme by corer and by coremltools, all
# executed as written by corer's runtime against PyTorch's recorded f32 outputs.
#
#   benches/quantize_parity.sh [--calibrate TEXTS] [--only ours|calibrated|theirs|own] [--json FILE] [SCHEME…]
#
# SCHEME: int8 int4-block32 lut4 lut6 lut4-g16 lut6-g16 sparse50; all when none is named. `theirs` is made from the FP16 package
# that `ours` is made from, `own` from the one coremltools converts, as its users have it (conformance/peer_package.py: position
# and token-type tables are folded into one constant there). All three see the weights alone; with --calibrate corer also
# compresses for TEXTS, which must not be the sentences compared on. Loss is 1 − the mean cosine of the sentence embeddings.
# With --json results are appended to FILE and the table is made of everything FILE has.
# CORER names another binary; otherwise it is built.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
calibrate= makers= json= schemes=()
while [ $# -gt 0 ]; do
    case $1 in
        --calibrate) calibrate=$(realpath "$2"); shift 2 ;;
        --only) makers=$2; shift 2 ;;
        --json) json=$(realpath -m "$2"); shift 2 ;;
        int8 | int4-block32 | lut4 | lut6 | lut4-g16 | lut6-g16 | sparse50) schemes+=("$1"); shift ;;
        *) echo "usage: benches/quantize_parity.sh [--calibrate TEXTS] [--only ours|calibrated|theirs|own] [--json FILE] [SCHEME…]" >&2; exit 2 ;;
    esac
done
[ ${#schemes[@]} -gt 0 ] || schemes=(int8 int4-block32 lut4 lut6 lut4-g16 lut6-g16 sparse50)
makers=${makers:-ours ${calibrate:+calibrated} theirs own}

if [ -z "${CORER:-}" ]; then
    cargo build --quiet --release --locked --bin corer
    CORER=${CARGO_TARGET_DIR:-$root/target}/release/corer
fi
oracle=$(fixtures/python-env.sh oracle)
compress=$(fixtures/python-env.sh compress)
minilm=$(fixtures/fetch_minilm.sh)
golden=$root/.cache/minilm-sentences.safetensors
[ -f "$golden" ] || {
    "$oracle" fixtures/record_outputs.py "$minilm" fixtures/sentences.txt -S 128 -o "$golden.new" >&2
    mv "$golden.new" "$golden"
}

work=$(mktemp -d "$root/.cache/bench-parity.XXXXXX")
trap 'rm -rf "$work"' EXIT
json=${json:-$work/results.json}
"$CORER" convert "$minilm" -o "$work/ios16.mlpackage" --quiet >/dev/null
"$CORER" quantize "$work/ios16.mlpackage" -o "$work/ios18.mlpackage" --weights fp16 --target ios18 --quiet >/dev/null

for scheme in "${schemes[@]}"; do
    case $scheme in
        *-g16 | int4*) target=ios18 ;;
        *) target=ios16 ;;
    esac
    package=$work/$target.mlpackage own=$work/own-$target.mlpackage
    for maker in $makers; do
        out=$work/out.mlpackage
        case $maker in
            ours) "$CORER" quantize "$package" -o "$out" --weights "$scheme" --quiet >/dev/null ;;
            calibrated) "$CORER" quantize "$package" -o "$out" --weights "$scheme" --calibrate "$calibrate" --tokenizer "$minilm" --quiet >/dev/null ;;
            own)
                [ -d "$own" ] || "$oracle" conformance/peer_package.py "$minilm" -o "$own" --target $target >/dev/null 2>"$work/log" || { cat "$work/log" >&2; exit 1; }
                "$compress" benches/peer_quantize.py "$own" "$scheme" -o "$out" >/dev/null 2>"$work/log" || { cat "$work/log" >&2; exit 1; } ;;
            theirs) "$compress" benches/peer_quantize.py "$package" "$scheme" -o "$out" >/dev/null 2>"$work/log" || { cat "$work/log" >&2; exit 1; } ;;
        esac
        # 4 says that a threshold is missed, which here is a figure like any other.
        "$CORER" verify "$out" --golden "$golden" --json --quiet >"$work/verdict.json" || [ $? -eq 4 ]
        python3 - "$scheme" "$maker" "$work/verdict.json" "$json" <<'EOF'
import json, sys
scheme, maker, verdict, results = sys.argv[1:]
[bucket] = json.load(open(verdict))["buckets"]
[output] = [output for output in bucket["outputs"] if output["package"] == "sentence_embedding"]
row = {"scheme": scheme, "maker": maker, "rows": output["rows"], "psnr": output["psnr"],
       "min": output["sentence"]["cosine"]["min"], "mean": output["sentence"]["cosine"]["mean"],
       "overlap": output["sentence"]["neighbour_overlap"]}
print(row, file=sys.stderr)
with open(results, "a") as file:
    file.write(json.dumps(row) + "\n")
EOF
        rm -rf "$out"
    done
done

python3 - "$json" <<'EOF'
import json, sys
latest = {}
for line in open(sys.argv[1]):
    row = json.loads(line)
    latest[row["scheme"], row["maker"]] = row
names = {"ours": "ours", "calibrated": "ours, calibrated", "theirs": "theirs", "own": "theirs, own conversion"}
print("\n| scheme | | loss | share of theirs | of theirs, own conversion | min cosine | mean cosine | PSNR | top-10 neighbours |")
print("|---|---|---|---|---|---|---|---|---|")
for scheme in dict.fromkeys(scheme for scheme, _ in latest):
    for maker, name in names.items():
        row = latest.get((scheme, maker))
        if row is None:
            continue
        share = lambda other: f"{(1 - row['mean']) / (1 - latest[scheme, other]['mean']):.3f}" if (scheme, other) in latest else "-"
        print(f"| {scheme} | {name} | {1 - row['mean']:.2e} | {share('theirs')} | {share('own')} | {row['min']:.5f} | {row['mean']:.5f} "
              f"| {row['psnr']:.1f} dB | {row['overlap']:.1%} |")
EOF
