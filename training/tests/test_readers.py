# SPDX-License-Identifier: MPL-2.0
"""Each reader on small files of the published layout, made here."""

from __future__ import annotations

import os
import pickle
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from mvp_training.data import amigos, deap, expressions, openface, stress_predict
from mvp_training.data.recording import SECOND, DataError, Segment

START = 1_644_226_000


# --- Stress-Predict


def stress_predict_tree(root: Path, labels: list[str] | None = None) -> Path:
    for person, level in (("S01", 1.0), ("S02", 2.0)):
        folder = root / "Raw_data" / person
        folder.mkdir(parents=True)
        eda = "\n".join(["0.000000", *["nan" if i == 9 else f"{level}" for i in range(1, 400)]])
        (folder / "EDA.csv").write_text(f"{START}.000000\n4.000000\n{eda}\n")
        bvp = "\r\n".join(f"{np.sin(i / 8):.2f}" for i in range(6400))
        (folder / "BVP.csv").write_text(f"{START}.50\r\n64.000000\r\n{bvp}\r\n")
        (folder / "ACC.csv").write_text("not,read\n")
    if labels is None:
        labels = [f"2,80,12,{START + t},{int(40 <= t < 70)}" for t in range(9, 100)]
    (root / "Processed_data").mkdir()
    (root / "Processed_data" / stress_predict.LABEL_FILE).write_text(
        "Participant,HR,respr,Time(sec),Label\n" + "\n".join(labels) + "\n"
    )
    return root


def seconds(segments: tuple[Segment, ...]) -> list[tuple[float, float, float | None]]:
    return [(s.start_ns / SECOND, s.end_ns / SECOND, s.arousal) for s in segments]


def test_stress_predict_reads_a_directory(tmp_path: Path) -> None:
    (recording,) = stress_predict.read(stress_predict_tree(tmp_path))
    assert recording.subject == recording.name == "S02"
    eda, ppg = recording.signals["eda"], recording.signals["ppg"]
    # The first sample is the device's zero, one is NaN.
    assert (eda.rate, eda.unit, len(eda), eda.dropped) == (4.0, "uS", 398, 2)
    assert eda.times[0] == SECOND // 4 and eda.values[0] == 2.0
    assert (ppg.rate, len(ppg), ppg.times[0]) == (64.0, 6400, SECOND // 2)
    assert seconds(recording.segments) == [(9, 40, 0.0), (40, 70, 1.0), (70, 100, 0.0)]
    assert all(s.valence is None for s in recording.segments)
    assert [s.trial for s in recording.segments] == ["00-rest", "01-stress", "02-rest"]
    recording.check()


def test_stress_predict_reads_archives_without_unpacking(tmp_path: Path) -> None:
    tree = stress_predict_tree(tmp_path / "Stress-Predict-Dataset-main")
    with tarfile.open(tmp_path / "a.tar.xz", "w:xz") as archive:
        archive.add(tree, "./")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        for file in sorted(tree.rglob("*.csv")):
            zipped.write(file, file.relative_to(tmp_path))
    (from_tree,) = stress_predict.read(tree)
    for name in ("a.tar.xz", "a.zip"):
        (recording,) = stress_predict.read(tmp_path / name)
        assert recording.segments == from_tree.segments
        for key, signal in from_tree.signals.items():
            np.testing.assert_array_equal(recording.signals[key].values, signal.values)
            np.testing.assert_array_equal(recording.signals[key].times, signal.times)


def test_stress_predict_keeps_people_without_labels_on_demand(tmp_path: Path) -> None:
    tree = stress_predict_tree(tmp_path)
    both = stress_predict.read(tree, unlabelled=True, keep_zero_eda=True)
    assert [r.subject for r in both] == ["S01", "S02"]
    assert both[0].segments == () and both[0].signals["eda"].values[0] == 0
    with pytest.raises(DataError, match="no label"):
        both[0].check()


def test_stress_predict_labels_out_of_order_doubled_and_with_gaps(tmp_path: Path) -> None:
    times = [12, 10, 11, 11, 13, 20, 21, 22, 22, 23]
    labels = [0, 0, 0, 0, 1, 1, 1, 0, 1, 1]
    rows = [f"2,80,12,{START + t},{v}" for t, v in zip(times, labels, strict=True)]
    (recording,) = stress_predict.read(stress_predict_tree(tmp_path, rows))
    assert seconds(recording.segments) == [
        (10, 13, 0.0), (13, 14, 1.0), (20, 22, 1.0), (23, 24, 1.0),
    ]
    assert "1 s with contradictory labels left out" in recording.notes


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("Processed_data/" + stress_predict.LABEL_FILE, "Participant,Time\n1,2\n", "no column"),
        ("Processed_data/" + stress_predict.LABEL_FILE,
         "Participant,HR,respr,Time(sec),Label\n2,,,1644226000,3\n", "labels are 0 or 1"),
        ("Raw_data/S02/EDA.csv", "1644226000\n4\nhello\n", "S02/EDA.csv: expected one number"),
        ("Raw_data/S02/BVP.csv", "1644226000\n0\n1\n2\n", "a rate above 0"),
        ("Raw_data/S02/BVP.csv", None, "Raw_data/S02: BVP.csv missing"),
        ("Processed_data/" + stress_predict.LABEL_FILE, None, "is missing"),
    ],
)
def test_stress_predict_names_faults(
    tmp_path: Path, file: str, text: str | None, message: str
) -> None:
    tree = stress_predict_tree(tmp_path)
    if text is None:
        (tree / file).unlink()
    else:
        (tree / file).write_text(text)
    with pytest.raises(DataError, match=message):
        stress_predict.read(tree)


