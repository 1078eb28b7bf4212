#!/usr/bin/env bash
# SPDX-License-Identifier: MPL-2.0
# Checks that every cargo feature of the workspace compiles. What cannot be checked here is
# told as "SKIPPED name: reason". tests/house.rs sees to it that no feature is missing here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
say() { printf '\033[1m==>\033[0m %s\n' "$*"; }
check() { cargo check --quiet --package gst-plugin-mvp --features "$@"; }

say "features doc, capi"
check doc,capi

# liblsl is compiled by lsl-sys; a target directory of its own keeps the usual build as it is.
say "feature lsl-bundled (bundled in crates/lsl)"
if ! command -v cmake >/dev/null || ! command -v c++ >/dev/null; then
  echo "SKIPPED feature:lsl-bundled: needs cmake and a C++ compiler to build liblsl"
else
  # liblsl 1.13 takes this for a number; since glibc 2.34 it is none.
  CXXFLAGS="${CXXFLAGS-} -DPTHREAD_STACK_MIN=16384" CARGO_TARGET_DIR=$target/feature-lsl-bundled check lsl-bundled
fi

say "feature v1_24"
export CARGO_TARGET_DIR=$target/feature-v1_24
if pkg-config --atleast-version=1.24 gstreamer-1.0 gstreamer-analytics-1.0; then
  check v1_24
else
  # The bindings know the interface of 1.24 without its libraries: enough to check types.
  for library in GSTREAMER GSTREAMER_BASE GSTREAMER_VIDEO GSTREAMER_ANALYTICS; do
    export "SYSTEM_DEPS_${library}_1_0_NO_PKG_CONFIG=1" "SYSTEM_DEPS_${library}_1_0_LIB=none"
  done
  check v1_24
  echo "SKIPPED feature:v1_24: its types are checked; linking and its tests need GStreamer 1.24, this is $(pkg-config --modversion gstreamer-1.0)"
fi
