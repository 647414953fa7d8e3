#!/usr/bin/env bash
# From a scene file over HTTP to a picture: starts a server on a free port, posts a scene, shows progress, downloads the picture, stops the server.
# Usage: demo.sh KILN_BINARY OUTPUT.png
set -euo pipefail
# Numbers with a point, whatever the user's language; and no proxy between us and our own server.
export LC_ALL=C no_proxy=127.0.0.1 NO_PROXY=127.0.0.1
kiln=$1
output=$2
work=$(mktemp -d)
server=
finish() {
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap finish EXIT

"$kiln" sample still-life -o "$work/still-life.glb"
"$kiln" serve --addr 127.0.0.1:0 --data "$work/data" >"$work/server.out" 2>"$work/server.log" &
server=$!
url=
for _ in $(seq 300); do
    url=$(grep -oE 'http://127\.0\.0\.1:[0-9]+' "$work/server.out" | head -n 1 || true)
    [ -n "$url" ] && curl -fs "$url/readyz" >/dev/null && break
    kill -0 "$server" 2>/dev/null || { cat "$work/server.out" "$work/server.log" >&2; exit 1; }
    sleep 0.1
done
[ -n "$url" ] || { echo 'demo: the server did not start:' >&2; cat "$work/server.log" >&2; exit 1; }
echo "server   $url"

curl -fsS -D "$work/head" -o "$work/job.json" --data-binary "@$work/still-life.glb" -H 'content-type: model/gltf-binary' \
    "$url/v1/jobs?width=640&height=480&samples=32"
job=$(tr -d '\r' <"$work/head" | sed -n 's/^[Ll]ocation: *//p')
echo "job      $url$job"

field() { sed -n "s/.*\"$1\": *\"\{0,1\}\([^,\"}]*\).*/\1/p" <"$work/state.json" | head -n 1; }
while :; do
    curl -fsS "$url$job" -o "$work/state.json"
    state=$(field state)
    case "$state" in
        succeeded) break ;;
        failed | cancelled | expired) printf '\n'; cat "$work/state.json" >&2; exit 1 ;;
    esac
    line=$(printf '%-8s %3.0f %%' "$state" "$(field fraction | awk '{print $1 * 100}')")
    if [ -t 1 ]; then printf '\r%s ' "$line"; elif [ "$line" != "${last:-}" ]; then echo "$line"; fi
    last=$line
    sleep 0.5
done
[ -t 1 ] && printf '\r'
curl -fsS "$url$job/image" -H 'accept: image/png' -o "$output"
echo "picture  $(cd "$(dirname "$output")" && pwd)/$(basename "$output") ($(wc -c <"$output") bytes)"
