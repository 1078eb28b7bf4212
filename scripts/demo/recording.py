# SPDX-License-Identifier: MPL-2.0
"""The body of the demonstration: a laboratory recording cut to device rates.

`medical.txt.bz2` of the Python package pyphysio 4.10.0 holds 120 s of one
person at rest: ECG, EDA, BVP and respiration, one sample per line. Its note
says 1024 Hz, its own loader 2048 Hz; only 2048 Hz gives the 120 s that the
note also states, a heart rate of 65/min and 12 breaths a minute.
"""

import bz2
from dataclasses import dataclass

import numpy as np

RATE = 2048
COLUMNS = 4


@dataclass(frozen=True)
class Stream:
    """One LSL stream of the demonstration."""

    name: str  # also the LSL type
    label: str
    column: int
    rate: int  # Hz
    chunk: int  # samples per push, as a device's packet
    unit: str


STREAMS = [
    Stream("EDA", "EDA", 1, 4, 1, "uS"),
    Stream("ECG", "ECG", 0, 256, 16, "mV"),
    # The recording does not say its unit.
    Stream("PPG", "BVP", 2, 64, 8, "a.u."),
]


def load(path):
    """Reads the recording: float64 [samples, 4], at RATE.

    Raises ValueError when the file is something else.
    """
    try:
        with bz2.open(path, "rt") as f:
            data = np.loadtxt(f, ndmin=2)
    except (OSError, EOFError, ValueError) as e:
        raise ValueError(f"{path}: not the recording that was expected ({e}); remove it and run scripts/setup.sh") from e
    if data.shape[1] != COLUMNS or len(data) < 10 * RATE or not np.isfinite(data).all():
        raise ValueError(
            f"{path}: expected at least 10 s of {COLUMNS} finite columns at {RATE} Hz, "
            f"found {data.shape[0]} lines of {data.shape[1]}; remove it and run scripts/setup.sh"
        )
    return data


def decimate(x, factor):
    """Every `factor`-th sample of `x`, after a low-pass that nothing folds through.

    The windowed sinc is centred, so a sample keeps its time. It is 6 dB down at
    0.8 of the new Nyquist frequency.
    """
    half = 8 * factor
    n = np.arange(-half, half + 1)
    taps = np.sinc(0.8 * n / factor) * np.blackman(len(n))
    taps /= taps.sum()
    padded = np.pad(x, half, mode="edge")
    # Only the kept samples are computed.
    windows = np.lib.stride_tricks.sliding_window_view(padded, len(taps))[::factor]
    return (windows @ taps).astype(np.float32)


def signals(data):
    """The samples of every stream, by its name, float32."""
    return {s.name: decimate(data[:, s.column], RATE // s.rate) for s in STREAMS}
