#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Compares the features of crates/conditioning with NeuroKit2 on the same recordings.

    cargo build -p conditioning --example features
    scripts/features_reference.py [--ecg FILE.h5] [--e4 DIRECTORY]

FILE.h5: an OpenSignals recording, such as ecg_5_min.h5 of the wheel biosignalsnotebooks.
DIRECTORY: folders with BVP.csv and EDA.csv of an Empatica E4, such as Raw_data of the public
Stress-Predict-Dataset. Without either only simulated recordings are compared. Needs neurokit2,
hrv-analysis and, for FILE.h5, h5py. What it prints is in docs/measurements/features.md.

Each value is compared three ways: ours against NeuroKit2, and NeuroKit2 against a second way of
computing it offline. The second is the tolerance: as far as two toolboxes differ from each
other, no third can be wrong.
"""

import argparse
import subprocess
import sys
import types
import warnings
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
NAMES = ["hr", "rmssd", "sdnn", "pnn50", "lf-hf", "respiration-rate", "scl", "scr-rate"]
HRV = ["rmssd", "sdnn", "pnn50", "lf-hf"]
PIECE = 300


class Ours:
    """What the example `features` prints."""

    def __init__(self, kind: str, rate: float, values: np.ndarray) -> None:
        program = ROOT / "target/debug/examples/features"
        text = "\n".join(map(repr, values.astype(float).tolist()))
        run = subprocess.run([program, kind, str(rate)], input=text, capture_output=True, text=True, check=True)
        rows = [line.split() for line in run.stdout.splitlines()]
        numbers = {word: [[float(x) for x in r[1:]] for r in rows if r[0] == word] for word in ["beat", "scr", "features"]}
        self.beats, self.scrs = np.array(numbers["beat"]), np.array(numbers["scr"]).reshape(-1, 3)
        last = numbers["features"][-1]
        self.quality, self.last = last[1], dict(zip(NAMES, last[2:]))
        self.all = np.array(numbers["features"])


def hrv_neurokit(peaks: np.ndarray, rate: float) -> dict[str, float]:
    import neurokit2 as nk

    _, fixed = nk.signal_fixpeaks(peaks, sampling_rate=rate, iterative=True, method="Kubios")
    time = nk.hrv_time(fixed, sampling_rate=rate).iloc[0]
    frequency = nk.hrv_frequency(fixed, sampling_rate=rate, psd_method="lomb", normalize=False).iloc[0]
    return {"rmssd": time["HRV_RMSSD"], "sdnn": time["HRV_SDNN"], "pnn50": time["HRV_pNN50"], "lf-hf": frequency["HRV_LFHF"]}


def hrv_analysis(peaks: np.ndarray, rate: float) -> dict[str, float]:
    # nolds, of the non-linear features, cannot be imported with some versions of Python.
    sys.modules.setdefault("nolds", types.ModuleType("nolds"))
    import hrvanalysis as ha

    intervals = (np.diff(peaks) * 1000.0 / rate).tolist()
    clean = ha.remove_outliers(intervals, low_rri=300, high_rri=2000, verbose=False)
    clean = ha.interpolate_nan_values(clean)
    clean = ha.interpolate_nan_values(ha.remove_ectopic_beats(clean, method="malik", verbose=False))
    clean = [x for x in clean if np.isfinite(x)]
    time, frequency = ha.get_time_domain_features(clean), ha.get_frequency_domain_features(clean)
    return {"rmssd": time["rmssd"], "sdnn": time["sdnn"], "pnn50": time["pnni_50"], "lf-hf": frequency["lf_hf_ratio"]}


def heart(kind: str, rate: float, values: np.ndarray) -> dict[str, tuple[float, float, float]] | None:
    """For each value: ours, NeuroKit2's, and of the same beats the other toolbox's."""
    import neurokit2 as nk

    ours = Ours(kind, rate, values)
    if not ours.quality >= 0.5:
        return None
    r = int(rate)
    if kind == "ecg":
        clean = nk.ecg_clean(values, sampling_rate=r)
        peaks = nk.ecg_peaks(clean, sampling_rate=r)[1]["ECG_R_Peaks"]
    else:
        clean = nk.ppg_clean(values, sampling_rate=r)
        peaks = nk.ppg_peaks(clean, sampling_rate=r, method="elgendi")[1]["PPG_Peaks"]
    peaks = np.asarray(peaks)
    if len(peaks) < 20:
        return None
    a, b = hrv_neurokit(peaks, rate), hrv_analysis(peaks, rate)
    found = {name: (ours.last[name], a[name], b[name]) for name in HRV}
    newest = np.diff(peaks[peaks > len(values) - 10 * rate])
    found["hr"] = (ours.last["hr"], 60.0 * rate / np.median(newest), 60.0 * rate / np.mean(newest))
    return found


def heart_table(title: str, pieces: list[dict[str, tuple[float, float, float]] | None]) -> None:
    used = [p for p in pieces if p is not None]
    print(f"\n{title}: {len(pieces)} pieces, {len(used)} of them usable to the end\n")
    print("| value | known | ours − NeuroKit2, median (90 %) | hrv-analysis − NeuroKit2 (hr: mean − median), median (90 %) |")
    print("| --- | --- | --- | --- |")
    for name in ["hr", *HRV]:
        rows = np.array([p[name] for p in used]).reshape(-1, 3)
        known = np.isfinite(rows).all(axis=1)
        rows = rows[known]
        if len(rows) == 0:
            print(f"| {name} | 0 | – | – |")
            continue
        relative = name in ("rmssd", "sdnn", "lf-hf")
        scale = rows[:, 1] if relative else 1.0
        cells = []
        for column in (0, 2):
            error = np.abs(rows[:, column] - rows[:, 1]) / scale * (100.0 if relative else 1.0)
            cells.append(f"{np.median(error):.2f} ({np.quantile(error, 0.9):.2f})" + (" %" if relative else ""))
        print(f"| {name} | {known.sum()} | {cells[0]} | {cells[1]} |")


def responses_neurokit(values: np.ndarray, rate: float, method: str) -> tuple[np.ndarray, np.ndarray]:
    """Peaks (s) and amplitudes (µS) of at least 0.05 µS."""
    import neurokit2 as nk

    # Methods of NeuroKit2 take whole rates that are not too low.
    again = 32
    grid = np.arange(0, (len(values) - 1) / rate, 1 / again)
    values = np.interp(grid, np.arange(len(values)) / rate, values)
    clean = nk.eda_clean(values, sampling_rate=again)
    phasic = nk.eda_phasic(clean, sampling_rate=again, method="highpass")["EDA_Phasic"].to_numpy()
    _, info = nk.eda_peaks(phasic, sampling_rate=again, method=method, amplitude_min=0.01)
    peaks = np.asarray(info["SCR_Peaks"], float) / again
    # From the onset up to the peak, in conductance itself: the definition of both.
    onsets = np.asarray(info["SCR_Onsets"], float)
    known = np.isfinite(onsets) & np.isfinite(peaks)
    peaks, onsets = peaks[known], onsets[known].astype(int)
    amplitude = clean[np.minimum((peaks * again).astype(int), len(clean) - 1)] - clean[onsets]
    large = amplitude >= 0.05
    return peaks[large], amplitude[large]


def match(a: np.ndarray, b: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of peaks within 1.5 s, each once."""
    pairs, taken = [], set()
    for i, peak in enumerate(a):
        near = [j for j in np.flatnonzero(np.abs(b - peak) <= 1.5) if j not in taken]
        if near:
            j = min(near, key=lambda k: abs(b[k] - peak))
            taken.add(j)
            pairs.append((i, j))
    return pairs


