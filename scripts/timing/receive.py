# SPDX-License-Identifier: MPL-2.0
"""Compares lslsrc and liblsl's own DEJITTER + CLOCKSYNC with the truth, on one traffic.

Prints a Markdown table of absolute errors in milliseconds; the exit status is 1 when a row
of lslsrc misses its goal. Needs the environment of target/env.sh.
"""

from __future__ import annotations

import argparse
import atexit
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent

CONFIGURATION = """[ports]
MulticastPort = 26971
BasePort = 26972
PortRange = 64
AllowRandomPorts = 1
IPv6 = disable
[multicast]
ResolveScope = machine
MachineAddresses = {{127.0.0.1}}
Interfaces = {{127.0.0.1}}
ListenAddress = 127.0.0.1
[lab]
KnownPeers = {{127.0.0.1}}
SessionID = timing-{pid}
[log]
level = -3
"""


def configure(directory: Path) -> None:
    """Gives this process and its children an LSL of their own; before liblsl is loaded."""
    path = directory / "lsl_api.cfg"
    path.write_text(CONFIGURATION.format(pid=os.getpid()))
    os.environ["LSLAPICFG"] = str(path)


class Ours:
    """Sample numbers and times, LSL clock of this host, by lslsrc."""

    def __init__(self, name: str) -> None:
        import gi  # type: ignore[import-not-found,import-untyped,unused-ignore]

        gi.require_version("Gst", "1.0")
        from gi.repository import Gst  # type: ignore[import-not-found,unused-ignore]

        Gst.init(None)
        self.gst = Gst
        self.samples: dict[int, float] = {}
        line = f"lslsrc name=src stream-name={name} ! fakesink name=sink sync=false async=false"
        self.pipeline = Gst.parse_launch(line)
        self.source = self.pipeline.get_by_name("src")
        pad = self.source.get_static_pad("src")
        pad.add_probe(Gst.PadProbeType.BUFFER, self.take)
        self.pipeline.set_state(Gst.State.PLAYING)

    def take(self, _pad: object, info: object) -> object:
        buffer = info.get_buffer()  # type: ignore[attr-defined]
        data = buffer.extract_dup(0, buffer.get_size())
        numbers = struct.unpack(f"={len(data) // 8}d", data)
        begin = (self.source.get_base_time() + buffer.pts) / 1e9
        step = buffer.duration / 1e9 / len(numbers)
        for i, n in enumerate(numbers):
            self.samples[int(n)] = begin + i * step
        return self.gst.PadProbeReturn.OK

    def stop(self) -> dict[str, object]:
        stats = self.source.get_property("stats")
        names = [stats.nth_field_name(i) for i in range(stats.n_fields())]
        told = {name: stats.get_value(name) for name in names}
        self.pipeline.set_state(self.gst.State.NULL)
        return told


class Theirs:
    """The same by an inlet of liblsl with its post-processing."""

    def __init__(self, name: str) -> None:
        import pylsl

        (found,) = pylsl.resolve_byprop("name", name, timeout=20)
        flags = pylsl.proc_clocksync | pylsl.proc_dejitter
        self.inlet = pylsl.StreamInlet(found, max_buflen=60, processing_flags=flags)
        self.t0 = float(self.inlet.info(timeout=10).desc().child_value("t0"))
        self.inlet.open_stream(timeout=10)
        self.samples: dict[int, float] = {}

    def pull(self) -> None:
        values, stamps = self.inlet.pull_chunk(timeout=0.0, max_samples=4096)
        for value, stamp in zip(values, stamps, strict=True):
            self.samples[int(value[0])] = stamp


