#!/usr/bin/env bash
# corer's compression against coremltools', from the same FP16 package of BERT-base's shape (random weights).
#
#   benches/quantize.sh [--rounds N] [--only corer|coremltools] [--json FILE] [SCHEME…]
#
# SCHEME: int8 int4-block32 lut4 lut6 lut4-g16 lut6-g16 sparse50; all when none is named. corer's time is the median of N
# runs (5); coremltools runs once, for some schemes take it minutes. With --json results are appended to FILE, and the table is
# made of everything FILE has, so that the two can be measured apart. Files are in the page cache. CORER names another binary;
# otherwise it is built.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
rounds=5 programs="corer coremltools" json= schemes=()
while [ $# -gt 0 ]; do
    case $1 in
        --rounds) rounds=$2; shift 2 ;;
        --only) programs=$2; shift 2 ;;
        --json) json=$(realpath -m "$2"); shift 2 ;;
        int8 | int4-block32 | lut4 | lut6 | lut4-g16 | lut6-g16 | sparse50) schemes+=("$1"); shift ;;
        *) echo "usage: benches/quantize.sh [--rounds N] [--only corer|coremltools] [--json FILE] [SCHEME…]" >&2; exit 2 ;;
    esac
done
[ ${#schemes[@]} -gt 0 ] || schemes=(int8 int4-block32 lut4 lut6 lut4-g16 lut6-g16 sparse50)

if [ -z "${CORER:-}" ]; then
    cargo build --quiet --release --locked --bin corer
    CORER=${CARGO_TARGET_DIR:-$root/target}/release/corer
fi
base=$("$(fixtures/python-env.sh oracle)" fixtures/make_bert_base.py)
compress=$(fixtures/python-env.sh compress)

# Under .cache, so on the same disk as the repository, not in memory.
work=$(mktemp -d "$root/.cache/bench-quantize.XXXXXX")
trap 'rm -rf "$work"' EXIT
json=${json:-$work/results.json}
"$CORER" convert "$base" -o "$work/ios16.mlpackage" --quiet >/dev/null
# The same weights for the system that has groups, blocks and four bits.
"$CORER" quantize "$work/ios16.mlpackage" -o "$work/ios18.mlpackage" --weights fp16 --target ios18 --quiet >/dev/null

for scheme in "${schemes[@]}"; do
    case $scheme in
        *-g16 | int4*) package=$work/ios18.mlpackage ;;
        *) package=$work/ios16.mlpackage ;;
    esac
    for program in $programs; do
        out=$work/$program.mlpackage
        case $program in
            corer) command="\"$CORER\", \"quantize\", \"$package\", \"-o\", \"$out\", \"--weights\", \"$scheme\", \"--quiet\"" more= ;;
            *) command="\"$compress\", \"benches/peer_quantize.py\", \"$package\", \"$scheme\", \"-o\", \"$out\"" more='"rounds": 1, "warm": false,' ;;
        esac
        cat "$package"/Data/com.apple.CoreML/weights/weight.bin >/dev/null
        printf '{"title": "%s", "programs": [{"name": "%s", %s "command": [%s], "remove": ["%s"]}]}' \
            "$scheme" "$program" "$more" "$command" "$out" >"$work/spec.json"
        python3 benches/measure.py "$work/spec.json" --rounds "$rounds" --json "$work/one.json" >&2
        python3 - "$work/one.json" "$out" "$json" <<'EOF'
import json, sys
from pathlib import Path
one, out, results = sys.argv[1:]
result = json.loads(Path(one).read_text())
result["bytes"] = sum(file.stat().st_size for file in Path(out).rglob("*") if file.is_file())
with open(results, "a") as file:
    file.write(json.dumps(result) + "\n")
EOF
        rm -rf "$work/one.json" "$out"
    done
done

python3 - "$json" <<'EOF'
import json, sys
latest = {}
for line in open(sys.argv[1]):
    result = json.loads(line)
    latest[result["title"], result["rows"][0]["name"]] = result
machine = result["machine"]
print(f"\n{machine['cores']} cores, {machine['cpu']}\n")
print("| scheme | corer | coremltools | times faster | peak RSS, corer | coremltools | bytes, corer | coremltools |")
print("|---|---|---|---|---|---|---|---|")
for scheme in dict.fromkeys(title for title, _ in latest):
    ours, theirs = latest.get((scheme, "corer")), latest.get((scheme, "coremltools"))
    cell = lambda result, key, form: form.format(result["rows"][0][key]) if result else "-"
    size = lambda result: f"{result['bytes']:,}" if result else "-"
    times = f"{theirs['rows'][0]['median_s'] / ours['rows'][0]['median_s']:.0f}" if ours and theirs else "-"
    print(f"| {scheme} | {cell(ours, 'median_s', '{:.2f} s')} | {cell(theirs, 'median_s', '{:.1f} s')} | {times} "
          f"| {cell(ours, 'peak_rss_mib', '{:.0f} MiB')} | {cell(theirs, 'peak_rss_mib', '{:.0f} MiB')} | {size(ours)} | {size(theirs)} |")
EOF
