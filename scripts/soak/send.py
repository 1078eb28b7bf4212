# SPDX-License-Identifier: MPL-2.0
"""One LSL stream of the soak run, with faults on command.

Two channels: the signal, and the number of the sample. Sample n belongs to the time
origin + n / rate of the LSL clock, also after a restart: so the reader knows from the numbers
alone which samples are missing. Commands are lines on stdin: NAME SECONDS. Ends when stdin
closes.
"""

from __future__ import annotations

import argparse
import math
import sys
import threading
import time

import pylsl

# The number of a sample that only a fault has made.
EXTRA = -1.0


def signal(kind: str, t: float) -> float:
    """A plausible value at the time t."""
    if kind == "EDA":
        return 4.0 + math.sin(t * 0.3) + 0.2 * math.sin(t * 1.1)
    phase = (t * 1.1) % 1.0
    if kind == "ECG":
        return math.exp(-(((phase - 0.3) / 0.02) ** 2)) + 0.05 * math.sin(t)
    return math.exp(-(((phase - 0.35) / 0.12) ** 2)) + 0.05 * math.sin(t)


class Faults:
    """Which faults are on, by the commands that came."""

    def __init__(self) -> None:
        self.until: dict[str, float] = {}
        self.shift = 0.0
        self.closed = threading.Event()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self) -> None:
        for line in sys.stdin:
            name, seconds = line.split()
            if name == "step":
                self.shift = float(seconds)
            else:
                self.until[name] = time.monotonic() + float(seconds)
        self.closed.set()

    def on(self, name: str) -> bool:
        return time.monotonic() < self.until.get(name, 0.0)

    def once(self, name: str) -> bool:
        return self.until.pop(name, None) is not None


def outlet(arguments: argparse.Namespace) -> pylsl.StreamOutlet:
    kind = arguments.kind
    labels = [kind, "number"] if arguments.labels == "right" else ["AccX", "AccY", "AccZ"]
    info = pylsl.StreamInfo(
        f"soak-{kind}", kind, len(labels), arguments.rate, "double64", f"soak-{kind}"
    )
    channels = info.desc().append_child("channels")
    for label in labels:
        channels.append_child("channel").append_child_value("label", label)
    return pylsl.StreamOutlet(info)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["ECG", "PPG", "EDA"])
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--origin", type=float, required=True, help="LSL time of sample 0")
    parser.add_argument("--labels", choices=["right", "wrong"], default="right")
    arguments = parser.parse_args()
    kind, rate, origin = arguments.kind, arguments.rate, arguments.origin
    faults = Faults()
    out = outlet(arguments)
    width = 2 if arguments.labels == "right" else 3
    print("ready", flush=True)
    n = math.ceil((pylsl.local_clock() - origin) * rate)
    while not faults.closed.is_set():
        wait = origin + n / rate - pylsl.local_clock()
        if wait > 0.0:
            faults.closed.wait(min(wait, 0.02))
            continue
        due = origin + n / rate
        number = float(n) if width == 2 else EXTRA
        n += 1
        if faults.on("gap"):
            continue
        stamp = due + faults.shift
        value = signal(kind, due)
        if faults.on("nan"):
            value = math.nan
        if faults.on("nan-stamps"):
            stamp = math.nan
        if faults.on("backwards"):
            stamp -= 2.0 * (due % 1.0)
        if faults.once("ahead"):
            stamp += 60.0
        if faults.once("flood"):
            for i in range(20_000):
                out.push_sample([value, EXTRA], stamp - 1.0 / rate + i * 1e-9 / rate)
        if faults.once("huge"):
            value = 1e300
        out.push_sample([value] + [number] * (width - 1), stamp)


if __name__ == "__main__":
    main()