def test_stress_predict_names_a_missing_path(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        stress_predict.read(tmp_path / "nothing")
    (tmp_path / "text").write_text("no archive")
    with pytest.raises(DataError, match="neither a directory nor"):
        stress_predict.read(tmp_path / "text")


# --- OpenFace


def openface_file(path: Path, blank: str = " ", frames: int = 4) -> Path:
    names = ["frame", "face_id", "timestamp", "confidence", "success", "gaze_0_x"]
    names += [f"{u}_r" for u in openface.ACTION_UNITS] + ["AU01_c"]
    rows = [(",").join([names[0], *[blank + n for n in names[1:]]])]
    for i in range(frames):
        success = int(i != 1)
        units = [f"{blank}{(i + k / 10) % 5:.2f}" for k in range(17)]
        rows.append(", ".join([str(i + 1), "0", f"{i * 0.04:.3f}", "0.98", str(success), "0.1",
                               *units, "1"]))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.mark.parametrize("blank", ["", " "])
def test_openface_reads_intensities(tmp_path: Path, blank: str) -> None:
    track = openface.read(openface_file(tmp_path / "face.csv", blank))
    assert track.names[0] == "AU01" and track.names[-1] == "AU45" and len(track.names) == 17
    assert track.times.tolist() == [0, 40_000_000, 80_000_000, 120_000_000]
    np.testing.assert_allclose(track.values[2], (2 + np.arange(17) / 10) / 5, atol=1e-6)
    # A frame without a face keeps its time and holds nothing.
    assert track.confidence.tolist() == pytest.approx([0.98, 0, 0.98, 0.98])
    assert not track.values[1].any()


def test_openface_follows_one_face(tmp_path: Path) -> None:
    file = openface_file(tmp_path / "face.csv", frames=5)
    lines = file.read_text().splitlines()
    lines += [line.replace(", 0, 0.", ", 1, 0.", 1) for line in lines[2:4]]
    file.write_text("\n".join(lines) + "\n")
    assert len(openface.read(file)) == 5
    assert len(openface.read(file, face=1)) == 2
    with pytest.raises(DataError, match="no face_id 7"):
        openface.read(file, face=7)


def test_openface_names_faults(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        openface.read(tmp_path / "none.csv")
    file = tmp_path / "face.csv"
    file.write_text("frame, timestamp, confidence, success\n1, 0, 1, 1\n")
    with pytest.raises(DataError, match="no column AU01_r"):
        openface.read(file)
    openface_file(file, frames=0)
    with pytest.raises(DataError, match="no frame"):
        openface.read(file)
    text = openface_file(file).read_text()
    file.write_text(text.replace("timestamp", "other"))
    with pytest.raises(DataError, match="no column timestamp"):
        openface.read(file)
    assert openface.read(file, rate=25).times.tolist()[:2] == [0, 40_000_000]


# --- DEAP


def deap_file(path: Path, protocol: int = 2, samples: int = 128 * 13) -> dict[str, Any]:
    random = np.random.default_rng(0)
    content = {
        "labels": np.array([[9.0, 1.0, 5, 5], [1.0, 9.0, 5, 5], [4.5, 4.6, 5, 5]]),
        "data": random.normal(size=(3, 40, samples)),
    }
    with path.open("wb") as stream:
        pickle.dump(content, stream, protocol=protocol)
    return content


@pytest.mark.parametrize("protocol", [0, 2])
@pytest.mark.parametrize("numpy_core", [b"numpy.core.", b"numpy._core."])
def test_deap_reads_channels_and_label_order(
    tmp_path: Path, protocol: int, numpy_core: bytes
) -> None:
    file = tmp_path / "s07.dat"
    content = deap_file(file, protocol)
    # As old numpy (under which the set was made) and new numpy write it.
    text = file.read_bytes().replace(b"numpy._core.", b"numpy.core.")
    file.write_bytes(text.replace(b"numpy.core.", numpy_core))
    trials = deap.read(tmp_path)
    assert [r.name for r in trials] == ["s07/01", "s07/02", "s07/03"]
    assert {r.subject for r in trials} == {"s07"}
    first = trials[0]
    np.testing.assert_array_equal(first.signals["ppg"].values, content["data"][0, 38, 384:])
    np.testing.assert_array_equal(first.signals["eda"].values, -content["data"][0, 36, 384:])
    assert first.signals["eda"].unit == "unknown" and first.signals["eda"].rate == 128
    assert first.signals["ppg"].times[0] == 0 and first.end_ns == 10 * SECOND
    # Valence stands first, and a rating at the threshold is low.
    assert [(r.segments[0].valence, r.segments[0].arousal) for r in trials] == [
        (1.0, 0.0), (0.0, 1.0), (0.0, 1.0),
    ]
    first.check()


def test_deap_converts_only_what_can_be_converted(tmp_path: Path) -> None:
    content = deap_file(tmp_path / "s01.dat")
    with pytest.raises(DataError, match="resistance in ohm is above 0"):
        deap.read(tmp_path / "s01.dat", eda="conductance")
    content["data"][:, 36] = 200_000.0
    with (tmp_path / "s01.dat").open("wb") as stream:
        pickle.dump(content, stream, protocol=2)
    eda = deap.read(tmp_path / "s01.dat", eda="conductance")[0].check().signals["eda"]
    assert eda.values[0] == pytest.approx(5.0) and eda.unit == "uS"


class Harmful:
    def __init__(self, what: Any, *arguments: Any) -> None:
        self.call = what, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


def test_deap_runs_nothing_that_a_pickle_asks_for(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    for number, hostile in enumerate([
        Harmful(os.system, f"touch {mark}"), Harmful(eval, "1"), Harmful(os.mkdir, str(mark)),
        Harmful(np.load, "x"),
    ]):
        file = tmp_path / f"s{number:02d}.dat"
        with file.open("wb") as stream:
            pickle.dump({"data": hostile, "labels": 0}, stream, protocol=2)
        with pytest.raises(DataError, match="refused: it asks for"):
            deap.read(file)
        assert not mark.exists()
    import codecs

    file = tmp_path / "s09.dat"
    file.write_bytes(pickle.dumps({"data": Harmful(codecs.encode, "x", "idna")}, 2))
    with pytest.raises(DataError, match="refused: it asks for the encoding 'idna'"):
        deap.read(file)


def test_deap_names_faults(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        deap.read(tmp_path / "s01.dat")
    with pytest.raises(DataError, match="no sNN.dat"):
        deap.read(tmp_path)
    file = tmp_path / "s01.dat"
    for content, message in (
        ([1, 2], "expected a dictionary"),
        ({"data": 1}, "expected keys data and labels"),
        ({"data": np.zeros((1, 32, 900)), "labels": np.zeros((1, 4))}, "expected .trials, 40"),
        ({"data": np.zeros((2, 40, 900)), "labels": np.zeros((1, 4))}, "labels are"),
        ({"data": np.array([[["a"]]]), "labels": np.zeros((1, 4))}, "expected numbers"),
    ):
        file.write_bytes(pickle.dumps(content, 2))
        with pytest.raises(DataError, match=message):
            deap.read(file)
    file.write_bytes(b"\x80\x02garbage")
    with pytest.raises(DataError, match="refused|no readable pickle"):
        deap.read(file)


def test_deap_finds_faces_by_the_order_in_which_films_were_seen(tmp_path: Path) -> None:
    deap_file(tmp_path / "s07.dat")
    with pytest.raises(DataError, match="participant_ratings.csv"):
        deap.read(tmp_path, faces=tmp_path)
    ratings = tmp_path / "participant_ratings.csv"
    ratings.write_text("Participant_id,Trial,Experiment_id,Valence\n7,3,1,1\n7,1,2,1\n7,2,3,1\n")
    openface_file(tmp_path / "faces" / "s07" / "s07_trial03.csv", frames=6)
    openface_file(tmp_path / "faces" / "s07_trial01.csv", frames=3)
    trials = deap.read(tmp_path, faces=tmp_path / "faces", ratings=ratings)
    assert [None if r.units is None else len(r.units) for r in trials] == [6, 3, None]


# --- AMIGOS


def cells(items: list[Any]) -> np.ndarray[Any, Any]:
    out = np.empty((1, len(items)), object)
    for index, item in enumerate(items):
        out[0, index] = item
    return out


def amigos_file(path: Path, **change: Any) -> list[Any]:
    random = np.random.default_rng(0)
    rating = [2.0, 8.0, *[5.0] * 10]
    nan = np.full((1600, 17), np.nan)
    trials = [random.normal(size=(1600, 17)), np.zeros((0, 0)), nan, random.normal(size=(2000, 17))]
    content = {
        "joined_data": cells(trials),
        "labels_selfassessment": cells([
            np.array([rating]), np.zeros((0, 0)), np.array([rating]),
            np.array([[7.0, np.nan, *[5.0] * 10]]),
        ]),
        "VideoIDs": cells(["10", "13", "138", "18"]),
        **change,
    }
    path.parent.mkdir(exist_ok=True)
    savemat(path, content)
    return trials


def test_amigos_reads_channels_and_label_order(tmp_path: Path) -> None:
    trials = amigos_file(tmp_path / "P04" / "Data_Preprocessed_P04.mat")
    found = amigos.read(tmp_path)
    # The empty trial and the one of NaN are gone.
    assert [r.name for r in found] == ["P04/01", "P04/04"]
    np.testing.assert_array_equal(found[0].signals["ecg"].values, trials[0][:, 14])
    np.testing.assert_array_equal(found[0].signals["eda"].values, trials[0][:, 16])
    assert found[0].signals["eda"].unit == "unknown" and found[0].signals["ecg"].rate == 128
    # Arousal stands first: the other way round than in DEAP.
    assert (found[0].segments[0].arousal, found[0].segments[0].valence) == (0.0, 1.0)
    assert (found[1].segments[0].arousal, found[1].segments[0].valence) == (1.0, None)
    assert found[0].segments[0].trial == "10" and found[0].end_ns == round(12.5 * SECOND)
    found[0].check()
    left = amigos.read(tmp_path, ecg="left", threshold=1.0, skip=1.0)
    np.testing.assert_array_equal(left[0].signals["ecg"].values, trials[0][128:, 15])
    assert left[0].segments[0].arousal == 1.0
    assert [r.name for r in amigos.read(tmp_path, trials=3)] == ["P04/01"]


def test_amigos_finds_faces_by_the_film(tmp_path: Path) -> None:
    amigos_file(tmp_path / "Data_Preprocessed_P04.mat")
    openface_file(tmp_path / "faces" / "Exp1_P04_face" / "P4_18_face.csv", frames=50)
    first, last = amigos.read(tmp_path, faces=tmp_path / "faces", skip=1.0, face_offset=0.6)
    assert first.units is None
    assert last.units is not None and last.units.times[0] == 0 and len(last.units) == 40


def test_amigos_names_faults(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        amigos.read(tmp_path / "none.mat")
    with pytest.raises(DataError, match="no Data_Preprocessed_P"):
        amigos.read(tmp_path)
    file = tmp_path / "Data_Preprocessed_P01.mat"
    savemat(file, {"joined_data": cells([1])})
    with pytest.raises(DataError, match="no variable labels_selfassessment"):
        amigos.read(file)
    amigos_file(file, joined_data=cells([np.zeros((5, 14))] * 4))
    with pytest.raises(DataError, match="trial 1 is .5, 14."):
        amigos.read(file)
    amigos_file(file, joined_data=cells([np.zeros((0, 0))] * 4))
    with pytest.raises(DataError, match="every trial is empty"):
        amigos.read(file)
    amigos_file(file, joined_data=cells([1, 2]))
    with pytest.raises(DataError, match="2 trials but 4 self-assessments"):
        amigos.read(file)
    file.write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match="no readable MATLAB file"):
        amigos.read(file)


# --- expressions


def expressions_file(path: Path, **change: Any) -> None:
    words = np.array(["happiness", "neutral", "surprise", "sadness"])
    shapes = np.arange(4 * 52).reshape(4, 52).astype(np.float16) / 256
    np.savez(path, **{"blendshapes": shapes, "emotion": words,
                      "identity": np.array([3, 1, 3, 2], np.int32), **change})


def test_expressions_leave_neutral_out_and_map_words(tmp_path: Path) -> None:
    file = tmp_path / "faces.npz"
    expressions_file(file)
    faces = expressions.read(file)
    assert faces.units.shape == (3, 51) and faces.units.dtype == np.float32
    assert faces.names[0] == "browDownLeft" and faces.names[-1] == "noseSneerRight"
    assert faces.units[0, 0] == pytest.approx(1 / 256)
    assert faces.valence.tolist() == [1, 0.5, 0] and faces.identity.tolist() == [3, 1, 2]
    assert faces.dropped == {"surprise": 1}
    faces = expressions.read(file, {**expressions.POSITIVE_OR_NOT, "surprise": 0})
    assert faces.valence.tolist() == [1, 0, 0, 0] and faces.dropped == {}


def test_expressions_stand_in_the_order_of_the_plugin() -> None:
    import importlib.util

    where = Path(__file__).parent.parent / "fixture.py"
    spec = importlib.util.spec_from_file_location("fixture", where)
    assert spec is not None and spec.loader is not None
    fixture = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fixture)
    assert tuple(fixture.UNITS) == expressions.UNITS


def test_expressions_names_faults(tmp_path: Path) -> None:
    file = tmp_path / "faces.npz"
    with pytest.raises(DataError, match="does not exist"):
        expressions.read(file)
    for change, message in (
        ({"emotion": np.array(["joy"] * 4)}, "no valence is given for joy"),
        ({"blendshapes": np.zeros((4, 51))}, "expected .N, 52."),
        ({"blendshapes": np.full((4, 52), np.nan)}, "must be finite"),
        ({"identity": np.zeros(3)}, "4 faces"),
        ({"emotion": np.array([{}] * 4, object)}, "without objects"),
    ):
        expressions_file(file, **change)
        with pytest.raises(DataError, match=message):
            expressions.read(file)
    np.savez(file, blendshapes=np.zeros((1, 52)))
    with pytest.raises(DataError, match="no array emotion, identity"):
        expressions.read(file)


# --- the real sets


def test_real_stress_predict_is_whole(stress_predict_path: Path) -> None:
    recordings = stress_predict.read(stress_predict_path)
    assert [r.subject for r in recordings] == [f"S{n:02d}" for n in range(2, 36)]
    for recording in recordings:
        recording.check(min_seconds=3000)
        # Rest, then three tasks with rest after each.
        assert [s.arousal for s in recording.segments] == [0, 1, 0, 1, 0, 1, 0]


def test_real_expressions_are_whole(expressions_path: Path) -> None:
    faces = expressions.read(expressions_path)
    assert faces.units.shape == (13_249, 51) and (faces.valence == 1).sum() == 5669
    assert (faces.valence == 0.5).sum() == 6850