def skin_table(title: str, pieces: list[tuple[float, np.ndarray]]) -> None:
    import neurokit2 as nk

    pairs = {"ours": [0, 0, 0], "gamboa2008": [0, 0, 0]}
    counts, amplitudes, levels, used = [], [], [], 0
    for rate, values in pieces:
        ours = Ours("eda", rate, values)
        bad = np.mean(ours.all[:, 1] < 0.5)
        if bad > 0.02:
            continue
        used += 1
        peaks, sizes = responses_neurokit(values, rate, "neurokit")
        other, _ = responses_neurokit(values, rate, "gamboa2008")
        for name, found in [("ours", ours.scrs[:, 1]), ("gamboa2008", other)]:
            pairs[name][0] += len(match(found, peaks))
            pairs[name][1] += len(found)
            pairs[name][2] += len(peaks)
        counts.append((len(ours.scrs), len(peaks), len(other)))
        amplitudes += [(ours.scrs[i, 2], sizes[j]) for i, j in match(ours.scrs[:, 1], peaks)]
        tonic = nk.eda_phasic(values, sampling_rate=max(int(rate), 1), method="highpass")["EDA_Tonic"].mean()
        levels.append((np.nanmean(ours.all[:, 2 + NAMES.index("scl")]), tonic))
    print(f"\n{title}: {len(pieces)} pieces, {used} of them without bad signal\n")
    if used == 0:
        return
    print("| against NeuroKit2 | sensitivity | precision | F1 | responses per piece, mean difference |")
    print("| --- | --- | --- | --- | --- |")
    counts_array = np.array(counts, float)
    for column, (name, (both, found, wanted)) in zip((0, 2), pairs.items()):
        sensitivity, precision = both / max(wanted, 1), both / max(found, 1)
        f1 = 2 * both / max(found + wanted, 1)
        difference = np.mean(counts_array[:, column] - counts_array[:, 1])
        print(f"| {name} | {sensitivity:.3f} | {precision:.3f} | {f1:.3f} | {difference:+.2f} of {np.mean(counts_array[:, 1]):.2f} |")
    a = np.array(amplitudes)
    l = np.array(levels)
    print(f"\nAmplitude of {len(a)} matched responses: median ratio {np.median(a[:, 0] / a[:, 1]):.3f}, "
          f"correlation {np.corrcoef(a.T)[0, 1]:.3f}. "
          f"Level, ours − tonic: median {np.median(l[:, 0] - l[:, 1]):+.3f} µS "
          f"({np.median(np.abs(l[:, 0] / l[:, 1] - 1)) * 100:.1f} %).")


