# SPDX-License-Identifier: MPL-2.0
"""The senders of a soak run, and the faults that befall them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from watch import hog


class Senders:
    """One process for each stream."""

    def __init__(self, here: Path, rates: dict[str, float], origin: float) -> None:
        self.here = here
        self.rates = rates
        self.origin = origin
        self.running: dict[str, subprocess.Popen[str]] = {}
        self.others: list[subprocess.Popen[bytes]] = []

    def start(self, kind: str, *options: str) -> None:
        script = [sys.executable, str(self.here / "send.py"), kind]
        rate = ["--rate", str(self.rates[kind]), "--origin", repr(self.origin)]
        self.running[kind] = subprocess.Popen(
            [*script, *rate, *options], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )

    def start_all(self) -> None:
        for kind in self.rates:
            self.start(kind)

    def kill(self, kind: str) -> None:
        process = self.running.pop(kind)
        process.kill()
        process.wait()

    def restart(self, kind: str, *options: str) -> None:
        if kind in self.running:
            self.kill(kind)
        self.start(kind, *options)

    def tell(self, kind: str, command: str, seconds: float) -> None:
        pipe = self.running[kind].stdin
        assert pipe is not None
        pipe.write(f"{command} {seconds}\n")
        pipe.flush()

    def send_signal(self, kind: str, number: int) -> None:
        os.kill(self.running[kind].pid, number)

    def crowd(self, seconds: float, count: int) -> None:
        script = str(self.here / "crowd.py")
        command = [sys.executable, script, str(seconds), str(count)]
        self.others = [p for p in self.others if p.poll() is None]
        self.others.append(subprocess.Popen(command))

    def stop_all(self) -> None:
        for kind in list(self.running):
            self.kill(kind)
        for process in self.others:
            process.kill()
            process.wait()


def nothing(_run: Any) -> None:
    pass


@dataclass(frozen=True)
class Fault:
    """What is done at its begin and, `seconds` later, at its end."""

    name: str
    seconds: float
    begin: Callable[[Any], None]
    end: Callable[[Any], None] = nothing
    # Streams that may lose samples by it, and for how long after its end.
    targets: list[str] = field(default_factory=list)
    settle: float = 3.0
    # Whether frames may fail to come by it.
    video: bool = False


def told(name: str, kind: str, command: str, seconds: float, loses: bool = True) -> Fault:
    """A fault that the sender makes itself."""
    targets = [kind] if loses else []
    return Fault(
        name, seconds, lambda run: run.senders.tell(kind, command, seconds), nothing, targets
    )


def killed(kind: str) -> Fault:
    return Fault(
        "sender killed, restarted after 2 s",
        2.0,
        lambda run: run.senders.kill(kind),
        lambda run: run.senders.restart(kind),
        [kind],
    )


def stopped(kind: str, seconds: float) -> Fault:
    return Fault(
        f"sender stopped (SIGSTOP) for {seconds:g} s",
        seconds,
        lambda run: run.senders.send_signal(kind, signal.SIGSTOP),
        lambda run: run.senders.send_signal(kind, signal.SIGCONT),
        [kind],
    )


def relabelled(kind: str) -> Fault:
    return Fault(
        "sender restarted with other channels",
        4.0,
        lambda run: run.senders.restart(kind, "--labels", "wrong"),
        lambda run: run.senders.restart(kind),
        [kind],
    )


def close_camera(seconds: float) -> Callable[[Any], None]:
    import time

    def close(run: Any) -> None:
        run.video.closed_until = time.monotonic() + seconds

    return close


def stall_camera(seconds: float) -> Callable[[Any], None]:
    def stall(run: Any) -> None:
        run.video.stall = seconds

    return stall


FAULTS = [
    killed("ECG"),
    told("NaN as values", "EDA", "nan", 2.0, loses=False),
    Fault("video gap of 3 s", 3.0, close_camera(3.0), video=True),
    told("gap of 2 s", "PPG", "gap", 2.0),
    stopped("ECG", 3.0),
    told("one timestamp 60 s ahead", "EDA", "ahead", 1.0),
    Fault("both cores hogged for 5 s", 5.0, lambda run: hog(5.0, os.cpu_count() or 1)),
    told("flood of 20,000 samples", "PPG", "flood", 1.0, loses=False),
    killed("EDA"),
    told("NaN as timestamps", "ECG", "nan-stamps", 1.0),
    Fault("50 other outlets and doubles", 4.0, lambda run: run.senders.crowd(4.0, 50)),
    # Lasts until the sender is restarted, four faults later.
    Fault(
        "clock step of 100 s",
        1.0,
        lambda run: run.senders.tell("PPG", "step", 100.0),
        targets=["PPG"],
    ),
    stopped("EDA", 7.0),
    told("a value of 1e300", "ECG", "huge", 1.0, loses=False),
    Fault("camera stalls for 1.5 s", 1.5, stall_camera(1.5), video=True),
    killed("PPG"),
    told("timestamps backwards", "ECG", "backwards", 2.0),
    relabelled("ECG"),
]