def preload(directory: Path) -> dict[str, str]:
    """The environment of a process whose monotonic clock drifts."""
    from rows import DRIFT_PPM

    library = directory / "drift.so"
    source = HERE / "drift.c"
    command = ["cc", "-O1", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    subprocess.run(command, check=True)
    # By now it is 20 ms off: clocks less than 1 ms apart on one host are taken for one.
    anchor = time.clock_gettime(time.CLOCK_MONOTONIC) - 200.0
    return {
        "LD_PRELOAD": str(library),
        "DRIFT_PPM": repr(DRIFT_PPM),
        "DRIFT_ANCHOR": repr(anchor),
    }


def namespaces() -> bool:
    """Whether this user may give a process another monotonic clock."""
    command = ["unshare", "-T", "--monotonic", "5000", "--fork", "true"]
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0


def quantiles(errors: list[float]) -> tuple[float, float, float]:
    """p50, p99 and maximum."""
    errors = sorted(errors)
    last = len(errors) - 1
    return errors[round(last * 0.5)], errors[round(last * 0.99)], errors[last]


def main() -> int:
    from rows import DRIFT_PPM, NAMESPACE_OFFSET, ROWS, SHORTEST, Row

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=150.0, help="of traffic, 110 at least")
    parser.add_argument("--json", type=Path, help="also write every figure here")
    arguments = parser.parse_args()
    if arguments.seconds < SHORTEST:
        parser.error(f"--seconds {arguments.seconds}: the longest gap needs {SHORTEST}")

    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        configure(directory)
        rows = list(ROWS)
        if not namespaces():
            print("(no time namespaces for this user: the row of another clock is left out)\n")
            rows = [row for row in rows if row.clock != "namespace"]
        drift = preload(directory)
        anchor = float(drift["DRIFT_ANCHOR"])
        send = [sys.executable, str(HERE / "send.py")]
        commands = {
            "host": send,
            "drift": send,
            "namespace": [
                *("unshare", "-T", "--monotonic", str(int(NAMESPACE_OFFSET))),
                *("--fork", "--kill-child"),
                *send,
            ],
        }
        senders = []
        for clock in sorted({row.clock for row in rows}):
            environment = {**os.environ, **(drift if clock == "drift" else {})}
            command = [*commands[clock], clock, str(arguments.seconds)]
            sender = subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, text=True
            )
            senders.append(sender)
        atexit.register(lambda: [sender.kill() for sender in senders])
        for sender in senders:
            if sender.stdout is None or "ready" not in sender.stdout.readline():
                sys.exit("a sender did not start")
        theirs = {row.name: Theirs(row.name) for row in rows}
        ours = {row.name: Ours(row.name) for row in rows}

        done = threading.Event()

        def pull(inlet: Theirs) -> None:
            while not done.wait(0.02):
                inlet.pull()

        threads = [threading.Thread(target=pull, args=(inlet,)) for inlet in theirs.values()]
        for thread in threads:
            thread.start()
        for sender in senders:
            if sender.wait() != 0:
                print(f"a sender ended with {sender.returncode}", file=sys.stderr)
        done.set()
        for thread in threads:
            thread.join()
        stats = {row.name: ours[row.name].stop() for row in rows}

    def truth(row: Row, n: int) -> float:
        """When sample n was taken, on the LSL clock of this host."""
        time = theirs[row.name].t0 + n / row.rate
        if row.clock == "namespace":
            return time - NAMESPACE_OFFSET
        if row.clock == "drift":
            return anchor + (time - anchor) / (1 + DRIFT_PPM * 1e-6)
        return time

    failed = []
    told: dict[str, object] = {}
    print("| | lslsrc p50 | p99 | max | liblsl p50 | p99 | max | goal |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        cells = []
        figures: dict[str, object] = {"stats": {k: str(v) for k, v in stats[row.name].items()}}
        for who, samples in (
            ("lslsrc", ours[row.name].samples),
            ("liblsl", theirs[row.name].samples),
        ):
            errors = [
                abs(time - truth(row, n)) * 1e3
                for n, time in samples.items()
                if n / row.rate >= row.judged_from
            ]
            if not errors:
                sys.exit(f"{row.title}: {who} gave no samples")
            found = quantiles(errors)
            cells += [f"{value:.3f}" for value in found]
            figures[who] = {"p50": found[0], "p99": found[1], "max": found[2], "n": len(errors)}
            if who == "lslsrc" and found[1 if row.figure == "p99" else 2] > row.goal_ms:
                failed.append(row.title)
        told[row.name] = figures
        goal = f"{row.figure} ≤ {row.goal_ms:g}"
        print(f"| {row.title} | {' | '.join(cells)} | {goal} |")
    if arguments.json:
        arguments.json.write_text(json.dumps(told, indent=1))
    for title in failed:
        print(f"\nMissed: {title}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
