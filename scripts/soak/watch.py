# SPDX-License-Identifier: MPL-2.0
"""What a soak run watches: samples, frames, the bus, and the process itself."""

from __future__ import annotations

import collections
import math
import re
import struct
import threading
import time
from pathlib import Path
from typing import Any


class Samples:
    """The numbers of the samples that leave one lslsrc, and how far their times are off."""

    # Bins of the errors: a tenth of a millisecond wide, the last one open.
    BINS = 20_000

    def __init__(self, gst: Any, source: Any, rate: float, origin: float) -> None:
        self.gst = gst
        self.source = source
        self.rate = rate
        self.origin = origin
        self.channels = 2
        self.received = 0
        self.lost = 0
        self.excused = 0
        self.by_fault: collections.Counter[str] = collections.Counter()
        self.where: list[str] = []
        self.last: int | None = None
        self.errors = [0] * self.BINS
        self.windows: collections.deque[tuple[float, float, str]] = collections.deque(maxlen=8)
        pad = source.get_static_pad("src")
        kinds = gst.PadProbeType.BUFFER | gst.PadProbeType.EVENT_DOWNSTREAM
        pad.add_probe(kinds, self.take)

    def excuse(self, begin: float, end: float, fault: str) -> None:
        self.windows.append((begin, end, fault))

    def fault_at(self, t: float) -> str | None:
        return next((name for begin, end, name in self.windows if begin <= t <= end), None)

    def take(self, _pad: Any, info: Any) -> Any:
        event = info.get_event() if info.type & self.gst.PadProbeType.EVENT_DOWNSTREAM else None
        if event is not None:
            if event.type == self.gst.EventType.CAPS:
                caps = event.parse_caps()
                self.channels = caps.get_structure(0).get_int("channels")[1]
            return self.gst.PadProbeReturn.OK
        buffer = info.get_buffer()
        data = buffer.extract_dup(0, buffer.get_size())
        values = struct.unpack(f"={len(data) // 8}d", data)
        count = len(values) // self.channels
        if self.channels != 2 or count == 0:
            return self.gst.PadProbeReturn.OK
        begin = (self.source.get_base_time() + buffer.pts) / 1e9 - self.origin
        step = buffer.duration / 1e9 / count
        for i in range(count):
            number = values[2 * i + 1]
            if number >= 0.0 and math.isfinite(number):
                self.number(int(number), begin + i * step)
        return self.gst.PadProbeReturn.OK

    def number(self, n: int, t: float) -> None:
        self.received += 1
        due = n / self.rate
        if self.last is not None and n > self.last + 1:
            for missing in range(self.last + 1, n):
                fault = self.fault_at(missing / self.rate)
                if fault is not None:
                    self.excused += 1
                    self.by_fault[fault] += 1
                else:
                    self.lost += 1
                    if len(self.where) < 10:
                        self.where.append(f"sample {missing}, of second {missing / self.rate:.2f}")
        self.last = n if self.last is None else max(n, self.last)
        if self.fault_at(due) is None:
            bin_ = min(int(abs(t - due) * 1e4), self.BINS - 1)
            self.errors[bin_] += 1

    def error(self, share: float) -> float:
        """The quantile of the errors outside faults, milliseconds."""
        wanted = share * sum(self.errors)
        for bin_, count in enumerate(self.errors):
            wanted -= count
            if wanted <= 0:
                return (bin_ + 1) / 10
        return math.inf


class Video:
    """The frames that come from the camera, and those that reach the sink."""

    def __init__(self, gst: Any, pipeline: Any) -> None:
        self.gst = gst
        self.came = 0
        self.left = 0
        self.longest = 0.0
        self.seen: float | None = None
        self.closed_until = 0.0
        self.stall = 0.0
        self.excused_until = 0.0
        camera = pipeline.get_by_name("camera").get_static_pad("src")
        camera.add_probe(gst.PadProbeType.BUFFER, self.take)
        sink = pipeline.get_by_name("sink").get_static_pad("sink")
        sink.add_probe(gst.PadProbeType.BUFFER, self.give)

    def excuse(self, begin: float, end: float) -> None:
        self.excused_until = time.monotonic() + end - begin

    def take(self, _pad: Any, _info: Any) -> Any:
        """A gap: frames do not come. A stall: they come late."""
        if self.stall:
            seconds, self.stall = self.stall, 0.0
            time.sleep(seconds)
        if time.monotonic() < self.closed_until:
            return self.gst.PadProbeReturn.DROP
        self.came += 1
        return self.gst.PadProbeReturn.OK

    def give(self, _pad: Any, _info: Any) -> Any:
        now = time.monotonic()
        if self.seen is not None and now > self.excused_until:
            self.longest = max(self.longest, now - self.seen)
        self.seen = now
        self.left += 1
        return self.gst.PadProbeReturn.OK

    def lost(self) -> int:
        return self.came - self.left


class Bus:
    """The messages of the pipeline, counted."""

    def __init__(self, gst: Any, pipeline: Any) -> None:
        self.gst = gst
        self.bus = pipeline.get_bus()
        self.messages: collections.Counter[str] = collections.Counter()
        self.warnings: collections.Counter[str] = collections.Counter()
        self.error = ""
        self.answers = 0
        self.longest = 0.0
        self.answered: float | None = None

    def read(self, seconds: float) -> bool:
        """Waits for one message; false after an error or the end of the stream."""
        types = self.gst.MessageType
        message = self.bus.timed_pop(int(seconds * 1e9))
        if message is None:
            return True
        source = message.src.get_name() if message.src else "?"
        if message.type == types.ELEMENT:
            name = message.get_structure().get_name()
            self.messages[name] += 1
            if name == "mvp-emotion":
                self.answer()
        elif message.type == types.WARNING:
            error, _ = message.parse_warning()
            self.messages["warning"] += 1
            # Figures differ each time; the kind counts.
            text = re.sub(r"\d+(\.\d+)?", "N", str(error.message))
            self.warnings[f"{source}: {text}"] += 1
        elif message.type == types.ERROR:
            error, debug = message.parse_error()
            self.error = f"{source}: {error.message} ({debug})"
            return False
        elif message.type == types.EOS:
            self.error = "end of stream"
            return False
        return True

    def answer(self) -> None:
        now = time.monotonic()
        if self.answered is not None:
            self.longest = max(self.longest, now - self.answered)
        self.answered = now
        self.answers += 1


class Process:
    """The size of this process, in which the pipeline runs."""

    def figures(self) -> tuple[int, int, int]:
        """Resident memory (KB), threads, file descriptors."""
        status = Path("/proc/self/status").read_text()
        field = dict(line.split(":", 1) for line in status.splitlines())
        fds = len(list(Path("/proc/self/fd").iterdir()))
        return int(field["VmRSS"].split()[0]), int(field["Threads"]), fds


def hog(seconds: float, count: int) -> None:
    """Keeps `count` cores busy for a while, in processes of their own."""
    import subprocess

    command = ["timeout", str(seconds), "sh", "-c", "while :; do :; done"]
    processes = [subprocess.Popen(command) for _ in range(count)]
    threading.Thread(target=lambda: [p.wait() for p in processes], daemon=True).start()
