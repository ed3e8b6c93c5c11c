#!/usr/bin/env bash
# The kiosk: many models on one device with deadlines, traced, exported and replayed.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

out=build/demo
seconds=${DEMO_SECONDS:-20}
mkdir -p "$out"
show() { printf '\n$ %s\n' "$*"; "$@"; }

show bin/aegisrt run examples/kiosk.toml --duration "$seconds" --trace "$out/kiosk.trace"
show bin/aegisrt trace export --format perfetto --output "$out/kiosk.perfetto-trace" "$out/kiosk.trace"
show bin/aegisrt replay "$out/kiosk.trace"
printf '\nThe trace is in %s; open %s in a Perfetto viewer.\n' "$out/kiosk.trace" "$out/kiosk.perfetto-trace"
