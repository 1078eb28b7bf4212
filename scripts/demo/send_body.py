# SPDX-License-Identifier: MPL-2.0
"""Sends the recording as three LSL streams, in real time, as devices would.

Each sample carries the time at which it was "taken" and leaves with the chunk
that it completes, so a chunk of n samples arrives up to n sample periods late:
what a real device does to a receiver.
"""

import argparse
import os
import pathlib
import signal
import sys
import threading

import numpy as np
import pylsl

from recording import STREAMS, load, signals


def outlet(stream):
    """An LSL outlet that describes itself as the XDF meta-data asks."""
    info = pylsl.StreamInfo(stream.name, stream.name, 1, stream.rate, "float32", f"gstmvp-demo-{stream.name.lower()}")
    channel = info.desc().append_child("channels").append_child("channel")
    channel.append_child_value("label", stream.label)
    channel.append_child_value("unit", stream.unit)
    channel.append_child_value("type", stream.name)
    info.desc().append_child("acquisition").append_child_value("model", "recording of pyphysio 4.10.0, replayed")
    return pylsl.StreamOutlet(info, chunk_size=stream.chunk)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", type=pathlib.Path, help="medical.txt.bz2")
    parser.add_argument("--seconds", type=float, default=0, help="how long to send; 0 (default): until stopped")
    parser.add_argument("--only", help="comma list of the streams to send, of EDA, ECG, PPG (default: all)")
    parser.add_argument("--save", type=pathlib.Path, help="write what was sent here (.npz): NAME, NAME-time (LSL clock)")
    args = parser.parse_args()

    streams = STREAMS
    if args.only:
        names = args.only.split(",")
        known = [s.name for s in STREAMS]
        if unknown := [n for n in names if n not in known]:
            parser.error(f"--only: no stream '{unknown[0]}'; there are {', '.join(known)}")
        streams = [s for s in STREAMS if s.name in names]
    try:
        data = signals(load(args.recording))
    except ValueError as e:
        sys.exit(f"error: {e}")

    stop = threading.Event()
    for s in (signal.SIGTERM, signal.SIGINT):
        signal.signal(s, lambda *_: stop.set())

    outlets = {s.name: outlet(s) for s in streams}
    sent = dict.fromkeys(outlets, 0)
    # An absolute schedule: lateness of one push never adds to the next.
    start = pylsl.local_clock()
    print("sending " + ", ".join(f"{s.name} {s.rate} Hz in {s.unit}, {s.chunk} a push" for s in streams), flush=True)
    while not stop.is_set():
        # The stream whose next chunk is complete first.
        s = min(streams, key=lambda s: (sent[s.name] + s.chunk - 1) / s.rate)
        first = sent[s.name]
        last = first + s.chunk - 1
        if args.seconds and last / s.rate >= args.seconds:
            break
        if stop.wait(max(0.0, start + last / s.rate - pylsl.local_clock())):
            break
        samples = data[s.name]
        chunk = samples[np.arange(first, last + 1) % len(samples)]
        # LSL derives the other stamps of the chunk from the last one and the rate.
        outlets[s.name].push_chunk(chunk.reshape(-1, 1), start + last / s.rate)
        sent[s.name] += s.chunk

    if args.save:
        saved = {}
        for s in streams:
            n = np.arange(sent[s.name])
            saved[s.name] = data[s.name][n % len(data[s.name])]
            saved[f"{s.name}-time"] = start + n / s.rate
        # Whole or not at all: the plot may be reading.
        part = args.save.with_name(args.save.name + ".part")
        with open(part, "wb") as f:
            np.savez(f, **saved)
        os.replace(part, args.save)
    for s in streams:
        turns = sent[s.name] / len(data[s.name])
        looped = f", the recording {turns:.1f} times over" if turns > 1 else ""
        print(f"{s.name}: {sent[s.name]} samples in {sent[s.name] // s.chunk} pushes{looped}")


if __name__ == "__main__":
    main()