def simulated_hearts() -> list[dict[str, tuple[float, float, float]] | None]:
    import neurokit2 as nk

    pieces = []
    for seed, rate in enumerate([1000, 500, 256, 250, 128, 100]):
        for beats in (60, 85):
            values = nk.ecg_simulate(duration=PIECE + 5, sampling_rate=rate, heart_rate=beats, heart_rate_std=4, random_state=seed * 10 + beats)
            pieces.append(heart("ecg", rate, np.asarray(values)))
    return pieces


def simulated_skin() -> list[tuple[float, np.ndarray]]:
    """Responses as the bi-exponential of Lim 1997, rise 1 to 3 s, at any times, some overlapping. Those
    of eda_simulate rise within 0.3 s, which no skin does."""
    pieces = []
    for seed in range(12):
        random = np.random.default_rng(seed)
        rate = [4.0, 16.0, 64.0, 128.0][seed % 4]
        t = np.arange(0, PIECE, 1 / rate)
        values = 2.0 + 6.0 * random.random() - 0.002 * t + random.normal(0, 0.003, len(t))
        for onset in random.uniform(2, PIECE - 8, 8 + 2 * seed):
            rise, fall = random.uniform(0.4, 1.0), random.uniform(2.5, 5.0)
            since = np.maximum(t - onset, 0)
            shape = np.exp(-since / fall) - np.exp(-since / rise)
            values += random.uniform(0.08, 0.8) * shape / max(shape.max(), 1e-9)
        pieces.append((rate, values))
    return pieces


def e4(path: Path) -> tuple[float, np.ndarray]:
    lines = np.loadtxt(path, delimiter=",")
    return float(lines[1]), lines[2:]


def cut(rate: float, values: np.ndarray, most: int) -> list[tuple[float, np.ndarray]]:
    length = int(PIECE * rate)
    return [(rate, values[i : i + length]) for i in range(0, len(values) - length + 1, length)][:most]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ecg", type=Path, help="OpenSignals recording with an ECG")
    parser.add_argument("--e4", type=Path, help="folder with recordings of an Empatica E4")
    parser.add_argument("--people", type=int, default=99, help="the first so many of these folders")
    parser.add_argument("--pieces", type=int, default=8, help="pieces of 5 min of each recording")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    if not (ROOT / "target/debug/examples/features").is_file():
        sys.exit("error: no target/debug/examples/features; run: cargo build -p conditioning --example features")

    heart_table("ECG, simulated (ecg_simulate), 100 to 1000 Hz", simulated_hearts())
    skin_table("EDA, simulated, 4 to 128 Hz", simulated_skin())
    if arguments.ecg:
        import h5py

        with h5py.File(arguments.ecg) as file:
            device = next(iter(file.values()))
            rate, raw = float(device.attrs["sampling rate"]), device["raw"]
            values = np.asarray(next(iter(raw.values()))).ravel().astype(float)
        heart_table(f"ECG, {arguments.ecg.name}, {rate:g} Hz", [heart("ecg", rate, v) for _, v in cut(rate, values, 99)] or [heart("ecg", rate, values)])
    if arguments.e4:
        people = sorted(p.parent for p in arguments.e4.rglob("BVP.csv"))[: arguments.people]
        hearts = [heart("ppg", r, v) for p in people for r, v in cut(*e4(p / "BVP.csv"), arguments.pieces)]
        heart_table(f"Wrist PPG, {len(people)} people, 64 Hz", hearts)
        skin_table(f"Wrist EDA, {len(people)} people, 4 Hz", [c for p in people for c in cut(*e4(p / "EDA.csv"), arguments.pieces)])


if __name__ == "__main__":
    main()
