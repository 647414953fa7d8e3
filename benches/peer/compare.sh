#!/usr/bin/env bash
# Jobs a second of Kiln beside a FastAPI + wgpu service with an in-memory queue, as first written and tuned: the same shader, the same machine, in turn.
# Usage: compare.sh [--rounds N] [--seconds S] [--in-flight N] [--connections N] [--only kiln|peer|tuned]
# Needs Python 3.11 or later with venv, and PyPI for the first run. Both services see the same two processors.
set -euo pipefail
export LC_ALL=C no_proxy=127.0.0.1 NO_PROXY=127.0.0.1
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
venv=${KILN_PEER_VENV:-$target/peer-venv}
if ! [ -x "$venv/bin/python" ] || ! cmp -s "$here/requirements.txt" "$venv/requirements.txt"; then
    python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$venv/requirements.txt"
fi
kiln=${KILN:-$target/release/kiln}
if [ -z "${KILN:-}" ]; then
    (cd "$root" && "${CARGO:-cargo}" build --release --locked --bin kiln)
fi
pin=()
if command -v taskset >/dev/null && [ "$(nproc)" -gt 2 ]; then pin=(taskset -c 0,1); fi
exec "${pin[@]}" "$venv/bin/python" -B "$here/compare.py" --kiln "$kiln" --folder "$target" "$@"
