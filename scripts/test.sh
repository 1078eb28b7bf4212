#!/usr/bin/env bash
# SPDX-License-Identifier: MPL-2.0
# Installs what is missing and runs every test. A test that cannot run here says
# so as "SKIPPED name: reason", and the names are repeated at the end.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
say() { printf '\033[1m==>\033[0m %s\n' "$*"; }

scripts/setup.sh --test
export GSTMVP_PROFILE=debug
. target/env.sh
export G_DEBUG=fatal-criticals
log=target/test.log
: >"$log"

say "building"
# The plugin itself too: tests load it into gst-launch-1.0, C and Python.
cargo build

failed=()
say "cargo test"
# --nocapture, or the reasons of skipped tests would not be seen.
cargo test --workspace --no-fail-fast -- --nocapture 2>&1 | tee -a "$log" || failed+=("cargo test")

say "the demonstration's Python"
(cd scripts/demo && "$GSTMVP_PYTHON" -m unittest -v test_demo) 2>&1 | tee -a "$log" || failed+=("scripts/demo/test_demo.py")

say "training's Python"
# Needs the program that conditions signals, and ONNX Runtime, as the parity tests do.
export MVP_OFFLINE=${CARGO_TARGET_DIR:-$PWD/target}/$GSTMVP_PROFILE/mvp-offline
(cd training && "$GSTMVP_TRAINING_PYTHON" -m pytest) 2>&1 | tee -a "$log" || failed+=("training")
(cd training && "$GSTMVP_TRAINING_PYTHON" -m mypy) 2>&1 | tee -a "$log" || failed+=("mypy of training")

say "summary"
# A test that skipped itself passed as far as cargo knows: count it as skipped.
read -r passed bad ignored < <(awk '
  /^test result: / { for (i = 1; i < NF; i++) { v = $i; if ($(i + 1) == "passed;") p += v; if ($(i + 1) == "failed;") f += v; if ($(i + 1) == "ignored;") g += v } }
  /^Ran [0-9]+ tests? in / { ran = $2 }
  # pytest: "=== 3 failed, 120 passed, 2 skipped in 60.0s ==="; its skips are named below.
  /^=.* in [0-9.]+s.*=$/ { for (i = 1; i < NF; i++) { v = $i; if ($(i + 1) ~ /^passed/) p += v; if ($(i + 1) ~ /^(failed|errors?),?$/) f += v; if ($(i + 1) ~ /^skipped/) p += v } }
  # A test binary that crashed printed no result of its own.
  /process didn.t exit successfully: .*\(signal: / { f++ }
  /^FAILED \(/ { if (match($0, /failures=[0-9]+/)) b += substr($0, RSTART + 9, RLENGTH - 9); if (match($0, /errors=[0-9]+/)) b += substr($0, RSTART + 7, RLENGTH - 7) }
  END { print p + ran - b, f + b, g + 0 }' "$log")
skips=$(grep -aoE 'SKIPPED [][A-Za-z0-9_:./-]+: .*' "$log" | sort -u || true)
skipped=$((ignored + $(grep -c . <<<"$skips" || true)))
[ -z "$skips" ] || printf '%s\n' "$skips"
[ "$ignored" = 0 ] || grep -aE '^test .* \.\.\. ignored' "$log" | sort -u || true
echo "$((passed - $(grep -c . <<<"$skips" || true))) passed, $bad failed, $skipped skipped"
[ ${#failed[@]} = 0 ] || {
  printf 'error: %s failed; the whole output is in %s\n' "$(IFS=,; echo "${failed[*]}")" "$log" >&2
  exit 1
}
