#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Writes what the shipped network, in PyTorch, answers for 100 real windows of one person,
and the recording that they are cut from, so that Rust can be held to it without PyTorch.

    python training/reference.py RUN stress-predict.tar.xz S05 tests/data/default
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))

from mvp_training import heldout, run, train
from mvp_training.batches import Bodies
from mvp_training.calibration import valence_of
from mvp_training.conditioning import Conditioner
from mvp_training.data import stress_predict
from mvp_training.data.recording import SECOND, Recording, UnitTrack

SECONDS = 160


def main(folder: Path, data: Path, subject: str, out: Path) -> None:
    """Cuts the first SECONDS of the person's recording; faces go through six expressions."""
    here = run.open_run(folder)
    config = here.config
    whole = stress_predict.read(data, [subject])[0]
    signals = {k: s.between(0, SECONDS * SECOND) for k, s in whole.signals.items()}
    # Faces of the expressions file are not shipped: made ones, that move.
    random = np.random.default_rng(7)
    times = np.arange(0, SECONDS * SECOND, SECOND // 5)
    knots = random.beta(1.0, 5.0, (SECONDS // 10 + 2, len(config.video.units)))
    place = times / (10 * SECOND)
    low = place.astype(int)
    part = (place - low)[:, None]
    units = (knots[low] * (1 - part) + knots[low + 1] * part).astype(np.float32)
    sure = np.where((times > 40 * SECOND) & (times < 52 * SECOND), 0.1, 0.9)
    track = UnitTrack(times, units, sure.astype(np.float32), config.video.units)
    recording = Recording(subject, subject, signals, track, ())
    parts = heldout.condition([recording], Conditioner(config))
    bodies = Bodies(config, parts)
    network = run.load_network(here)
    chunks = config.window.chunks
    ends = np.arange(chunks, chunks + 100)
    evidence = run.read_evidence(here)

    def said(mask: tuple[int, ...] = ()) -> np.ndarray:
        """Logits of valence, from the calibrated classes where there are some, and arousal."""
        raw = train.body_logits(network, bodies, ends, mask)
        if evidence is None:
            return raw
        return np.stack([valence_of(evidence.logits(raw[:, 2:])), raw[:, 1]], 1)

    logits, bodily = said(), said((0,))
    out.mkdir(parents=True, exist_ok=True)
    for name, signal in signals.items():
        rows = np.empty(len(signal), [("t", "<u8"), ("v", "<f4")])
        rows["t"], rows["v"] = signal.times, signal.values
        (out / f"{name}.bin").write_bytes(rows.tobytes())
    (out / "units.bin").write_bytes(
        np.concatenate([sure[:, None].astype("<f4"), units.astype("<f4")], 1).tobytes()
    )
    calibrations = run.read_calibration(here)
    (out / "expected.json").write_text(json.dumps({
        "source": f"Stress-Predict (MIT licence, (c) 2022 Talha Iqbal), {subject}, first"
                  f" {SECONDS} s; made faces; logits by PyTorch {torch.__version__}",
        "rates": {k: s.rate for k, s in signals.items()},
        "ends": ends.tolist(),
        "both": np.round(logits, 7).tolist(),
        "physiology": np.round(bodily, 7).tolist(),
        "probability": [
            [round(float(calibrations[n].probability(row[i])), 7)
             for i, n in enumerate(run.OUTPUTS)] for row in logits
        ],
    }) + "\n")
    print(f"{out}: 100 windows, logits from {logits.min():.2f} to {logits.max():.2f}")


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
