#!/usr/bin/env bash
# SPDX-License-Identifier: MPL-2.0
# Spoiled recordings and bundles in the numbers of docs/security.md: the tests of every round
# run the first of the same files. About 40 minutes on 2 cores.
#
#   scripts/hostile.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[ -f target/env.sh ] || scripts/setup.sh
export GSTMVP_PROFILE=debug
. target/env.sh
export GSTMVP_HOSTILE_PARSED=${GSTMVP_HOSTILE_PARSED:-1000000}
export GSTMVP_HOSTILE_PLAYED=${GSTMVP_HOSTILE_PLAYED:-4000}
export GSTMVP_HOSTILE_BUNDLES=${GSTMVP_HOSTILE_BUNDLES:-5000}
exec cargo test --test hostile_recordings --test hostile_bundles -- --nocapture --test-threads 1
