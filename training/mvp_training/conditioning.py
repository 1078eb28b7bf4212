# SPDX-License-Identifier: MPL-2.0
"""Signals as the live element makes them: run through the plugin's own program.

`mvp-offline condition` and `mvp-offline units` are built from the rooms that serve
(`crates/conditioning`), so training and serving cannot drift apart.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .config import Config
from .data.recording import DataError, Recording, Signal, UnitTrack

Grid = npt.NDArray[np.float32]


class Conditioner:
    """Runs the program on one configuration.

    program: path of `mvp-offline`; None looks at $MVP_OFFLINE, the source tree's `target`
    and PATH. A missing program raises `DataError` and says how to build it.
    """

    def __init__(self, config: Config, program: str | Path | None = None) -> None:
        self.config = config
        self.program = find(program)
        self._folder = tempfile.TemporaryDirectory(prefix="mvp-training-")
        self.manifest = Path(self._folder.name) / "signals.toml"
        self.manifest.write_text(config.text)

    def signal(self, name: str, signal: Signal) -> Grid:
        """float32 [points]: the signal `name` of the configuration, made from `signal`, on
        its grid from the recording's start; NaN where there is nothing."""
        rows = np.empty(len(signal), [("t", "<u8"), ("v", "<f8")])
        rows["t"], rows["v"] = signal.times, signal.values
        arguments = ["condition", str(self.manifest), "--signal", name, "--rate", repr(signal.rate)]
        return np.frombuffer(self._run(arguments, rows.tobytes(), name), "<f4")

    def units(self, track: UnitTrack) -> Grid:
        """float32 [points, U] in the configuration's order; a row of NaN where no face is."""
        wanted = self.config.video.units
        missing = [u for u in wanted if u not in track.names]
        if missing:
            raise DataError(
                f"the face units lack {', '.join(missing)}; the configuration's [video] units"
                f" must be among {', '.join(track.names)}"
            )
        order = [track.names.index(u) for u in wanted]
        kind = [("t", "<u8"), ("c", "<f8"), ("u", "<f8", (len(order),))]
        rows = np.empty(len(track), kind)
        rows["t"], rows["c"], rows["u"] = track.times, track.confidence, track.values[:, order]
        flat = self._run(["units", str(self.manifest)], rows.tobytes(), "units")
        return np.frombuffer(flat, "<f4").reshape(-1, len(order))

    def _run(self, arguments: list[str], data: bytes, what: str) -> bytes:
        done = subprocess.run([str(self.program), *arguments], input=data, capture_output=True)
        if done.returncode:
            raise DataError(f"{what}: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout


def find(program: str | Path | None = None) -> Path:
    """The path of `mvp-offline`."""
    root = Path(__file__).resolve().parents[2]
    places = [program, os.environ.get("MVP_OFFLINE")]
    places += [root / "target" / kind / "mvp-offline" for kind in ("release", "debug")]
    places.append(shutil.which("mvp-offline"))
    for place in places:
        if place and os.access(place, os.X_OK):
            return Path(place)
    raise DataError(
        "the program mvp-offline was not found; build it with"
        " 'cargo build --release --bin mvp-offline' or name it in MVP_OFFLINE"
    )


@dataclass(frozen=True, eq=False)
class Part:
    """Chunks of video (`values` [chunks, n, U], `valid` [chunks, n]) or of a stream
    (`values` and `valid` [chunks, c, n]); `there` [chunks]: 1.0 where the live element would
    encode the chunk; `share` [chunks]: the share of the modality's points that are held."""

    values: Grid
    valid: Grid
    there: Grid
    share: Grid


def _chunks(
    grids: list[Grid], rate: float, context: float, chunk: float, count: int
) -> tuple[Grid, Grid]:
    """Grids [points, ...] -> values [count, len(grids), n, ...] and valid [count, .., n]."""
    before, points = round(context * rate), round(chunk * rate)
    n = before + points
    rows = np.arange(count)[:, None] * points + np.arange(-before, points)[None, :]
    values, valid = [], []
    for grid in grids:
        length = grid.shape[0]
        held = (rows >= 0) & (rows < length)
        taken = grid[np.clip(rows, 0, max(length - 1, 0))] if length else np.full(
            (count, n, *grid.shape[1:]), np.nan, np.float32
        )
        good = np.isfinite(taken) if taken.ndim == 2 else np.isfinite(taken).all(2)
        good &= held
        mask = good if taken.ndim == 2 else good[..., None]
        values.append(np.where(mask, taken, 0.0).astype(np.float32))
        valid.append(good.astype(np.float32))
    return np.stack(values, 1), np.stack(valid, 1)


def parts(recording: Recording, conditioner: Conditioner) -> list[Part]:
    """A recording cut into chunks as the live element cuts it: video first, then streams."""
    config = conditioner.config
    window = config.window
    count = int(recording.end_ns / 1e9 / window.chunk)
    if count < window.chunks:
        raise DataError(
            f"{recording.name}: {recording.end_ns / 1e9:.1f} s long; expected at least one window"
            f" of {window.duration:g} s"
        )
    empty = np.empty(0, np.float32)
    video = config.video
    units = (
        np.empty((0, len(video.units)), np.float32)
        if recording.units is None
        else conditioner.units(recording.units)
    )
    values, valid = _chunks([units], video.rate, video.encoder.context, window.chunk, count)
    result = [_part(values[:, 0], valid[:, 0], round(window.chunk * video.rate), config)]
    for stream in config.streams:
        rate = config.stream_rate(stream)
        points = round(window.chunk * rate)
        rows, flags = [], []
        for alternatives in stream.channels:
            grids = []
            for name in alternatives:
                source = recording.signals.get(config.modality(name))
                grids.append(empty if source is None else conditioner.signal(name, source))
            v, f = _chunks(grids, rate, stream.encoder.context, window.chunk, count)
            # Whichever covers more of the chunk, the first in case of a tie.
            best = f[:, :, -points:].sum(2).argmax(1)
            rows.append(np.take_along_axis(v, best[:, None, None], 1)[:, 0])
            flags.append(np.take_along_axis(f, best[:, None, None], 1)[:, 0])
        result.append(_part(np.stack(rows, 1), np.stack(flags, 1), points, config))
    return result


def _part(values: Grid, valid: Grid, points: int, config: Config) -> Part:
    held = valid[..., -points:]
    best = held.sum(-1) if held.ndim == 2 else held.sum(-1).max(1)
    enough = (best > 0) & (best >= config.window.min_chunk_coverage * points)
    return Part(values, valid, enough.astype(np.float32), (best / points).astype(np.float32))
