# SPDX-License-Identifier: MPL-2.0
"""A live pipeline with a fault every 10 s: what is lost, and whether it grows.

A face as live video and three LSL streams run through facetrack and mvpfusion. Prints a
Markdown report; writes one line of CSV every 10 s. The exit status is 1 when a limit is
crossed. Needs the environment of target/env.sh; scripts/soak.sh sets it up.
"""

from __future__ import annotations

import argparse
import collections
import math
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from faults import FAULTS, Fault, Senders
from watch import Bus, Process, Samples, Video

HERE = Path(__file__).resolve().parent
RATES = {"ECG": 128.0, "PPG": 64.0, "EDA": 8.0}
PERIOD = 10.0
# No fault before this: the streams are found and the network is loaded.
CALM = 20.0

# What must hold at the end of a run.
MOST_GROWTH_KB = 24_000
MOST_THREADS = 2
MOST_FDS = 4
LONGEST_WITHOUT_ANSWER = 15.0
LONGEST_WITHOUT_FRAME = 2.0
# Of the times of samples outside faults, 99 in 100; milliseconds.
MOST_ERROR = 5.0

LINE = (
    "filesrc location={face} ! pngdec ! videoconvert ! videoscale ! imagefreeze is-live=true"
    " ! capsfilter name=camera caps=video/x-raw,format=RGB,width=320,height=320,framerate=15/1"
    " ! facetrack rate=2/1 execution-provider=cpu"
    " ! mvpfusion name=fusion execution-provider=cpu ! fakesink name=sink sync=false async=false"
)
BODY = (
    " lslsrc name={kind} source-id=soak-{kind} stream-type={kind}"
    " ! queue max-size-time=0 max-size-bytes=0 max-size-buffers=500 ! fusion.{pad}"
)

CONFIGURATION = """[ports]
MulticastPort = 26771
BasePort = 26772
PortRange = 96
AllowRandomPorts = 1
IPv6 = disable
[multicast]
ResolveScope = machine
MachineAddresses = {{127.0.0.1}}
Interfaces = {{127.0.0.1}}
ListenAddress = 127.0.0.1
[lab]
KnownPeers = {{127.0.0.1}}
SessionID = soak-{pid}
[tuning]
MulticastMinRTT = 0.05
MulticastMaxRTT = 0.1
UnicastMinRTT = 0.05
UnicastMaxRTT = 0.2
WatchdogTimeThreshold = 2
WatchdogCheckInterval = 1
[log]
level = -3
"""


