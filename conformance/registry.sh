#!/usr/bin/env bash
# Publishes to a real registry (Debian's docker-registry) and has strangers read it back: skopeo (equal digests), oras and
# modelpack (equal trees), OpenSSF Model Signing (accepts what was signed, refuses anything else), CycloneDX's strict
# validator. Fetches all of them by itself; the registry listens on this machine only and is stopped by its own process id.
#
#   conformance/registry.sh path/to/corer
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
[ $# -eq 1 ] || { echo "usage: conformance/registry.sh path/to/corer" >&2; exit 2; }
corer=$(realpath "$1")
tools=$root/.cache/registry-tools
work=$(mktemp -d)
pid=
stop() {
    [ -z "$pid" ] || { kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null || true; }
    rm -rf "$work"
}
trap stop EXIT

# Apt's lists are missing on a new machine and may be old on any.
python=$("$root/fixtures/python-env.sh" trust)

download() { apt-get download -qq "$1" >/dev/null 2>&1 || { apt-get update -qq >/dev/null && apt-get download -qq "$1" >/dev/null; }; }

mkdir -p "$tools"
for package in docker-registry skopeo libgpgme11 libassuan0 libdevmapper1.02.1; do
    [ -e "$tools/$package.done" ] && continue
    (cd "$work" && download "$package" && dpkg -x "$package"_*.deb "$tools")
    touch "$tools/$package.done"
done
export LD_LIBRARY_PATH=$tools/usr/lib/x86_64-linux-gnu:$tools/lib/x86_64-linux-gnu:${LD_LIBRARY_PATH:-}
skopeo() { "$tools/usr/bin/skopeo" --insecure-policy "$@"; }

port=$(python3 -c 'import socket
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    print(free.getsockname()[1])')
serve() {
    cat >"$work/config.yml" <<YAML
version: 0.1
log: { level: warn, accesslog: { disabled: true } }
storage: { filesystem: { rootdirectory: $work/storage } }
http: { addr: 127.0.0.1:$port }
YAML
    "$tools/usr/bin/docker-registry" serve "$work/config.yml" >"$work/registry.log" 2>&1 &
    pid=$!
    for _ in $(seq 100); do
        python3 -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=1)' "http://127.0.0.1:$port/v2/" 2>/dev/null && return
        kill -0 "$pid" || { cat "$work/registry.log"; exit 1; }
        sleep 0.1
    done
    cat "$work/registry.log"
    exit 1
}
halt() { kill "$pid" && wait "$pid" || true; pid=; }
field() { python3 -c 'import json, sys; print(eval("document" + sys.argv[1], {"document": json.load(sys.stdin)}))' "$1"; }

serve
to=oci://127.0.0.1:$port/team/bert-tiny
manifest=$work/release.toml
sed -e "s|^source = .*|source = \"$root/fixtures/bert-tiny/feature-extraction\"|" -e "s|^output = .*|output = \"out\"|" \
    "$root/fixtures/bert-tiny/release.toml" >"$manifest"

echo "-- a release goes into the registry, and again without a byte"
"$corer" --quiet release "$manifest" --to "$to:1.0" --json >"$work/first.json"
"$corer" --quiet release "$manifest" --to "$to:1.0" --json >"$work/second.json"
digest=$(field '["variants"][0]["published"]["digest"]' <"$work/first.json")
[ "$(field '["variants"][0]["published"]["digest"]' <"$work/second.json")" = "$digest" ]
[ "$(field '["variants"][0]["published"]["bytes_sent"]' <"$work/second.json")" = 0 ]
[ "$(field '["variants"][0]["published"]["tags_moved"]' <"$work/second.json")" = 0 ]

echo "-- skopeo reads the same manifest, and copies it with the same digest"
for tag in 1.0 1.0-fp16; do
    skopeo inspect --raw --tls-verify=false "docker://127.0.0.1:$port/team/bert-tiny:$tag" >"$work/raw.json"
    [ "sha256:$(sha256sum <"$work/raw.json" | cut -c1-64)" = "$digest" ]
done
skopeo copy --quiet --preserve-digests --src-tls-verify=false "docker://127.0.0.1:$port/team/bert-tiny:1.0" "oci:$work/copied:1.0"
[ "$(field '["manifests"][0]["digest"]' <"$work/copied/index.json")" = "$digest" ]

echo "-- what corer pulls, from the registry and from skopeo's copy, is what was released"
"$corer" --quiet pull "$to:1.0" -o "$work/pulled" --json >"$work/pulled.json"
[ "$(field '["verdict"]' <"$work/pulled.json")" = passed ]
"$corer" --quiet pull "$to@$digest" -o "$work/by-digest" >/dev/null
"$corer" --quiet pull "oci-layout:$work/copied:1.0" -o "$work/from-copy" >/dev/null
diff -r "$work/pulled" "$work/by-digest"
diff -r "$work/pulled" "$work/from-copy"
diff -r "$work/pulled/BertTiny-fp16.mlpackage" "$work/out/BertTiny-fp16.mlpackage"
(cd "$work/pulled" && sha256sum --quiet -c SHA256SUMS)

echo "-- a folder corer wrote is one skopeo pushes"
"$corer" --quiet release "$manifest" --to "oci-layout:$work/layout:1.0" >/dev/null
skopeo copy --quiet --preserve-digests --dest-tls-verify=false "oci:$work/layout:1.0" "docker://127.0.0.1:$port/team/copied:1.0"
skopeo inspect --raw --tls-verify=false "docker://127.0.0.1:$port/team/copied:1.0" >"$work/raw.json"
[ "sha256:$(sha256sum <"$work/raw.json" | cut -c1-64)" = "$digest" ]

fails() {
    local code=$1 said=$2 status=0
    shift 2
    "$@" >"$work/log" 2>&1 || status=$?
    [ "$status" = "$code" ] && grep -qF "$said" "$work/log" && return
    echo "expected exit $code and \"$said\", got $status:"
    cat "$work/log"
    exit 1
}

echo "-- signed: the registry keeps the statements under the tag that stands in for a referrers API"
openssl ecparam -name prime256v1 -genkey -noout -out "$work/key.pem" 2>/dev/null
openssl ec -in "$work/key.pem" -pubout -out "$work/public.pem" 2>/dev/null
openssl ecparam -name prime256v1 -genkey -noout 2>/dev/null | openssl ec -pubout -out "$work/other.pem" 2>/dev/null
fails 7 "signature: none is attached" "$corer" pull "$to:1.0" -o "$work/unsigned" --require signature,parity --key "$work/public.pem"
[ ! -e "$work/unsigned" ]
"$corer" --quiet release "$manifest" --to "$to:1.0" --sign-key "$work/key.pem" >/dev/null
"$corer" --quiet verify-artifact "$to:1.0" --key "$work/public.pem" --require signature,parity,provenance >/dev/null
"$corer" --quiet pull "$to:1.0" -o "$work/signed" --require signature,parity --key "$work/public.pem" --signature "$work/model.sig" >/dev/null
diff -r "$work/signed" "$work/pulled"
fails 7 "is signed by another key" "$corer" pull "$to:1.0" -o "$work/unsigned" --require signature --key "$work/other.pem"
[ ! -e "$work/unsigned" ]

echo "-- model_signing accepts it, and refuses a byte flipped, a file too many and another key"
judge() { "$python" -m model_signing verify key "$work/signed" --signature "$work/model.sig" --public_key "$1" >"$work/judge.log" 2>&1; }
accepted() { judge "$work/public.pem" || { cat "$work/judge.log"; exit 1; }; }
refused() { if judge "$2"; then echo "model_signing accepts $1"; exit 1; fi; grep -qF "$3" "$work/judge.log" || { cat "$work/judge.log"; exit 1; }; }
accepted
refused "another key" "$work/other.pem" "Key mismatch"
flipped=$work/signed/BertTiny-fp16.mlpackage/Data/com.apple.CoreML/weights/weight.bin
flip() { python3 -c 'import sys
with open(sys.argv[1], "r+b") as file:
    file.seek(1000)
    byte = file.read(1)
    file.seek(1000)
    file.write(bytes([byte[0] ^ 1]))' "$1"; }
flip "$flipped"
refused "a flipped byte" "$work/public.pem" "Hash mismatch"
fails 7 "differs" "$corer" verify-artifact "$work/signed" --key "$work/public.pem" --signature "$work/model.sig"
flip "$flipped"
touch "$work/signed/extra"
refused "an extra file" "$work/public.pem" "Extra files"
fails 7 "is not signed" "$corer" verify-artifact "$work/signed" --key "$work/public.pem" --signature "$work/model.sig"
rm "$work/signed/extra"
accepted
"$corer" --quiet verify-artifact "$work/signed" --key "$work/public.pem" --signature "$work/model.sig" >/dev/null

echo "-- and what model_signing signs, corer accepts"
"$python" -m model_signing sign key "$work/signed" --private_key "$work/key.pem" --signature "$work/theirs.sig" >/dev/null
"$corer" --quiet verify-artifact "$work/signed" --key "$work/public.pem" --signature "$work/theirs.sig" >/dev/null

echo "-- the bill of materials is a CycloneDX one, strictly"
"$python" - "$work/signed/bom.cdx.json" <<'PYTHON'
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

text = open(sys.argv[1], encoding="utf-8").read()
validator = JsonStrictValidator(SchemaVersion.V1_6)
error = validator.validate_str(text)
if error is not None:
    sys.exit(f"not valid: {error}")
# It refuses what is none.
if validator.validate_str(text.replace('"modelCard"', '"modelcard"')) is None:
    sys.exit("the validator accepts anything")
PYTHON

echo "-- oras and modelpack pull the same tree"
"$python" - "127.0.0.1:$port/team/bert-tiny:1.0" "$work/oras" <<'PYTHON'
import sys
from oras.client import OrasClient

OrasClient(insecure=True).pull(target=sys.argv[1], outdir=sys.argv[2])
PYTHON
diff -r "$work/oras" "$work/pulled"
"$(dirname "$python")/modelpack" --insecure pull "127.0.0.1:$port/team/bert-tiny:1.0" "$work/modelpack" >/dev/null
diff -r "$work/modelpack" "$work/pulled"

echo "-- a tag is promoted, and given back"
"$corer" --quiet promote "$to:1.0" --to production --key "$work/public.pem" --sign-key "$work/key.pem" >/dev/null
"$corer" --quiet release "$manifest" --to "$to:1.1" --sign-key "$work/key.pem" >/dev/null
"$corer" --quiet promote "$to:1.1" --to production --key "$work/public.pem" --sign-key "$work/key.pem" >/dev/null
[ "$("$corer" --quiet promote "$to:production" --back --key "$work/public.pem" --json | field '["digest"]')" = "$digest" ]
skopeo inspect --raw --tls-verify=false "docker://127.0.0.1:$port/team/bert-tiny:production" >"$work/raw.json"
[ "sha256:$(sha256sum <"$work/raw.json" | cut -c1-64)" = "$digest" ]

echo "-- a tampered layer is refused, and nothing is left"
layer=$(python3 -c 'import json, sys
print(max(json.load(open(sys.argv[1]))["layers"], key=lambda layer: layer["size"])["digest"][7:])' "$work/raw.json")
file=$work/storage/docker/registry/v2/blobs/sha256/${layer:0:2}/$layer/data
cp "$file" "$work/good"
flip "$file"
fails 5 "tampered with or damaged" "$corer" pull "$to:1.0" -o "$work/tampered"
[ ! -e "$work/tampered" ]
cp "$work/good" "$file"

echo "-- a tag that is missing, a registry that is gone"
fails 6 "(HTTP 404)" "$corer" pull "$to:2.0" -o "$work/missing"
halt
fails 6 "can't be reached" "$corer" pull "$to:1.0" -o "$work/gone"
echo "registry: ok"
