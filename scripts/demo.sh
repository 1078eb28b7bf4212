#!/usr/bin/env bash
# SPDX-License-Identifier: MPL-2.0
# The main job on real recordings: a face from a film, a body from real LSL
# streams on loopback, the network, and the answer on every frame.
# Leaves target/demo/{annotated.webm,emotion.jsonl,timeline.png}.
#
#   scripts/demo.sh [--seconds N]     75 unless told: the window is 60 s long
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds=75
die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}
while [ $# -gt 0 ]; do
  case $1 in
    --seconds)
      seconds=${2-}
      [[ $seconds =~ ^[1-9][0-9]{0,4}$ ]] || die "--seconds wants a whole number from 1 to 99999, not '$seconds'"
      shift 2
      ;;
    *) die "unknown option '$1'; the only one is --seconds N" ;;
  esac
done
say() { printf '\033[1m==>\033[0m %s\n' "$*"; }

scripts/setup.sh
export GSTMVP_PROFILE=release
. target/env.sh
say "building (cargo build --release)"
cargo build --release --quiet

out=target/demo
mkdir -p "$out"
rm -f "$out"/{annotated.webm,emotion.jsonl,timeline.png,physiology.npz,gst-launch.log,gst-debug.log,body.log}

# Whatever ends this script ends what it started.
body= launch=
finish() {
  trap - EXIT INT TERM
  for pid in $launch $body; do kill -KILL "$pid" 2>/dev/null || true; done
}
trap finish EXIT
trap 'finish; exit 130' INT
trap 'finish; exit 143' TERM

# --- The face -----------------------------------------------------------------
# As single frames, because a clip cannot be looped by stock elements without
# its timestamps falling back; multifilesrc counts on.
face=$GSTMVP_MEDIA/face
if [ ! -d "$face" ]; then
  say "unpacking the face clip"
  rm -rf "$face.part"
  mkdir "$face.part"
  gst-launch-1.0 -q filesrc location="$GSTMVP_MEDIA/sample_video_1.mp4" ! qtdemux ! avdec_h264 ! videoconvert \
    ! jpegenc quality=95 ! multifilesink location="$face.part/%05d.jpg" ||
    die "the face clip could not be decoded: is gstreamer1.0-libav there (gst-inspect-1.0 avdec_h264)?"
  mv "$face.part" "$face"
fi

