#!/usr/bin/env bash
# Reports of every head and of compressed variants, read by others: JSON Schema and JUnit by Python's own readers, the
# page by Debian's chromium on a phone and on a desk, light and dark. Fetches what it needs by itself.
#
#   conformance/report.sh path/to/corer [SCREENSHOTS]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
[ $# -eq 1 ] || [ $# -eq 2 ] || { echo "usage: conformance/report.sh path/to/corer [SCREENSHOTS]" >&2; exit 2; }
corer=$(realpath "$1")
screenshots=${2:+$(realpath -m "$2")}
tools=$root/.cache/browser
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$root"
python=$(fixtures/python-env.sh report)

# The browser and what this machine lacks of what it needs, unpacked beside each other instead of installed.
if [ ! -e "$tools/done" ]; then
    apt-get update -qq >/dev/null
    mkdir -p "$tools/debs"
    packages=$(apt-get install -s --no-install-recommends chromium fonts-dejavu-core fonts-noto-core | awk '/^Inst/ {print $2}')
    (cd "$tools/debs" && apt-get download -qq $packages fonts-dejavu-core 2>/dev/null)
    for package in "$tools"/debs/*.deb; do dpkg -x "$package" "$tools"; done
    rm -r "$tools/debs"
    touch "$tools/done"
fi
cat >"$work/fonts.conf" <<XML
<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>$tools/usr/share/fonts</dir><dir>/usr/share/fonts</dir><cachedir>$tools/font-cache</cachedir></fontconfig>
XML

echo "-- reports of every head, of one that fails, and of a release with several variants"
heads=(feature-extraction sequence-classification token-classification question-answering fill-mask sentence-mean)
for head in "${heads[@]}"; do
    "$corer" --quiet convert "fixtures/bert-tiny/$head" -o "$work/$head.mlpackage" --sequence-length 32,64 --target ios18 >/dev/null
    "$corer" --quiet verify "$work/$head.mlpackage" --reference "fixtures/bert-tiny/$head" --numerics f32,ane,headroom \
        --report "$work/$head" >/dev/null
done
status=0
"$corer" --quiet verify "$work/sequence-classification.mlpackage" --reference fixtures/bert-tiny/sequence-classification \
    --max-abs 1e-6 --report "$work/failed" >/dev/null 2>"$work/stderr" || status=$?
[ "$status" = 4 ] && tail -n 1 "$work/stderr" | grep -q "largest error .* max-abs .* would pass"
cat >"$work/corer.toml" <<TOML
name = "BertTiny"
source = "$root/fixtures/bert-tiny/sequence-classification"
output = "out"
target = "ios18"
sequence-length = 64
variants = ["fp16", "int8", "lut4"]
[gate.lut4]
min-psnr = 60
[publish]
to = "oci-layout:registry:1.0"
failing = "leave-out"
TOML
"$corer" --quiet release "$work/corer.toml" --report "$work/release" >/dev/null

echo "-- JSON Schema, JUnit, Markdown"
"$python" conformance/report.py files docs/schema/verify-report.json "$work"

echo "-- the page in a browser"
HOME=$work FONTCONFIG_FILE=$work/fonts.conf \
    LD_LIBRARY_PATH=$tools/usr/lib/x86_64-linux-gnu:$tools/usr/lib/x86_64-linux-gnu/pulseaudio:$tools/lib/x86_64-linux-gnu \
    "$python" conformance/report.py browser "$tools/usr/lib/chromium/chromium" "$work" $screenshots
echo "report: ok"
