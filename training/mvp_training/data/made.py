# SPDX-License-Identifier: MPL-2.0
"""Made people and faces whose answer is known: for tests, and to try the commands without
data. Under stress the made heart beats faster and the made skin sweats more; a made happy
face smiles. Nothing here says anything about people.
"""

from __future__ import annotations

import numpy as np

from .expressions import UNITS, Faces
from .recording import SECOND, Floats, Recording, Segment, Signal


def recordings(
    people: int = 6,
    seconds: float = 120.0,
    runs: int = 4,
    seed: int = 0,
    cardiac: str = "ppg",
    effect: float = 1.0,
) -> list[Recording]:
    """One recording a person: `runs` stretches of `seconds`, rest and stress in turn.

    cardiac: "ppg" (64 Hz) or "ecg" (128 Hz), beside EDA at 4 Hz in µS
    effect:  how much stress shows: 1 is plain, 0 is not at all
    """
    return [
        _person(n, seconds, runs, np.random.default_rng([seed, n]), cardiac, effect)
        for n in range(people)
    ]


def _person(
    number: int, seconds: float, runs: int, random: np.random.Generator, cardiac: str,
    effect: float,
) -> Recording:
    length = seconds * runs
    first = int(random.integers(0, 2))
    stress = [(first + i) % 2 for i in range(runs)]

    def at(times: Floats) -> Floats:
        which = np.minimum((times / seconds).astype(np.int64), runs - 1)
        return np.asarray(np.array(stress, np.float64)[which], np.float64)

    eda_times = np.arange(int(length * 4)) / 4
    level = random.uniform(1.0, 5.0)
    slow = np.convolve(at(eda_times) * effect, np.ones(20) / 20, "full")[: eda_times.size]
    responses = np.zeros(eda_times.size)
    for _ in range(int(length / 12)):
        begin = random.uniform(0, length)
        size = 0.05 + 0.25 * effect * float(at(np.array([begin]))[0])
        after = np.clip(eda_times - begin, 0, None)
        responses += size * after * np.exp(1 - after / 1.5) / 1.5
    eda = level * (1 + 0.25 * slow) + responses + 0.005 * random.standard_normal(eda_times.size)

    rate = 64.0 if cardiac == "ppg" else 128.0
    times = np.arange(int(length * rate)) / rate
    resting = random.uniform(60, 75)
    beats = resting + 15 * effect * at(times) + 2 * np.sin(2 * np.pi * 0.1 * times)
    phase = np.cumsum(beats / 60 / rate)
    if cardiac == "ppg":
        wave = 50 * (np.sin(2 * np.pi * phase) + 0.3 * np.sin(4 * np.pi * phase + 1))
        wave = wave + 2 * random.standard_normal(times.size)
    else:
        beat = (phase + 0.5) % 1.0 - 0.5
        wave = np.exp(-((beat * 60 / beats / 0.012) ** 2)) + 0.02 * random.standard_normal(times.size)
    name = f"made{number:02d}"
    segments = tuple(
        Segment(round(i * seconds * SECOND), round((i + 1) * seconds * SECOND), None, float(s),
                f"{i}-{'stress' if s else 'rest'}")
        for i, s in enumerate(stress)
    )
    signals = {
        "eda": Signal.regular(eda, 4.0, "uS"),
        cardiac: Signal.regular(wave, rate, "unknown"),
    }
    return Recording(name, name, signals, None, segments).check()


def faces(count: int = 400, people: int = 40, seed: int = 0) -> Faces:
    """Faces a third of which smile and a third of which frown."""
    random = np.random.default_rng(seed)
    units = random.beta(1.0, 6.0, (count, len(UNITS))).astype(np.float32)
    kind = random.integers(0, 3, count)
    moved = (("mouthFrown", "browDown"), (), ("mouthSmile", "cheekSquint"))
    for number, starts in enumerate(moved):
        for i, name in enumerate(UNITS):
            if name.startswith(starts):
                units[:, i] = np.clip(units[:, i] + 0.5 * (kind == number), 0, 1)
    words = np.array(["sadness", "neutral", "happiness"], np.str_)[kind]
    return Faces(
        units, UNITS, 0.5 * kind, words,
        random.integers(0, people, count).astype(np.int64), {},
    )
