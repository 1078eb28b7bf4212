# SPDX-License-Identifier: MPL-2.0
"""`mvp-training`, or `python -m mvp_training`: train, evaluate, calibrate, export."""

from __future__ import annotations

import argparse
import ast
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from . import card, clock, datasets, export, heldout, matrix, plots, protocol, run
from .batches import Bodies
from .conditioning import Conditioner
from .config import VARIANTS, Config, ConfigError, load, presets
from .data.recording import DataError
from .datasets import Dataset


def say(text: str) -> None:
    """Progress goes to stderr, results to stdout."""
    tqdm.write(text, file=sys.stderr)


class Bar:
    """A progress bar that a callback moves."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.bar: Any = None

    def __call__(self, done: int, total: int) -> None:
        if self.bar is None:
            self.bar = tqdm(total=total, desc=self.what, file=sys.stderr, dynamic_ncols=True)
        self.bar.update(done - self.bar.n)
        if done >= total:
            self.bar.close()


def changes(items: Sequence[str]) -> dict[str, Any]:
    """`--set train.epochs=3` as what `Config.with_changes` takes."""
    result: dict[str, Any] = {}
    for item in items:
        key, equals, text = item.partition("=")
        table, dot, name = key.strip().partition(".")
        if not equals or not dot or table not in ("model", "train", "window"):
            raise ConfigError(
                f"--set {item}: expected TABLE.FIELD=VALUE with TABLE model, train or window"
            )
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            value = text
        result[f"{table}__{name.replace('-', '_')}"] = _tuples(value)
    return result


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, (list, tuple)) else value


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(v) for v in text.split(","))


def _words(known: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    def read(text: str) -> tuple[str, ...]:
        words = tuple(text.split(","))
        for word in words:
            if word not in known:
                raise argparse.ArgumentTypeError(f"{word!r}: expected {', '.join(known)}")
        return words

    return read


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="mvp-training", description="Trains, evaluates, calibrates and exports MVP networks."
    )
    commands = top.add_subparsers(dest="command", required=True)

    def command(name: str, text: str, data: bool) -> argparse.ArgumentParser:
        one = commands.add_parser(
            name, help=text, description=text, epilog=f"KIND of --data:\n{datasets.HELP}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if data:
            one.add_argument("--config", default="default", metavar="NAME",
                             help=f"a preset ({', '.join(presets())}) or a TOML file")
            one.add_argument("--data", action="append", default=[], metavar="KIND=PATH",
                             help="what to learn from; several may be given")
            one.add_argument("--run", type=Path, required=True, metavar="DIR",
                             help="folder for all that comes out; an earlier run goes on")
            one.add_argument("--set", action="append", default=[], metavar="TABLE.FIELD=VALUE",
                             help="change the configuration: --set train.epochs=3")
            one.add_argument("--jobs", type=int, default=None,
                             help="networks trained at a time (default: one per core)")
            one.add_argument("--mvp-offline", type=Path, default=None, metavar="PROGRAM",
                             help="the program that conditions signals (default: target/, PATH)")
        return one

    one = command("train", "train a network, score it on held-out people, calibrate it", True)
    one.add_argument("--target", default=None, choices=run.OUTPUTS,
                     help="the label of the recordings to learn (default: arousal if there)")
    one.add_argument("--split", default="loso", choices=[*matrix.SPLITS[:3], "none"],
                     help="who is held out for scores and calibration (default: loso)")
    one.add_argument("--seed", type=int, default=None, help="default: the configuration's")
    one = command("evaluate", "fill the protocol matrix", True)
    one.add_argument("--targets", type=_words(run.OUTPUTS), default=run.OUTPUTS)
    one.add_argument("--splits", type=_words(matrix.SPLITS), default=matrix.SPLITS)
    one.add_argument("--durations", type=_numbers, default=protocol.DURATIONS,
                     help="seconds, for instance 30,60")
    one.add_argument("--modalities", type=_words(heldout.MODALITIES), default=heldout.MODALITIES)
    one.add_argument("--variants", default=None, metavar="A,B",
                     help="ways to fuse (default: the configuration's); 'all' for all")
    one.add_argument("--shifted", type=int, default=0, metavar="N",
                     help="also train and score on N draws of shifted labels")
    one.add_argument("--no-networks", action="store_true", help="chance and classical rows only")
    one.add_argument("--no-classical", action="store_true", help="networks only")
    one.add_argument("--draws", type=int, default=1000, help="of the bootstrap")
    one = command("calibrate", "fit temperature and bias to a run's held-out answers", False)
    one.add_argument("run", type=Path)
    one = command("export", "write a run's network as a bundle for mvpfusion", False)
    one.add_argument("run", type=Path)
    one.add_argument("bundle", type=Path)
    one.add_argument("--duration", type=float, default=None,
                     help="seconds of window, if not those of training (for measurements)")
    return top


def _faces(sets: Sequence[Dataset]) -> Dataset | None:
    return next((s for s in sets if s.faces is not None), None)


def _target(sets: Sequence[Dataset], wanted: str | None) -> str:
    known = [
        t for t in ("arousal", "valence")
        if any(getattr(s, t) is not None for d in sets for r in d.recordings for s in r.segments)
    ]
    if wanted is not None and known and wanted not in known:
        raise DataError(f"no recording has a label for {wanted}; there is {', '.join(known)}")
    return wanted or (known[0] if known else "arousal")


def train(options: argparse.Namespace) -> None:
    """Held-out folds, the network on all data, calibration, report."""
    config, changed = _config(options)
    if options.seed is not None:
        changed["train__seed"] = options.seed
        config = config.with_changes(train__seed=options.seed)
    say("reading")
    sets = datasets.read_all(options.data)
    target = _target(sets, options.target)
    recordings = heldout.long_enough([r for s in sets for r in s.recordings], config)
    recordings = [
        r.check(config.window.duration) for r in recordings
        if any(getattr(s, target) is not None for s in r.segments)
    ]
    for one in sets:
        for r in one.recordings:
            for note in r.notes:
                say(f"  {r.name}: {note}")
    here = run.create(options.run, config, changed, {
        "data": datasets.paths(options.data), "digest": datasets.digest(sets),
        "target": target, "split": options.split,
    })
    parts = []
    if recordings:
        conditioner = Conditioner(config, options.mvp_offline)
        say(f"conditioning with {conditioner.program.name}")
        parts = heldout.condition(
            recordings, conditioner, here.path("cache"), here.info["digest"], Bar("conditioning")
        )
    shown = _faces(sets)
    prepared = heldout.prepare(
        config, recordings, parts, shown.faces if shown else None, target
    )
    say(
        f"{len(recordings)} recordings, {len(prepared.dense)} windows of"
        f" {config.window.duration:g} s, {len(prepared.rows)} of them for scores;"
        f" {0 if prepared.faces is None else prepared.faces.valence.size} faces"
    )
    found: list[heldout.Found] = []
    if options.split != "none":
        where = here.path("folds")
        split = (
            matrix.splits_of(prepared.rows, [options.split])[0] if recordings else None
        )
        bar = Bar("held-out folds")
        found = heldout.run(
            prepared, heldout.folds(prepared, split, where), where, options.jobs,
            lambda f, done, of: bar(done, of),
        )
        run.collect(prepared, found).save(here.path("heldout.npz"))
    network_file = here.path("network.pt")
    if not network_file.exists():
        bar = Bar("all data")
        network = heldout.final(
            prepared, here.path("final.state"), lambda done, _: bar(done, config.train.epochs)
        )
        run.save_network(network, network_file)
        here.path("final.state").unlink(missing_ok=True)
    plots.curves([f.losses for f in found], here.path("curves.png"))
    if not found:
        say("nobody was held out (--split none): there are no scores and no calibration")
        return
    held = run.Heldout.load(here.path("heldout.npz"))
    run.calibrate(here, held)
    name = ", ".join(s.name for s in sets if s.recordings)
    table, numbers = run.report(
        here, held, name, found_name(prepared, options.split), any(s.same_time for s in sets)
    )
    if recordings and any(s.same_time for s in sets):
        features = clock.summaries(prepared, Bodies(config, parts))
        numbers["clock"] = clock.probe(features, prepared.rows.elapsed, prepared.rows.subject)
        table += (
            f"\nTime since the start, regressed from the network's inputs: R² {numbers['clock']:.3f}"
            f" (limit {clock.LIMIT:g}).\n"
        )
    here.path("metrics.json").write_text(json.dumps(numbers, indent=1) + "\n")
    here.path("report.md").write_text(table)
    print(table)
    print(json.dumps(numbers["calibration"], indent=1))


def found_name(prepared: heldout.Prepared, split: str) -> str:
    """What tables call the split."""
    return matrix.splits_of(prepared.rows, [split])[0].name if len(prepared.rows) else split


def evaluate(options: argparse.Namespace) -> None:
    """The protocol matrix."""
    config, _ = _config(options)
    variants: tuple[str, ...] = (config.model.variant,)
    if options.variants is not None:
        variants = VARIANTS if options.variants == "all" else _words(VARIANTS)(options.variants)
    sets = datasets.read_all(options.data)
    options.run.mkdir(parents=True, exist_ok=True)
    bars: dict[str, Bar] = {}
    wish = matrix.Wish(
        options.targets, options.splits, options.durations, options.modalities, variants,
        not options.no_networks, not options.no_classical, options.shifted, options.draws,
        options.jobs,
    )
    cells = matrix.evaluate(
        config, sets, wish, options.run, options.mvp_offline, say,
        lambda name, done, of: bars.setdefault(name, Bar(name))(done, of),
    )
    table = protocol.table(cells)
    (options.run / "report.md").write_text(table)
    (options.run / "cells.json").write_text(protocol.to_json(cells))
    print(table)


def calibrate(options: argparse.Namespace) -> None:
    """Temperature and bias from the held-out answers that a run has kept."""
    here = run.open_run(options.run)
    run.calibrate(here, run.Heldout.load(here.path("heldout.npz")))
    print(here.path("calibration.json").read_text(), end="")


def write_bundle(options: argparse.Namespace) -> None:
    """A bundle from a run."""
    here = run.open_run(options.run)
    calibrations = run.read_calibration(here)
    network = run.load_network(here)
    if options.duration is not None:
        network = run.lengthened(here, network, options.duration)
    size = export.export(
        network, calibrations, card.text(here), options.bundle,
        run.read_evidence(here) or export.UNCHANGED,
        run.shares(here.config, run.Heldout.load(here.path("heldout.npz"))),
    )
    print(f"{options.bundle}: {size / 1e6:.2f} MB, {network.parameters_count} parameters")


def _config(options: argparse.Namespace) -> tuple[Config, dict[str, Any]]:
    config = load(options.config)
    changed = changes(options.set)
    try:
        return config.with_changes(**changed), changed
    except TypeError as error:
        raise ConfigError(f"--set: {error}") from error


COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "train": train, "evaluate": evaluate, "calibrate": calibrate, "export": write_bundle,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; data and configurations that do not fit are told in one line."""
    options = parser().parse_args(arguments)
    try:
        COMMANDS[options.command](options)
    except (DataError, ConfigError, FloatingPointError, argparse.ArgumentTypeError) as error:
        print(f"mvp-training: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nmvp-training: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
