#!/usr/bin/env bash
# SPDX-License-Identifier: MPL-2.0
# Measures what the elements cost and prints tables, with the machine they are of.
#
#   scripts/bench.sh [--seconds N]     length of each live row, 20 unless told
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/setup.sh
. target/env.sh
echo "# scripts/bench.sh $*"
echo
echo "$(nproc) cores, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n1), $(uname -sr), $(date +%F)"
exec cargo bench --quiet --bench pipeline -- "$@"
