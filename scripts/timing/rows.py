# SPDX-License-Identifier: MPL-2.0
"""The traffic that bench_timing sends, and what each row must show."""

from __future__ import annotations

from dataclasses import dataclass

NAMESPACE_OFFSET = 5000.0
DRIFT_PPM = 100.0


@dataclass(frozen=True)
class Row:
    """One stream. Times are seconds since its first sample."""

    name: str
    title: str
    rate: float
    packet: int
    # Standard deviation of a packet's stamp around the truth, seconds.
    jitter: float
    # Whose clock the stamps are of: "host", "namespace" or "drift".
    clock: str
    # What is judged: from here on.
    judged_from: float
    # The figure, "p99" or "max", that must not be larger than the goal, milliseconds.
    figure: str
    goal_ms: float
    # Not sent at all.
    lost: tuple[float, float] | None = None
    # Sent all together at the end of it, with the time of that as the stamp.
    late: tuple[float, float] | None = None

    def clean(self) -> bool:
        return self.jitter == 0.0


ROWS = [
    Row("host", "one host, 256 Hz", 256, 16, 0.0, "host", 0.0, "p99", 1.0),
    Row("namespace", "clock +5000 s, 128 Hz, after 2 s", 128, 8, 0.0, "namespace", 2.0, "p99", 2.0),
    Row("drift", "clock +100 ppm, 128 Hz, after 2 s", 128, 8, 0.0, "drift", 2.0, "p99", 2.0),
    Row(
        "gap4", "4 s gap, 128 Hz, 0.5 s after it", 128, 16, 0.005, "host", 44.5, "max", 10.0,
        lost=(40.0, 44.0),
    ),
    Row(
        "gap60", "60 s gap, 4 Hz, 0.5 s after it", 4, 1, 0.005, "host", 100.5, "max", 10.0,
        lost=(40.0, 100.0),
    ),
    Row(
        "burst", "2 s late burst, 73 samples a packet, 130 Hz, after 30 s", 130, 73, 0.010, "host",
        30.0, "p99", 10.0, late=(60.0, 62.0),
    ),
    Row(
        "polar", "73 samples a packet, 130 Hz, after 30 s", 130, 73, 0.010, "host", 30.0, "p99",
        10.0,
    ),
]  # fmt: skip
SHORTEST = 110.0