# --- The body -----------------------------------------------------------------
# Only what the model takes.
modalities=$("$GSTMVP_PYTHON" -c 'import tomllib
signals = tomllib.load(open("models/default/mvp.toml", "rb"))["signal"]
print(*(s["name"] for s in signals if s["name"] in ("eda", "ecg", "ppg")))')
only=${modalities^^}
sed "s/@SESSION@/gstmvp-demo-$$/" scripts/demo/lsl.cfg >"$out/lsl.cfg"
export LSLAPICFG=$PWD/$out/lsl.cfg
"$GSTMVP_PYTHON" scripts/demo/send_body.py "$GSTMVP_MEDIA/medical.txt.bz2" --only "${only// /,}" --save "$out/physiology.npz" >"$out/body.log" 2>&1 &
body=$!
for _ in $(seq 100); do
  grep -q '^sending' "$out/body.log" && break
  kill -0 "$body" 2>/dev/null || die "the LSL sender did not start: $(cat "$out/body.log")"
  sleep 0.1
done
say "body: $(grep '^sending' "$out/body.log" || echo "the LSL sender has not come up in 10 s, see $out/body.log")"

# --- The line -----------------------------------------------------------------
note="face and body are of different people"
if grep -q '^trained *= *false' models/default/mvp.toml; then
  note+="&#10;the model is an untrained fixture: its answers mean nothing"
fi
body_line=
for m in $modalities; do
  body_line+="${body_line:+$'\n'}lslsrc stream-type=${m^^} ! fusion.$m"
done
fps=30
frames=$((seconds * fps))
# identity sync=true makes a camera of the files: each frame leaves at its time.
line="multifilesrc location=target/media/face/%05d.jpg loop=true num-buffers=$frames caps=image/jpeg,framerate=$fps/1
  ! jpegdec ! identity sync=true ! videoconvert ! facetrack sync=live ! fusion.
$body_line
mvpfusion name=fusion model=models/default ! tee name=t
t. ! queue ! emotionoverlay show=label+bars+coverage+traces+model+face+waiting
  ! textoverlay text='$note' halignment=right valignment=bottom line-alignment=right xpad=10 ypad=10 font-desc='Sans 8' shaded-background=true
  ! videoconvert ! vp8enc deadline=1 cpu-used=-8 target-bitrate=1500000 keyframe-max-dist=$fps
  ! webmmux ! filesink location=$out/annotated.webm
t. ! queue ! emotionserialize ! filesink buffer-mode=unbuffered location=$out/emotion.jsonl"
say "running this line for $seconds s:"
printf '\n%s\n\n' "gst-launch-1.0 -e -m ${line//$'\n'/ \\$'\n'}"

# The category "pipeline" logs the base time, which puts the sender's clock and
# the results on one axis: LSL and GStreamer read the same monotonic clock.
(
  export GST_DEBUG=pipeline:5,2 GST_DEBUG_NO_COLOR=1 GST_DEBUG_FILE=$out/gst-debug.log
  eval "exec gst-launch-1.0 -e -m ${line//$'\n'/ }"
) >"$out/gst-launch.log" 2>&1 &
launch=$!

why_it_failed() {
  { grep -E -A4 '^(ERROR|WARNING|could not|erroneous)|: (ERROR|WARNING)' "$out/gst-launch.log" || tail -n 15 "$out/gst-launch.log"; } | head -n 30 >&2
  die "$1; everything the pipeline said is in $out/gst-launch.log"
}
begun=$SECONDS
told=0
while kill -0 "$launch" 2>/dev/null; do
  sleep 0.5
  ran=$((SECONDS - begun))
  if [ $((ran / 15)) -gt $told ]; then
    told=$((ran / 15))
    printf '    %3d s: %d results\n' "$ran" "$(wc -l <"$out/emotion.jsonl" 2>/dev/null || echo 0)"
  fi
  if [ $ran -gt $((seconds + 45)) ]; then
    kill -INT "$launch" 2>/dev/null || true
    sleep 10
    kill -KILL "$launch" 2>/dev/null || true
    launch=
    why_it_failed "the pipeline did not end $((seconds + 45)) s after it was started"
  fi
done
status=0
wait "$launch" || status=$?
launch=
[ $status = 0 ] || why_it_failed "gst-launch-1.0 ended with status $status"

kill -TERM "$body" 2>/dev/null || true
wait "$body" || die "the LSL sender failed: $(cat "$out/body.log")"
body=

# --- What came out ------------------------------------------------------------
base=$(sed -n 's/.*base_time \([0-9:.]*\)$/\1/p' "$out/gst-debug.log" | head -n1 | awk -F: '{ printf "%.9f", $1 * 3600 + $2 * 60 + $3 }')
[ -n "$base" ] || die "no base time in $out/gst-debug.log; GStreamer was perhaps built without its debugging log"
"$GSTMVP_PYTHON" scripts/demo/plot.py "$out/emotion.jsonl" "$out/timeline.png" --body "$out/physiology.npz" --base-time "$base"
filmed=$(gst-launch-1.0 -v filesrc location="$out/annotated.webm" ! matroskademux ! fakesink silent=false sync=false 2>/dev/null | grep -c 'chain  ' || true)
say "done"
sed -n 's/^\([A-Z]*: .* samples\)/    sent over LSL   \1/p' "$out/body.log"
took=$(sed -n 's/^Execution ended after 0*\([0-9:.]*\)$/\1/p' "$out/gst-launch.log" | awk -F: '{ printf "%d", $1 * 3600 + $2 * 60 + $3 + 0.5 }')
"$GSTMVP_PYTHON" scripts/demo/summary.py "$out/emotion.jsonl" --frames-in "$frames" --frames-out "$filmed"
[ "${took:-0}" -le $((seconds + 3)) ] ||
  echo "    note            $seconds s of video took $took s: this machine was too busy to keep up"
cat <<END
    film            $out/annotated.webm
    results         $out/emotion.jsonl
    picture         $out/timeline.png
    bus messages    $out/gst-launch.log
END
