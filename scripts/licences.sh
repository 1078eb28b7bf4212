#!/usr/bin/env bash
# SPDX-License-Identifier: MPL-2.0
# Holds the dependencies against deny.toml: licences, sources, versions, and known
# vulnerabilities where the list of them can be fetched.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if ! cargo deny --version >/dev/null 2>&1; then
  echo "SKIPPED cargo-deny: it is not installed, and building it takes minutes: cargo install cargo-deny --locked"
  exit 0
fi
cargo deny --workspace check bans licenses sources
if ! report=$(cargo deny --workspace check advisories 2>&1); then
  if grep -q 'failed to fetch advisory database' <<<"$report"; then
    echo "SKIPPED cargo-deny:advisories: the list of known vulnerabilities could not be fetched"
  else
    printf '%s\n' "$report" >&2
    exit 1
  fi
fi
