# SPDX-License-Identifier: MPL-2.0
"""Trainings of seconds on made people, and the way to Rust and back: commands, run folder,
bundle, and the same answers from PyTorch, ONNX Runtime and the program that serves."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mvp_training import __main__ as cli
from mvp_training import config as configs
from mvp_training import calibration, datasets, heldout, run, train
from mvp_training.batches import Bodies, Faces
from mvp_training.conditioning import Conditioner, find
from mvp_training.data import made
from mvp_training.data.recording import DataError
from mvp_training.model import valence_of

SMALL = {
    "window__duration": 20.0, "model__width": 16, "model__heads": 2,
    "model__tokenizer": ((16, 5, 2), (16, 3, 2)), "train__epochs": 5,
    "train__windows_per_epoch": 640, "train__batch": 32, "train__learning_rate": 5e-3,
    "train__ema": 0.9,
}
SETS = [
    item for k, v in SMALL.items()
    for item in ("--set", f"{k.replace('__', '.').replace('_', '-')}={v!r}")
]


@pytest.fixture(scope="session")
def program() -> Path:
    try:
        return find()
    except DataError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def trained(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run of the command itself."""
    folder = tmp_path_factory.mktemp("run") / "made"
    code = cli.main([
        "train", "--data", "made=1,people=6,seconds=80", "--run", str(folder), "--split", "5",
        "--jobs", "1", "--mvp-offline", str(program), *SETS,
    ])
    assert code == 0
    yield folder


def test_a_training_of_seconds_learns(trained: Path) -> None:
    metrics = json.loads((trained / "metrics.json").read_text())
    cells = {(c["target"], c["modality"]): c["scores"] for c in metrics["cells"]}
    for key in (("arousal", "physiology"), ("arousal", "both")):
        assert cells[key]["balanced_accuracy"]["value"] > 0.7, (key, cells[key])
    faces = metrics["faces"]["physiology missing"]
    assert faces["balanced_accuracy"][0] > 0.7, faces
    medians = [faces["valence"][w][1] for w in ("negative", "neutral", "positive")]
    assert medians[0] < 0.4 and abs(medians[1] - 0.5) < 0.1 and medians[2] > 0.6, medians
    for name in ("run.json", "config.toml", "report.md", "curves.png", "reliability.png",
                 "network.pt", "calibration.json", "heldout.npz"):
        assert (trained / name).stat().st_size > 0
    losses = [run.Heldout.load(trained / "heldout.npz"), heldout.read_found(
        trained / "folds" / "fold00.npz")]
    assert losses[1].losses.shape == (5, 2)
    assert losses[1].losses[-1].sum() < losses[1].losses[0].sum()


def test_a_run_goes_on_and_no_other_takes_its_place(
    trained: Path, program: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "--data", "made=1,people=6,seconds=80", "--run", str(trained), "--split",
               "5", "--jobs", "1", "--mvp-offline", str(program), *SETS]
    before = (trained / "metrics.json").read_text()
    times = {p: p.stat().st_mtime_ns for p in (trained / "folds").iterdir()}
    assert cli.main(command) == 0
    assert times == {p: p.stat().st_mtime_ns for p in (trained / "folds").iterdir()}
    after = json.loads((trained / "metrics.json").read_text())
    assert after["cells"] == json.loads(before)["cells"]
    capsys.readouterr()
    assert cli.main([*command, "--set", "train.epochs=6"]) == 1
    assert "another configuration or other data" in capsys.readouterr().err
    assert cli.main([*command[:2], "made=2,people=6,seconds=80", *command[3:]]) == 1
    assert "another configuration or other data" in capsys.readouterr().err


def prepared(program: Path, **changes: Any) -> heldout.Prepared:
    config = configs.load("default").with_changes(**{**SMALL, **changes})
    people = made.recordings(people=3, seconds=60, runs=2)
    parts = heldout.condition(people, Conditioner(config, program))
    return heldout.prepare(config, people, parts, made.faces(60, 10))


