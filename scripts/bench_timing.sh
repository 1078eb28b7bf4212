#!/usr/bin/env bash
# SPDX-License-Identifier: MPL-2.0
# Measures how far the times of samples are from the truth, beside what liblsl's own
# post-processing (DEJITTER + CLOCKSYNC) makes of the same traffic in the same run.
#
#   scripts/bench_timing.sh [--seconds N]     of traffic, 150 unless told
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/setup.sh
. target/env.sh
profile=${GSTMVP_PROFILE:-release}
if [ "$profile" = release ]; then cargo build --quiet --release; else cargo build --quiet; fi
echo "# scripts/bench_timing.sh $*"
echo
echo "$(nproc) cores, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n1), $(uname -sr), $(date +%F), load $(cut -d' ' -f1 /proc/loadavg)"
echo
echo "Absolute errors in milliseconds."
echo
status=0
"$GSTMVP_PYTHON" scripts/timing/receive.py "$@" || status=$?
echo
echo "An hour at 100 ppm, simulated (no library can be fed with simulated time):"
echo
cargo test --quiet -p timing --lib simulation::an_hour -- --nocapture | grep -a 'p99' | sed 's/^/- /'
exit $status
