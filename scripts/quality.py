# SPDX-License-Identifier: MPL-2.0
"""How far disturbances of the sensors move the answers of a bundle.

    python scripts/quality.py STRESS_PREDICT [--model models/default] [--people 8]
        [--program target/debug/mvp-offline] [--against PROGRAM [--against-model DIRECTORY]]

STRESS_PREDICT is the unpacked data set (the directory with Raw_data). Each person's recording
is answered as it is and disturbed; a line for each disturbance has the mean and the largest
|difference| of arousal over all answers, the share of answers on the same side of one half
among those outside .45-.55, and the share of answers that are there in both. With --against the
answers of another build on the recordings as they are come first. Needs numpy and scipy.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import subprocess
import tempfile

import numpy as np
from scipy import signal as filters

ROOT = pathlib.Path(__file__).resolve().parents[1]
EDA_RATE, PPG_RATE = 4.0, 64.0
#: Seconds that are left out: the wristband begins with zeros and a settling filter.
SKIP = 30.0
#: Seconds between contact losses, and their length.
EVERY, LENGTH = 120.0, 5.0


def read(folder: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """EDA and PPG of a person; both begin at the same time."""
    eda, ppg = (np.loadtxt(folder / f"{name}.csv") for name in ("EDA", "BVP"))
    late = eda[0] - ppg[0]
    if abs(late) > 0.5:
        raise SystemExit(f"{folder}: EDA begins {late:.1f} s after the PPG, expected the same time")
    skip = int(SKIP)
    return eda[2 + skip * int(EDA_RATE) :], ppg[2 + skip * int(PPG_RATE) :]


def answers(
    program: pathlib.Path,
    model: pathlib.Path,
    signals: dict[str, tuple[float, np.ndarray]],
) -> list[dict]:
    """The answers of `mvp-offline` to signals (name: rate and values)."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = [str(program), "answer", str(model)]
        for name, (rate, values) in signals.items():
            rows = np.empty(len(values), [("t", "<u8"), ("v", "<f8")])
            rows["t"] = np.round(np.arange(len(values)) / rate * 1e9).astype(np.uint64)
            rows["v"] = values
            path = pathlib.Path(folder) / name
            path.write_bytes(rows.tobytes())
            arguments += ["--signal", f"{name}={rate!r}:{path}"]
        done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{program}: {done.stderr.strip()}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def losses(values: np.ndarray, rate: float, noise: np.ndarray) -> np.ndarray:
    """5 s of lost contact every 2 min, from 60 s on."""
    out = values.copy()
    for start in np.arange(60.0, len(values) / rate - LENGTH, EVERY):
        a, b = int(start * rate), int((start + LENGTH) * rate)
        out[a:b] = noise[a:b]
    return out


def spikes(values: np.ndarray, rate: float, height: float, dice: np.random.Generator) -> np.ndarray:
    """One sample in 20 s is off by `height`."""
    out = values.copy()
    at = dice.integers(0, len(values), int(len(values) / rate / 20.0))
    out[at] += height * dice.choice([-1.0, 1.0], len(at))
    return out


def resampled(values: np.ndarray, up: int, down: int) -> np.ndarray:
    base = values[0]
    return filters.resample_poly(values - base, up, down) + base