def test_an_interrupted_fit_ends_as_an_uninterrupted_one(program: Path, tmp_path: Path) -> None:
    data = prepared(program, train__epochs=3, train__windows_per_epoch=64)
    torch.set_num_threads(1)
    bodies = Bodies(data.config, data.parts)
    wanted = heldout.source(data, bodies, np.arange(len(data.rows)), np.arange(60))
    whole = train.fit(data.config, wanted, 7)

    class Stop(Exception):
        pass

    def stop(epoch: int, losses: dict[str, float]) -> None:
        if epoch == 2:
            raise Stop

    state = tmp_path / "state"
    with pytest.raises(Stop):
        train.fit(data.config, wanted, 7, state, stop)
    rest = train.fit(data.config, wanted, 7, state)
    for a, b in zip(whole.parameters(), rest.parameters(), strict=True):
        assert torch.equal(a, b)


def test_faces_and_bodies_of_a_fold_are_of_people_that_it_has_not_seen(program: Path) -> None:
    data = prepared(program)
    from mvp_training.protocol import leave_one_subject_out

    wanted = heldout.folds(data, leave_one_subject_out(data.rows.subject))
    assert len(wanted) == 3
    faces = data.faces
    assert faces is not None
    for fold in wanted:
        seen = set(faces.identity[fold.face_train])
        assert not seen & set(faces.identity[fold.face_test])
        people = set(data.rows.subject[fold.train])
        source = heldout.source(
            data, Bodies(data.config, data.parts), fold.train, fold.face_train
        )
        dense = np.isin(data.dense.subject, list(people))
        assert source.ends.size == int(dense.sum())
    assert sorted(np.concatenate([f.face_test for f in wanted])) == list(range(60))


def test_the_cache_gives_what_was_put_in(program: Path, tmp_path: Path) -> None:
    config = configs.load("default")
    people = made.recordings(people=1, seconds=40, runs=2)
    conditioner = Conditioner(config, program)
    first = heldout.condition(people, conditioner, tmp_path, "a")
    again = heldout.condition(people, conditioner, tmp_path, "a")
    assert len(list(tmp_path.glob("parts-*.npz"))) == 1
    for a, b in zip(first[0], again[0], strict=True):
        for field in heldout.FIELDS:
            assert np.array_equal(getattr(a, field), getattr(b, field))


# --- the bundle


@pytest.fixture(scope="session")
def bundle(trained: Path) -> Path:
    folder = trained.parent / "bundle"
    assert cli.main(["export", str(trained), str(folder)]) == 0
    return folder


