#!/usr/bin/env bash
# SPDX-License-Identifier: MPL-2.0
# A live pipeline with a fault every 10 s: prints what was lost, and memory, threads and file
# descriptors at the start and at the end. The exit status is 1 when a limit is crossed.
#
#   scripts/soak.sh --hours 1       or --minutes N; 10 minutes unless told (the nightly round)
#
# What it measures over time goes to target/soak/soak.csv. GSTMVP_PROFILE chooses the build.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
seconds=600
die() {
  printf 'error: %s\n' "$*" >&2
  exit 2
}
while [ $# -gt 0 ]; do
  [[ ${2-} =~ ^[0-9]+(\.[0-9]+)?$ ]] || die "$1 wants a number, not '${2-}'"
  case $1 in
    --hours) seconds=$(awk "BEGIN { print $2 * 3600 }") ;;
    --minutes) seconds=$(awk "BEGIN { print $2 * 60 }") ;;
    *) die "unknown option '$1'; there are --hours H and --minutes M" ;;
  esac
  shift 2
done
[ -f target/env.sh ] || scripts/setup.sh
. target/env.sh
if [ "${GSTMVP_PROFILE:-release}" = release ]; then cargo build --quiet --release; else cargo build --quiet; fi
# A copy, so that a build meanwhile does not change what runs.
mkdir -p target/soak
cp "target/${GSTMVP_PROFILE:-release}/libgstmvp.so" target/soak/
export GST_PLUGIN_PATH=$PWD/target/soak
echo "$(nproc) cores, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n1), $(uname -sr), $(date +%F), ${GSTMVP_PROFILE:-release} build, load at start $(cut -d' ' -f1 /proc/loadavg)"
echo
exec "$GSTMVP_PYTHON" scripts/soak/soak.py --seconds "$seconds" --csv target/soak/soak.csv
