#!/usr/bin/env bash
# SPDX-License-Identifier: MPL-2.0
# Measures what the elements cost and prints tables, with the machine they are of.
#
#   scripts/bench.sh [--seconds N]     length of each live row, 20 unless told
#   scripts/bench.sh --models          only what a hop of each model costs
#   scripts/bench.sh --face            only what a face in every frame costs
#
# GSTMVP_BENCH_MODEL, GSTMVP_BENCH_MODEL_120: other bundles than models/default, and one
# with a window of 120 s (models/default-120, if it is there). GSTMVP_BENCH_FACE: other face
# models to compare models/face with.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/setup.sh
. target/env.sh
echo "# scripts/bench.sh $*"
echo
echo "$(nproc) cores, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n1), $(uname -sr), $(date +%F)"
exec cargo bench --quiet --bench pipeline -- "$@"
