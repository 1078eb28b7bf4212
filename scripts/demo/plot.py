# SPDX-License-Identifier: MPL-2.0
"""Draws emotion.jsonl and the physiology that was sent, over time."""

import argparse
import json
import pathlib
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402

from recording import STREAMS  # noqa: E402

VALENCE, AROUSAL, GREY = "#0b6fa4", "#c8501e", "#5a5a5a"
MODALITIES = {"video": "#7b3fa0", "eda": "#1f8a4c", "ecg": "#c0203a", "ppg": "#d08a00"}
OTHER = ["#008b8b", "#8b5a2b", "#444444"]
NEEDED = ["sequence", "valence", "arousal", "confidence", "window-end", "model", "provider", "warming-up", "stale"]


def read(path):
    """The results in `path`, one per window, in order.

    Raises ValueError naming the line, or saying that there is no result.
    """
    results = {}
    with open(path, encoding="utf-8") as f:
        for number, line in enumerate(f, 1):
            try:
                one = json.loads(line)
            except json.JSONDecodeError as e:
                raise ValueError(f"{path} line {number} is not JSON: {e}") from e
            missing = [k for k in NEEDED if k not in one]
            if len(missing) == len(NEEDED):
                continue  # every=frame, before the first result
            if missing:
                raise ValueError(f"{path} line {number} has no field '{missing[0]}'")
            # With every=frame a result comes once per frame: keep the first.
            results.setdefault(one["sequence"], one)
    if not results:
        raise ValueError(f"{path} holds no result")
    return [results[k] for k in sorted(results)]


def shade(ax, t, flags, colour, label):
    """Shades where `flags` hold; each result speaks for the time up to itself."""
    edges = np.concatenate([[max(0.0, t[0] - 1)], t])
    for i in np.flatnonzero(flags):
        ax.axvspan(edges[i], edges[i + 1], color=colour, lw=0, zorder=0, label=label)
        label = None


def timeline(results, body, base_time, title):
    """The figure. `body`: the arrays send_body.py saved, or None; `base_time`: LSL time of running time 0, s."""
    t = np.array([r["window-end"] for r in results]) / 1e9
    names = [k[len("coverage-") :] for k in results[-1] if k.startswith("coverage-")]
    # The bundle's order is not kept in JSON; video first, then as sent.
    order = ["video", *(s.name.lower() for s in STREAMS)]
    names.sort(key=lambda n: (order.index(n) if n in order else len(order), n))
    streams = [s for s in STREAMS if body is not None and s.name in body]

    heights = [2.2, 1.2, 1.5, *([1.1] * len(streams))]
    fig, axes = plt.subplots(
        len(heights), 1, sharex=True, figsize=(12, 1.5 + 1.25 * sum(heights)), height_ratios=heights, layout="constrained"
    )
    warming = np.array([bool(r["warming-up"]) for r in results])
    stale = np.array([bool(r["stale"]) for r in results])
    for ax in axes[:3]:
        shade(ax, t, warming, "#f3ead2", "window not yet full")
        shade(ax, t, stale, "#f0c9c9", "stale")
        ax.set_ylim(-0.05, 1.05)
        ax.set_yticks([0, 0.5, 1])
        ax.grid(True, axis="y", color="#dddddd", lw=0.6)

    def values(key):
        return np.array([r.get(key, np.nan) for r in results], dtype=float)

    axes[0].axhline(0.5, color=GREY, lw=0.8, ls=":")
    axes[0].plot(t, values("valence"), "o-", ms=3, color=VALENCE, label="valence")
    axes[0].plot(t, values("arousal"), "s-", ms=3, color=AROUSAL, label="arousal")
    axes[0].set_ylabel("probability\nof high")
    axes[1].plot(t, values("confidence"), "o-", ms=2.5, color=GREY)
    axes[1].set_ylabel("confidence")
    spare = iter(OTHER * len(names))
    for i, name in enumerate(names):
        # Narrower on top of wider, so that equal lines do not hide one another.
        axes[2].plot(t, values(f"coverage-{name}"), lw=1.0 + 0.8 * (len(names) - 1 - i), solid_capstyle="butt", color=MODALITIES.get(name) or next(spare), label=name)
    axes[2].set_ylabel("coverage")
    for ax in (axes[0], axes[2]):
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9)

    end = max(t[-1], 1.0)
    for ax, s in zip(axes[3:], streams):
        x = body[f"{s.name}-time"] - base_time
        inside = (x >= 0) & (x <= end)
        ax.plot(x[inside], body[s.name][inside], lw=0.7 if s.rate > 32 else 1.4, color=MODALITIES[s.name.lower()])
        ax.set_ylabel(f"{s.label}\n{s.unit}")
        ax.margins(y=0.1)
    axes[-1].set_xlim(0, end)
    axes[-1].set_xlabel("running time of the pipeline, s")

    last = results[-1]
    fig.suptitle(f"{title}\nmodel: {last['model']}   ·   provider: {last['provider']}", fontsize=13)
    notes = ["Face and body are of different people: what is shown is the plumbing, not a person."]
    if not last.get("trained", True):
        notes.append("The model is an UNTRAINED fixture: its answers mean nothing.")
    axes[0].set_title("\n".join(notes), fontsize=10, color="#a01010")
    return fig


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=pathlib.Path, help="emotion.jsonl")
    parser.add_argument("output", type=pathlib.Path, help="the picture, .png")
    parser.add_argument("--body", type=pathlib.Path, help="what send_body.py --save wrote")
    parser.add_argument("--base-time", type=float, default=0.0, help="LSL time at which running time was 0, in s")
    parser.add_argument("--title", default="gst-plugin-mvp: emotion from face and physiology")
    args = parser.parse_args()
    try:
        results = read(args.results)
        body = np.load(args.body) if args.body else None
    except (OSError, ValueError) as e:
        sys.exit(f"error: {e}")
    timeline(results, body, args.base_time, args.title).savefig(args.output, dpi=110)


if __name__ == "__main__":
    main()
