#!/usr/bin/env bash
# SPDX-License-Identifier: MPL-2.0
# Installs what scripts/demo.sh and scripts/test.sh need and is missing, and
# writes target/env.sh. Nothing outside target/ changes but Debian packages.
#
#   scripts/setup.sh          for the demonstration
#   scripts/setup.sh --test   for the tests as well
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=$root/target
extras=demo

say() { printf '\033[1m==>\033[0m %s\n' "$*"; }
die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

case ${1-} in
  '') ;;
  --test) extras=test ;;
  *) die "unknown option '$1'; the only one is --test" ;;
esac

# --- Rust ---------------------------------------------------------------------
want_rust=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$root/Cargo.toml")
PATH=$PATH:$HOME/.cargo/bin
command -v cargo >/dev/null && command -v rustc >/dev/null ||
  die "cargo and rustc are neither on PATH nor in ~/.cargo/bin. Install Rust $want_rust or newer (Debian's own package is too old): https://www.rust-lang.org/tools/install"
rust=$(rustc --version | cut -d' ' -f2)
[ "$(printf '%s\n' "$want_rust" "${rust%%-*}" | sort -V | head -n1)" = "$want_rust" ] ||
  die "$(command -v rustc) is Rust $rust, but $want_rust or newer is needed: run 'rustup update stable'"

# --- Debian packages ----------------------------------------------------------
packages=(
  # a linker, and the headers the crates link to
  gcc libc6-dev pkg-config
  libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev
  libcairo2-dev libpango1.0-dev
  # gst-launch-1.0, and the stock elements of the pipelines
  gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-x gstreamer1.0-libav
  fonts-dejavu-core
  # Python with GStreamer's own bindings
  python3 python3-venv python3-gi gir1.2-gstreamer-1.0 gir1.2-gst-plugins-base-1.0
  ca-certificates
)
# fakevideosink, the test sink that takes overlay compositions; gst-device-monitor-1.0;
# PyTorch, for the tests of training/
[ $extras = demo ] || packages+=(gstreamer1.0-plugins-bad gstreamer1.0-plugins-base-apps python3-torch)
if command -v dpkg-query >/dev/null; then
  missing=()
  for p in "${packages[@]}"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$p" 2>/dev/null || true)" = installed ] || missing+=("$p")
  done
  if [ ${#missing[@]} -gt 0 ]; then
    if [ "$(id -u)" = 0 ]; then
      as_root=(env)
    elif command -v sudo >/dev/null; then
      as_root=(sudo env)
    else
      die "these Debian packages are missing, and this user is neither root nor has sudo. Ask an administrator to run:
    apt-get install --no-install-recommends ${missing[*]}"
    fi
    say "installing ${#missing[@]} Debian packages: ${missing[*]}"
    mkdir -p "$target"
    apt_log=$target/apt.log
    apt() { "${as_root[@]}" DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 "$@" </dev/null; }
    { apt update && apt install -y --no-install-recommends "${missing[@]}"; } >"$apt_log" 2>&1 || {
      tail -n 15 "$apt_log" >&2
      die "apt-get failed; the whole output is in $apt_log"
    }
  fi
else
  say "no dpkg here: the equivalents of these Debian packages must be installed by hand: ${packages[*]}"
fi
pkg-config --atleast-version=1.22 gstreamer-1.0 ||
  die "GStreamer 1.22 or newer is needed with its headers; pkg-config finds $(pkg-config --modversion gstreamer-1.0 2>/dev/null || echo none)"

# --- Python -------------------------------------------------------------------
# The system's Python, because only it sees the GStreamer bindings.
system_python=/usr/bin/python3
environment() { # directory, list of packages, modules that must be there without it
  local venv=$1 requirements=$2 modules=$3
  if ! "$venv/bin/python" -c "import pip, $modules" >/dev/null 2>&1; then
    say "making a Python environment in ${venv#"$root/"}"
    rm -rf "$venv"
    mkdir -p "$target"
    "$system_python" -m venv --system-site-packages "$venv" ||
      die "$system_python could not make a virtual environment in $venv"
    "$venv/bin/python" -c "import $modules" || die "$system_python has no $modules"
  fi
  # The mark names what is installed, so a changed list is installed again.
  local mark wanted
  mark=$venv/installed-$(basename "$requirements")
  wanted=$(cat "$root"/scripts/requirements*.txt | cksum)
  if [ "$(cat "$mark" 2>/dev/null || true)" != "$wanted" ]; then
    say "installing Python packages of $(basename "$requirements") in ${venv#"$root/"}"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$requirements" ||
      die "pip could not install the packages of $requirements; is the network there?"
    echo "$wanted" >"$mark"
  fi
}
venv=$target/venv
python=$venv/bin/python
if [ $extras = demo ]; then
  environment "$venv" "$root/scripts/requirements.txt" gi
else
  environment "$venv" "$root/scripts/requirements-test.txt" gi
  # An environment of its own: Debian's PyTorch is built for NumPy 1.
  environment "$target/venv-training" "$root/scripts/requirements-training.txt" torch
fi

# --- Recordings ---------------------------------------------------------------
"$python" "$root/scripts/fetch_media.py" --into "$target/media" "$extras"

# --- target/env.sh ------------------------------------------------------------
library() { # of a Python package: name, pattern
  local found
  found=$(find "$venv"/lib/python3*/site-packages/"$1" -name "$2" -type f 2>/dev/null | sort | tail -n1)
  [ -n "$found" ] || die "the Python package in $venv/lib/.../$1 has no $2: remove $venv and run this again"
  printf '%s' "$found"
}
ort=$(library onnxruntime/capi 'libonnxruntime.so.*')
lsl=$(library pylsl/lib 'liblsl.so*')
{
  echo "# Made by scripts/setup.sh. GSTMVP_PROFILE chooses the build: release, or debug."
  printf 'export PATH=%q:"$PATH"\n' "$(dirname "$(command -v cargo)")"
  printf 'export ORT_DYLIB_PATH=%q\n' "$ort"
  printf 'export LSL_LIBRARY=%q PYLSL_LIB=%q\n' "$lsl" "$lsl"
  printf 'export GST_PLUGIN_PATH=%q/"${GSTMVP_PROFILE:-release}"\n' "${CARGO_TARGET_DIR:-$target}"
  echo '# mvp-check and mvp-offline are built beside the plugin.'
  echo 'export PATH="$GST_PLUGIN_PATH:$PATH"'
  printf 'export GSTMVP_PYTHON=%q\n' "$python"
  printf 'export GSTMVP_MEDIA=%q\n' "$target/media"
  [ ! -x "$target/venv-training/bin/python" ] ||
    printf 'export GSTMVP_TRAINING_PYTHON=%q\n' "$target/venv-training/bin/python"
} >"$target/env.sh.new"
mv "$target/env.sh.new" "$target/env.sh"
say "ready: $(rustc --version | cut -d' ' -f1,2), GStreamer $(pkg-config --modversion gstreamer-1.0), $(basename "$ort"), $(basename "$lsl")"