def cases(eda: np.ndarray, ppg: np.ndarray) -> dict[str, dict[str, tuple[float, np.ndarray]]]:
    """The recording disturbed in each way."""
    dice = np.random.default_rng(7)
    both = lambda e, p: {"eda": (EDA_RATE, e), "ppg": (PPG_RATE, p)}  # noqa: E731
    off = 0.003 * dice.uniform(-1.0, 1.0, len(eda))
    loose = 0.3 * np.std(ppg) * dice.standard_normal(len(ppg))
    spiked_eda = spikes(eda, EDA_RATE, 5.0 * float(np.median(eda)), dice)
    spiked_ppg = spikes(ppg, PPG_RATE, 10.0 * float(np.std(ppg)), dice)
    lost_eda, lost_ppg = losses(eda, EDA_RATE, off), losses(ppg, PPG_RATE, loose)
    return {
        "contact loss of EDA": both(lost_eda, ppg),
        "contact loss of EDA, NaN": both(losses(eda, EDA_RATE, np.full(len(eda), np.nan)), ppg),
        "contact loss of PPG (noise)": both(eda, lost_ppg),
        "contact loss of PPG (flat)": both(eda, losses(ppg, PPG_RATE, np.zeros(len(ppg)))),
        "contact loss of both": both(lost_eda, lost_ppg),
        "spikes of EDA": both(spiked_eda, ppg),
        "spikes of PPG": both(eda, spiked_ppg),
        "spikes of both": both(spiked_eda, spiked_ppg),
        "PPG upside down": both(eda, -ppg),
        "PPG x 1000 + 5": both(eda, 1000.0 * ppg + 5.0),
        "PPG at 128 Hz": {"eda": (EDA_RATE, eda), "ppg": (128.0, resampled(ppg, 2, 1))},
        "PPG at 50 Hz": {"eda": (EDA_RATE, eda), "ppg": (50.0, resampled(ppg, 25, 32))},
        "EDA at 8 Hz": {"eda": (8.0, resampled(eda, 2, 1)), "ppg": (PPG_RATE, ppg)},
        "EDA at 32 Hz": {"eda": (32.0, resampled(eda, 8, 1)), "ppg": (PPG_RATE, ppg)},
    }


def compare(clean: list[dict], other: list[dict]) -> np.ndarray:
    """Arousal of both where both have an answer that is more than the prior: [n, 2]."""
    pairs = [
        (a["arousal"], b["arousal"])
        for a, b in zip(clean, other)
        if a["arousal-logit"] is not None and b["arousal-logit"] is not None
    ]
    return np.array(pairs).reshape(-1, 2)


def line(name: str, pairs: list[np.ndarray], asked: int) -> str:
    both = np.concatenate(pairs)
    off = np.abs(both[:, 0] - both[:, 1])
    sure = np.abs(both - 0.5).min(1) > 0.05
    side = ((both[:, 0] > 0.5) == (both[:, 1] > 0.5))[sure].mean() if sure.any() else float("nan")
    return (
        f"{name:32s} mean {off.mean():.4f}  largest {off.max():.3f}"
        f"  same side {100 * side:.1f} %  both {100 * len(both) / asked:.1f} %"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("--model", type=pathlib.Path, default=ROOT / "models/default")
    parser.add_argument("--people", type=int, default=8)
    parser.add_argument("--program", type=pathlib.Path, default=ROOT / "target/debug/mvp-offline")
    parser.add_argument("--against", type=pathlib.Path)
    parser.add_argument("--against-model", type=pathlib.Path)
    parser.add_argument("--only", help="cases whose name has this in it")
    options = parser.parse_args()

    folders = sorted((options.data / "Raw_data").glob("S*"))
    # Evenly over the whole list.
    folders = [folders[i] for i in np.linspace(1, len(folders) - 1, options.people).astype(int)]
    results: dict[str, list[np.ndarray]] = {}
    asked: dict[str, int] = {}
    for folder in folders:
        eda, ppg = read(folder)
        plain = {"eda": (EDA_RATE, eda), "ppg": (PPG_RATE, ppg)}
        clean = answers(options.program, options.model, plain)
        every = {} if options.only == "-" else cases(eda, ppg)
        for name, signals in every.items():
            if options.only and options.only not in name:
                continue
            got = answers(options.program, options.model, signals)
            results.setdefault(name, []).append(compare(clean, got))
            asked[name] = asked.get(name, 0) + len(clean)
        if options.against:
            model = options.against_model or options.model
            name = "the other build, as it is"
            results.setdefault(name, []).append(
                compare(answers(options.against, model, plain), clean)
            )
            asked[name] = asked.get(name, 0) + len(clean)
        share = {
            f"{what}-{signal}": float(np.mean([a[f"{what}-{signal}"] for a in clean]))
            for what in ("coverage", "quality")
            for signal in ("eda", "ppg")
        }
        told = ", ".join(f"{k} {v:.2f}" for k, v in share.items())
        print(f"{folder.name}: {len(clean)} answers, {told}", flush=True)
    for name, pairs in results.items():
        print(line(name, pairs, asked[name]))


if __name__ == "__main__":
    main()