def graph(file: Path) -> Any:
    onnxruntime = pytest.importorskip("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def test_graphs_answer_as_the_network(trained: Path, bundle: Path, program: Path) -> None:
    here = run.open_run(trained)
    network = run.load_network(here)
    evidence = run.read_evidence(here)
    assert evidence is not None
    data = prepared(program)
    bodies = Bodies(data.config, data.parts)
    ends = bodies.ends(data.dense)[:40]
    inputs = bodies.window(ends)
    assert data.faces is not None
    # A window's video in full, as the graph takes it.
    faces = Faces(data.config, data.faces.units)
    points = round((data.config.video.encoder.context + 1) * data.config.video.rate)
    units = faces.units[:40].unsqueeze(1).unsqueeze(2)
    chunks = data.config.window.chunks
    inputs[0] = (
        units.expand(40, chunks, points, -1), torch.ones(40, chunks, points), inputs[1][2],
    )
    with torch.no_grad():
        _, arousal, classes = network(inputs)
        # The graph's classes are calibrated, and its valence is theirs.
        classes = torch.from_numpy(evidence.logits(classes.numpy())).float()
        expected = torch.cat([valence_of(classes), arousal, classes], 1).numpy()
    names = ["video"] + [s.name for s in data.config.streams]
    encoders = [graph(bundle / f"{n}.onnx") for n in names]
    fusion = graph(bundle / "fusion.onnx")
    for w in range(40):
        feed = {}
        for name, encoder, (values, valid, there) in zip(names, encoders, inputs, strict=True):
            key = "units" if name == "video" else "signal"
            tokens = np.concatenate([
                encoder.run(None, {key: values[w, c : c + 1].numpy(),
                                   "valid": valid[w, c : c + 1].numpy()})[0]
                for c in range(chunks)
            ], 1)
            per = tokens.shape[1] // chunks
            held = np.repeat(there[w : w + 1].numpy(), per, 1)
            feed[name], feed[f"{name}_valid"] = tokens * held[..., None], held
        got = np.concatenate(fusion.run(["valence", "arousal", "classes"], feed), 1)[0]
        assert np.abs(got - expected[w]).max() < 1e-4


def test_rust_answers_as_the_network(trained: Path, bundle: Path, program: Path) -> None:
    """100 windows of a recording: conditioned, encoded, fused and calibrated in Rust."""
    if not os.environ.get("ORT_DYLIB_PATH"):
        pytest.skip("ORT_DYLIB_PATH does not name libonnxruntime: source target/env.sh")
    here = run.open_run(trained)
    person = made.recordings(people=1, seconds=65, runs=2, seed=9)[0]
    whole = here.config.window.duration * 1e9
    answers = [
        a for a in answer(program, bundle, person, trained.parent) if a["window-end"] >= whole
    ]
    recomputed = [
        a for a in answer(program, bundle, person, trained.parent, "--recompute")
        if a["window-end"] >= whole
    ]
    parts = [heldout.condition([person], Conditioner(here.config, program))[0]]
    bodies = Bodies(here.config, parts)
    ends = np.array([round(a["window-end"] / 1e9) for a in answers])
    assert ends.size >= 100
    logits = train.body_logits(run.load_network(here), bodies, ends)
    calibrations = run.read_calibration(here)
    evidence = run.read_evidence(here)
    assert evidence is not None
    logits[:, 0] = calibration.valence_of(evidence.logits(logits[:, 2:]))
    for index, name in enumerate(run.OUTPUTS):
        got = np.array([a[f"{name}-logit"] for a in answers])
        assert np.abs(got - logits[:, index]).max() < 1e-4
        again = np.array([a[f"{name}-logit"] for a in recomputed])
        assert np.abs(got - again).max() < 1e-4
        said = np.array([a[name] for a in answers])
        assert np.abs(said - calibrations[name].probability(logits[:, index])).max() < 1e-4
    assert np.ptp(logits[:, 1]) > 0.1


def answer(
    program: Path, bundle: Path, person: Any, folder: Path, *more: str
) -> list[dict[str, Any]]:
    arguments = []
    for name, signal in person.signals.items():
        rows = np.empty(len(signal), [("t", "<u8"), ("v", "<f8")])
        rows["t"], rows["v"] = signal.times, signal.values
        (folder / f"{name}.bin").write_bytes(rows.tobytes())
        arguments += ["--signal", f"{name}={signal.rate:g}:{folder / name}.bin"]
    done = subprocess.run(
        [str(program), "answer", str(bundle), *arguments, *more],
        capture_output=True, text=True, check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_ecg_stands_in_for_ppg(trained: Path, bundle: Path, program: Path) -> None:
    """The made heart's rate is the same in both, so the answers are nearly the same."""
    if not os.environ.get("ORT_DYLIB_PATH"):
        pytest.skip("ORT_DYLIB_PATH does not name libonnxruntime: source target/env.sh")
    said = []
    for cardiac in ("ppg", "ecg"):
        person = made.recordings(people=1, seconds=80, runs=2, seed=4, cardiac=cardiac)[0]
        person.signals.pop("eda")
        rows = answer(program, bundle, person, trained.parent)
        said.append(np.array([r["arousal"] for r in rows if r["window-end"] > 40e9]))
    count = min(s.size for s in said)
    assert count > 80
    # A network of seconds is sure of itself: half a beat per minute moves it.
    assert np.abs(said[0][:count] - said[1][:count]).mean() < 0.15


def test_the_card_says_what_was_measured(trained: Path, bundle: Path) -> None:
    card = (bundle / "MODEL_CARD.md").read_text()
    metrics = json.loads((trained / "metrics.json").read_text())
    value = metrics["cells"][0]["scores"]["balanced_accuracy"]["value"]
    assert f"{value:.3f}" in card and "Article 5(1)(f)" in card
    assert str(trained) not in card


def test_a_directory_that_is_no_bundle_is_left_alone(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert cli.main(["export", str(trained), str(tmp_path)]) == 1
    assert "is no bundle" in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


# --- the commands


@pytest.mark.parametrize(("arguments", "message"), [
    (["train", "--run", "RUN"], "no --data is given"),
    (["train", "--run", "RUN", "--data", "nonsense=1"], "no such kind"),
    (["train", "--run", "RUN", "--data", "amigos"], "expected KIND=PATH"),
    (["train", "--run", "RUN", "--data", "stress-predict=/nowhere"], "does not exist"),
    (["train", "--run", "RUN", "--data", "made,people=x"], "option people"),
    (["train", "--run", "RUN", "--data", "made,pople=3"], "no option pople"),
    (["train", "--run", "RUN", "--data", "made", "--config", "none"], "no preset and no file"),
    (["train", "--run", "RUN", "--data", "made", "--set", "model.hats=3"], "hats"),
    (["train", "--run", "RUN", "--data", "made", "--set", "epochs=3"], "TABLE.FIELD=VALUE"),
    (["train", "--run", "RUN", "--data", "made,people=2,seconds=10"], "expected at least one"),
    (["train", "--run", "RUN", "--data", "made", "--target", "valence"], "no recording has"),
    (["calibrate", "RUN"], "is no run folder"),
    (["export", "RUN", "BUNDLE"], "is no run folder"),
])
def test_mistakes_are_told_in_a_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"RUN": str(tmp_path / "run"), "BUNDLE": str(tmp_path / "bundle")}
    assert cli.main([places.get(a, a) for a in arguments]) == 1
    told = capsys.readouterr().err.strip().splitlines()[-8:]
    assert any(message in line for line in told), told
    assert not any("Traceback" in line for line in told)


def test_the_matrix_is_filled_and_goes_on(
    program: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [
        "evaluate", "--data", "made,people=5,seconds=60", "--run", str(tmp_path), "--splits",
        "5", "--durations", "20", "--jobs", "1", "--draws", "20", "--shifted", "1",
        "--mvp-offline", str(program), *SETS, "--set", "train.epochs=1",
    ]
    assert cli.main(command) == 0
    report = capsys.readouterr().out
    for row in ("majority", "class prior", "time only, RF", "LR on units", "MVP cross",
                "MVP video, faces alone", "labels shifted, draw 0"):
        assert row in report, row
    cells = {p: p.stat().st_mtime_ns for p in (tmp_path / "cells").iterdir()}
    assert cli.main(command) == 0
    assert capsys.readouterr().out == report
    assert cells == {p: p.stat().st_mtime_ns for p in (tmp_path / "cells").iterdir()}

    # More draws are asked for: the first is kept, the second made.
    command[command.index("--shifted") + 1] = "2"
    assert cli.main(command) == 0
    report = capsys.readouterr().out
    assert "labels shifted, draw 0" in report and "labels shifted, draw 1" in report
    after = {p: p.stat().st_mtime_ns for p in (tmp_path / "cells").iterdir()}
    assert cells == {p: after[p] for p in cells} and len(after) > len(cells)


def test_people_of_two_sets_keep_apart() -> None:
    one = datasets.read("made=1,people=2,seconds=20")
    with pytest.raises(DataError, match="at most one set of single faces"):
        datasets.read_all([one.spec, "made=2,people=2,seconds=20"])


def test_a_list_of_own_recordings_is_read(tmp_path: Path) -> None:
    time = np.arange(800) / 8
    rows = "\n".join(f"{t},{2 + 0.1 * np.sin(t)},{'' if i % 2 else 1.0}"
                     for i, t in enumerate(time))
    (tmp_path / "a.csv").write_text("time,eda,ppg\n" + rows + "\n")
    table = tmp_path / "index.csv"
    table.write_text("subject,name,physiology,arousal\nx,x1,a.csv,1\n")
    found = datasets.read(f"listed={table}").recordings
    assert found[0].subject == "x" and found[0].segments[0].arousal == 1
    assert found[0].signals["eda"].rate == pytest.approx(8)
    assert found[0].signals["ppg"].rate == pytest.approx(4)
    for text, message in (
        ("subject,name,physiology,arousal\nx,x1,a.csv,2\n", "line 2: arousal is '2'"),
        ("subject,name,physiology\nx,x1,b.csv\n", "b.csv does not exist"),
        ("subject,name\nx,x1\n", "expected columns subject"),
        ("subject,name,physiology\n", "lists no recording"),
    ):
        table.write_text(text)
        with pytest.raises(DataError, match=message):
            datasets.read(f"listed={table}")
