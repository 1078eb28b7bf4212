#!/usr/bin/env bash
# SPDX-License-Identifier: MPL-2.0
# The tests inside the crates under AddressSanitizer and ThreadSanitizer. Needs the nightly
# toolchain with rust-src, and about 1.3 GB under target/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[ -f target/env.sh ] || scripts/setup.sh
. target/env.sh
host=$(rustc -vV | sed -n 's/^host: //p')
pure=(-p xdf -p timing -p stream-info -p onnx -p lsl -p conditioning)
export CARGO_INCREMENTAL=0
run() { # sanitizer, arguments of cargo test
  local sanitizer=$1
  shift
  RUSTFLAGS="-Zsanitizer=$sanitizer" CARGO_TARGET_DIR=target/sanitizer-$sanitizer \
    cargo +nightly test --no-fail-fast --target "$host" "$@" --lib
}
run address "${pure[@]}"
# GLib and GStreamer keep what they made once: 16 kB that count as a leak.
ASAN_OPTIONS=detect_leaks=0 run address -p gst-common -p gst-lsl
# The standard library has to be built with it.
run thread -Zbuild-std "${pure[@]}"