class Run:
    """One run of the pipeline and its senders."""

    def __init__(self, seconds: float, directory: Path, csv: Path) -> None:
        import gi  # type: ignore[import-not-found,import-untyped,unused-ignore]

        gi.require_version("Gst", "1.0")
        from gi.repository import Gst  # type: ignore[import-not-found,unused-ignore]

        Gst.init(None)
        self.gst = Gst
        self.seconds = seconds
        self.csv = csv
        # On Linux the LSL clock is the monotonic clock, as GStreamer's is.
        self.origin = time.monotonic()
        self.senders = Senders(HERE, RATES, self.origin)
        face = Path(os.environ["GSTMVP_MEDIA"]) / "astronaut.png"
        line = LINE.format(face=face)
        line += "".join(BODY.format(kind=kind, pad=kind.lower()) for kind in RATES)
        self.pipeline = Gst.parse_launch(line)
        self.video = Video(Gst, self.pipeline)
        self.samples = {
            kind: Samples(Gst, self.pipeline.get_by_name(kind), rate, self.origin)
            for kind, rate in RATES.items()
        }
        self.bus = Bus(Gst, self.pipeline)
        self.process = Process()
        self.counts: collections.Counter[str] = collections.Counter()
        self.marks: dict[str, tuple[int, int, int]] = {}

    def now(self) -> float:
        return time.monotonic() - self.origin

    def wait_until(self, due: float) -> bool:
        """Reads the bus until then; false when the pipeline has ended."""
        while self.now() < due:
            if not self.bus.read(0.1):
                return False
        return True

    def excuse(self, fault: Fault, begin: float, end: float) -> None:
        """Says what the fault may cost: its target's samples, from a second before it on."""
        for kind in fault.targets:
            self.samples[kind].excuse(begin - 1.0, end, fault.name)
        if fault.video:
            self.video.excuse(begin, end)

    def inject(self, fault: Fault) -> bool:
        begin = self.now()
        self.excuse(fault, begin, begin + fault.seconds + fault.settle)
        fault.begin(self)
        if not self.wait_until(begin + fault.seconds):
            return False
        fault.end(self)
        self.counts[fault.name] += 1
        return True

    def row(self, file: object, fault: str) -> None:
        rss, threads, fds = self.process.figures()
        cells = [f"{self.now():.0f}", rss, threads, fds, self.video.came, self.video.left]
        cells += [self.bus.answers]
        for samples in self.samples.values():
            cells += [samples.received, samples.lost, samples.excused]
        print(*cells, fault, sep=",", file=file, flush=True)  # type: ignore[call-overload]

    def go(self) -> bool:
        self.senders.start_all()
        self.pipeline.set_state(self.gst.State.PLAYING)
        with self.csv.open("w") as file:
            names = [f"{k.lower()}-{w}" for k in RATES for w in ("received", "lost", "excused")]
            head = ["seconds", "rss-kb", "threads", "fds", "frames-in", "frames-out", "answers"]
            print(*head, *names, "fault", sep=",", file=file)
            alive = self.wait_until(CALM)
            self.marks["start"] = self.process.figures()
            round_ends = CALM + PERIOD * len(FAULTS)
            number = 0
            while alive and self.now() + PERIOD < self.seconds:
                due = CALM + number * PERIOD
                if due >= round_ends and "round" not in self.marks:
                    self.marks["round"] = self.process.figures()
                fault = FAULTS[number % len(FAULTS)]
                alive = self.inject(fault) and self.wait_until(due + PERIOD)
                number += 1
                self.row(file, fault.name)
            alive = alive and self.wait_until(self.now() + PERIOD)
            self.row(file, "")
        self.marks.setdefault("round", self.marks["start"])
        self.marks["end"] = self.process.figures()
        return alive

    def stop(self) -> float:
        """Seconds until NULL."""
        # A frame that is on its way when the pipeline stops is not lost.
        self.video.closed_until = math.inf
        self.wait_until(self.now() + 1.0)
        begin = time.monotonic()
        self.pipeline.set_state(self.gst.State.NULL)
        took = time.monotonic() - begin
        self.senders.stop_all()
        return took

    def report(self, alive: bool, stopping: float) -> int:
        limits = []
        print(f"{self.now():.0f} s, {sum(self.counts.values())} faults: ", end="")
        print(", ".join(f"{name} {count}" for name, count in sorted(self.counts.items())))
        print("\n| | start | after one round of faults | end |\n|---|---|---|---|")
        for i, title in enumerate(("RSS (KB)", "threads", "file descriptors")):
            cells = " | ".join(str(self.marks[m][i]) for m in ("start", "round", "end"))
            print(f"| {title} | {cells} |")
        print("\n| stream | received | lost outside faults | lost in faults | p50 | p99 |")
        print("|---|---|---|---|---|---|")
        for kind, samples in self.samples.items():
            p50, p99 = (f"{samples.error(q):.1f} ms" for q in (0.5, 0.99))
            print(f"| {kind} | {samples.received} | {samples.lost} | {samples.excused}", end="")
            print(f" | {p50} | {p99} |")
            if samples.error(0.99) > MOST_ERROR:
                limits.append(f"{kind}: times {p99} off, at most {MOST_ERROR} ms expected")
            if samples.lost:
                limits.append(f"{kind}: {samples.lost} samples lost outside faults")
                limits += [f"{kind}: {where}" for where in samples.where]
        print("\nlost in faults: ", end="")
        lists = [f"{n} {k} {c}" for k, s in self.samples.items() for n, c in s.by_fault.items()]
        print(", ".join(lists))
        lost = self.video.lost()
        print(f"\nframes: {self.video.came} came, {self.video.left} left, {lost} lost; ", end="")
        print(f"longest time between two {self.video.longest:.2f} s outside faults of the video")
        print(f"answers: {self.bus.answers}, longest time without {self.bus.longest:.1f} s")
        print(f"NULL after {stopping:.2f} s")
        print("\nmessages: ", end="")
        print(", ".join(f"{n} {c}" for n, c in sorted(self.bus.messages.items())))
        for text, count in self.bus.warnings.most_common(20):
            print(f"- {count} × {text}")
        if not alive:
            limits.append(f"the pipeline ended: {self.bus.error}")
        start, settled, end = (self.marks[m] for m in ("start", "round", "end"))
        for what, is_, most in (
            ("frames lost", lost, 0),
            ("growth of RSS after the first round, KB", end[0] - settled[0], MOST_GROWTH_KB),
            ("more threads than at start", end[1] - start[1], MOST_THREADS),
            ("more file descriptors than at start", end[2] - start[2], MOST_FDS),
            ("seconds without an answer", self.bus.longest, LONGEST_WITHOUT_ANSWER),
            ("seconds without a frame", self.video.longest, LONGEST_WITHOUT_FRAME),
            ("seconds until NULL", stopping, 1.0),
        ):
            if is_ > most:
                limits.append(f"{what}: {is_:.4g}, at most {most} expected")
        for limit in limits:
            print(f"\nLIMIT {limit}")
        print(f"\n{'FAILED' if limits else 'passed'}")
        return 1 if limits else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--csv", type=Path, required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        configuration = directory / "lsl_api.cfg"
        configuration.write_text(CONFIGURATION.format(pid=os.getpid()))
        os.environ["LSLAPICFG"] = str(configuration)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        run = Run(arguments.seconds, directory, arguments.csv)
        try:
            alive = run.go()
            return run.report(alive, run.stop())
        finally:
            run.senders.stop_all()


if __name__ == "__main__":
    sys.exit(main())
