#!/usr/bin/env bash
# SPDX-License-Identifier: MPL-2.0
# Sixteen LSL streams at once, eight of them 1 kHz x 32 channels: what lslsrc costs beside
# bare calls of liblsl on the same streams in the same run, and whether a sample is lost.
#
#   scripts/bench_streams.sh [--seconds N]     600 unless told
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/setup.sh
. target/env.sh
echo "# scripts/bench_streams.sh $*"
echo
echo "$(nproc) cores, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n1), $(uname -sr), $(date +%F), load $(cut -d' ' -f1 /proc/loadavg)"
echo
exec cargo bench --quiet --bench streams -- "$@"
