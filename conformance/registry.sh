#!/usr/bin/env bash
# Publishes to a real registry (Debian's docker-registry) and has a stranger (skopeo) read it back: equal digests, equal
# bytes. Fetches both packages by itself; the registry listens on this machine only and is stopped by its own process id.
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

echo "-- a tampered layer is refused, and nothing is left"
layer=$(python3 -c 'import json, sys
print(max(json.load(open(sys.argv[1]))["layers"], key=lambda layer: layer["size"])["digest"][7:])' "$work/raw.json")
file=$work/storage/docker/registry/v2/blobs/sha256/${layer:0:2}/$layer/data
cp "$file" "$work/good"
python3 -c 'import sys
with open(sys.argv[1], "r+b") as file:
    file.seek(1000)
    byte = file.read(1)
    file.seek(1000)
    file.write(bytes([byte[0] ^ 1]))' "$file"
fails 5 "tampered with or damaged" "$corer" pull "$to:1.0" -o "$work/tampered"
[ ! -e "$work/tampered" ]
cp "$work/good" "$file"

echo "-- a tag that is missing, a registry that is gone"
fails 6 "(HTTP 404)" "$corer" pull "$to:2.0" -o "$work/missing"
halt
fails 6 "can't be reached" "$corer" pull "$to:1.0" -o "$work/gone"
echo "registry: ok"
