# SPDX-License-Identifier: MPL-2.0
"""Prints what the demonstration got; fails when it got less than it should."""

import argparse
import pathlib
import sys

import numpy as np

from plot import read


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=pathlib.Path, help="emotion.jsonl")
    parser.add_argument("--frames-in", type=int, required=True)
    parser.add_argument("--frames-out", type=int, required=True)
    args = parser.parse_args()
    try:
        results = read(args.results)
    except (OSError, ValueError) as e:
        sys.exit(f"error: {e}")
    # What JSON cannot hold is null.
    last = {k: float("nan") if v is None else v for k, v in results[-1].items()}
    ms = np.array([r["inference-time"] for r in results]) / 1e6
    coverage = {k[len("coverage-") :]: v for k, v in last.items() if k.startswith("coverage-")}

    def row(name, value):
        print(f"    {name:<15} {value}")

    row("frames", f"{args.frames_out} out of {args.frames_in}")
    row("results", f"{len(results)}, the last: {last.get('label', '')} (valence {last['valence']:.2f}, "
        f"arousal {last['arousal']:.2f}, confidence {last['confidence']:.2f})")
    row("model", last["model"])
    row("provider", f"{last['provider']}, {np.median(ms):.1f} ms median, {ms.max():.1f} ms at most")
    row("coverage", ", ".join(f"{k} {v:.2f}" for k, v in sorted(coverage.items())))
    if not last.get("trained", True):
        row("note", "this model is an UNTRAINED fixture: its answers mean nothing")
    row("note", "face and body are of different people")
    if args.frames_out != args.frames_in:
        sys.exit(f"error: {args.frames_in} frames went in, {args.frames_out} are in the film")
    if silent := [k for k, v in coverage.items() if v == 0]:
        sys.exit(f"error: nothing of {', '.join(silent)} reached the network")


if __name__ == "__main__":
    main()
