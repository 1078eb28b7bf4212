#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""An LSL outlet with known samples, made with pylsl: a foreign peer for tests.

Sample n has value(n, c) on channel c and, with --rate, the stamp t0 + n / rate. Talks
in JSON lines on stdout: "ready" once it can be found, "start" with t0 (LSL clock of
this process) when somebody reads it, "done" with the count. Ends when stdin closes.
"""

import argparse
import json
import sys
import threading
import time

import pylsl


def value(n, c, channels, fmt):
    if fmt == "string":
        return f"m{n}.{c}"
    if fmt.startswith("int"):
        return (n * channels + c) % {"int8": 120}.get(fmt, 30000)
    return n + c / 8


def say(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("name")
    p.add_argument("--type", default="Test")
    p.add_argument("--source-id", default="")
    p.add_argument("--rate", type=float, default=100.0, help="0: irregular, 20 a second")
    p.add_argument("--channels", type=int, default=1)
    p.add_argument("--format", default="float32")
    p.add_argument("--chunk", type=int, default=1, help="samples per packet")
    p.add_argument("--labels", default="", help="comma-separated")
    p.add_argument("--label-tag", default="label", help="the element that holds them")
    p.add_argument("--units", default="", help="comma-separated")
    p.add_argument("--count", type=int, default=0, help="samples; 0: for ever")
    p.add_argument("--stamps", choices=["exact", "push"], default="exact")
    p.add_argument("--shift", type=float, default=0.0, help="seconds added to stamps")
    p.add_argument("--no-wait", action="store_true", help="start without a reader")
    a = p.parse_args()

    info = pylsl.StreamInfo(a.name, a.type, a.channels, a.rate, a.format, a.source_id)
    labels = a.labels.split(",") if a.labels else []
    units = a.units.split(",") if a.units else []
    if labels or units:
        channels = info.desc().append_child("channels")
        for c in range(a.channels):
            channel = channels.append_child("channel")
            if c < len(labels):
                channel.append_child_value(a.label_tag, labels[c])
            if c < len(units):
                channel.append_child_value("unit", units[c])
    outlet = pylsl.StreamOutlet(info)

    closed = threading.Event()
    threading.Thread(
        target=lambda: (sys.stdin.read(), closed.set()), daemon=True
    ).start()
    say("ready", clock=pylsl.local_clock())
    while not a.no_wait and not outlet.have_consumers():
        if closed.wait(0.005):
            return

    pace = a.rate or 20.0
    t0 = pylsl.local_clock()
    say("start", t0=t0 + a.shift)
    n = 0
    while not closed.is_set() and (a.count == 0 or n < a.count):
        end = n + a.chunk if a.count == 0 else min(n + a.chunk, a.count)
        due = t0 + (end - 1) / pace
        time.sleep(max(0.0, due - pylsl.local_clock()))
        chunk = [
            [value(i, c, a.channels, a.format) for c in range(a.channels)]
            for i in range(n, end)
        ]
        if a.stamps == "push":
            outlet.push_chunk(chunk, pylsl.local_clock() + a.shift)
        else:
            for i, sample in zip(range(n, end), chunk):
                outlet.push_sample(sample, t0 + i / pace + a.shift, i == end - 1)
        n = end
    say("done", count=n)
    closed.wait()


if __name__ == "__main__":
    main()
