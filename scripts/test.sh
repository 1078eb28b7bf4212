#!/usr/bin/env bash
# SPDX-License-Identifier: MPL-2.0
# Installs what is missing and runs the tests.
#
#   scripts/test.sh           every test
#   scripts/test.sh --quick   those for the daily round: under 4 minutes on 2 cores after the build
#
# A test that cannot run here says so as "SKIPPED name: reason". The names are repeated at
# the end, with those that --quick leaves out.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
say() { printf '\033[1m==>\033[0m %s\n' "$*"; }

# What --quick leaves out, and the seconds that each takes (2 cores, debug build). Whatever is
# not named here is part of it. `grep -a 'finished in' target/test.log` tells the times anew.
slow=(
  "alignment 16"
  "environment 74"
  "lsl_crowd 29"
  "lslsink_peers 15"
  "lslsrc_limits 59"
  "lslsrc_peers 23"
  "lslsrc_quirks 57"
  "lslsrc_restarts 36"
  "replay 87"
  "scripts/demo/test_demo.py 16"
  "training 66"
)
quick=
case ${1-} in
  '') ;;
  --quick) quick=1 ;;
  *)
    echo "error: unknown option '$1'; the only one is --quick" >&2
    exit 2
    ;;
esac
is_slow() { [ -n "$quick" ] && printf '%s\n' "${slow[@]}" | grep -q "^$1 "; }

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
which=()
if [ -n "$quick" ]; then
  which=(--lib --bins)
  for file in tests/*.rs {crates,plugins,tools}/*/tests/*.rs; do
    name=$(basename "$file" .rs)
    [ ! -f "$file" ] || is_slow "$name" || which+=(--test "$name")
  done
fi
# --nocapture, or the reasons of skipped tests would not be seen.
cargo test --workspace "${which[@]}" --no-fail-fast -- --nocapture 2>&1 | tee -a "$log" || failed+=("cargo test")

if ! is_slow scripts/demo/test_demo.py; then
  say "the demonstration's Python"
  (cd scripts/demo && "$GSTMVP_PYTHON" -m unittest -v test_demo) 2>&1 | tee -a "$log" || failed+=("scripts/demo/test_demo.py")
fi

if ! is_slow training; then
  say "training's Python"
  # Needs the program that conditions signals, and ONNX Runtime, as the parity tests do.
  export MVP_OFFLINE=${CARGO_TARGET_DIR:-$PWD/target}/$GSTMVP_PROFILE/mvp-offline
  (cd training && "$GSTMVP_TRAINING_PYTHON" -m pytest) 2>&1 | tee -a "$log" || failed+=("training")
  (cd training && "$GSTMVP_TRAINING_PYTHON" -m mypy) 2>&1 | tee -a "$log" || failed+=("mypy of training")
fi

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
if [ -n "$quick" ]; then
  for entry in "${slow[@]}"; do
    echo "SKIPPED ${entry% *}: not in the quick round (${entry##* } s); scripts/test.sh runs it"
  done
  skipped=$((skipped + ${#slow[@]}))
fi
[ "$ignored" = 0 ] || grep -aE '^test .* \.\.\. ignored' "$log" | sort -u || true
echo "$((passed - $(grep -c . <<<"$skips" || true))) passed, $bad failed, $skipped skipped"
[ ${#failed[@]} = 0 ] || {
  printf 'error: %s failed; the whole output is in %s\n' "$(IFS=,; echo "${failed[*]}")" "$log" >&2
  exit 1
}
