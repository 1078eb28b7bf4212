#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Reads an LSL stream with pylsl: a foreign peer for tests.

Talks in JSON lines on stdout: "open" with what the stream says about itself, then one
"samples" with the values and the raw stamps of COUNT samples, numbers as text so that
they stay exact. Ends when stdin closes.
"""

import json
import sys

import pylsl


def say(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


def main():
    name, count = sys.argv[1], int(sys.argv[2])
    (found,) = pylsl.resolve_byprop("name", name, timeout=20)
    inlet = pylsl.StreamInlet(found)
    info = inlet.info(timeout=10)
    inlet.open_stream(timeout=10)
    say(
        "open",
        type=info.type(),
        source_id=info.source_id(),
        rate=info.nominal_srate(),
        format=info.channel_format(),
        labels=info.get_channel_labels(),
        units=info.get_channel_units(),
    )
    values, stamps = [], []
    while len(stamps) < count:
        sample, stamp = inlet.pull_sample(timeout=10)
        if sample is None:
            sys.exit(f"only {len(stamps)} samples came")
        values.append([repr(v) for v in sample])
        stamps.append(repr(stamp))
    say("samples", values=values, stamps=stamps)
    sys.stdin.read()


if __name__ == "__main__":
    main()
