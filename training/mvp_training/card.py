# SPDX-License-Identifier: MPL-2.0
"""The model card that goes into a bundle, with the figures of the run that it is from."""

from __future__ import annotations

import json
from typing import Any

from .clock import LIMIT
from .model import Network
from .run import Run, face_table

# What the order of a protocol cannot raise comes first.
SCORES = (("auc_same_time", "AUC, same minute"), ("auc", "AUC"),
          ("balanced_accuracy", "balanced accuracy"), ("f1_macro", "F1 macro"))


def text(run: Run) -> str:
    """Markdown."""
    config = run.config
    metrics = _read(run, "metrics.json")
    calibration = _read(run, "calibration.json")
    signals = ", ".join(sorted({config.modality(s["name"]) for s in config.signals}))
    lines = [
        f"# {config.name} {config.version}", "",
        f"MVP (arXiv 2501.03103), {config.model.variant} fusion,"
        f" {Network(config).parameters_count:,} parameters; an open reconstruction, not the"
        " authors' weights.", "",
        f"- **Takes** {len(config.video.units)} face units at {config.video.rate:g} Hz;"
        f" {signals}. Any of them may be missing.",
        f"- **Says** valence and the probability of high arousal, for a window of"
        f" {config.window.duration:g} s, every {config.window.hop:g} s.",
        f"- **Trained on** {', '.join(run.info['data'])}"
        f" (target of the recordings: {run.info['target']}).",
        "- **Code and weights** MPL-2.0; the data's own licences stand in docs/model.md.", "",
        "## Figures", "",
        "Nobody scored was in training. Value, then the 95 % interval by bootstrap over"
        " people. *Same minute*: over pairs of windows of the same minute of the protocol, so"
        " that knowing the time does not help.", "",
        "| target | what is seen | model | " + " | ".join(n for _, n in SCORES) + " |",
        "| --- | --- | --- |" + " --- |" * len(SCORES),
    ]
    for cell in metrics.get("cells", []):
        values = " | ".join(_estimate(cell["scores"].get(k)) for k, _ in SCORES)
        lines.append(
            f"| {cell['dataset']}, {cell['target']} | {cell['modality']} | {cell['model']}"
            f" ({cell['split']}) | {values} |"
        )
    if "clock" in metrics:
        lines += ["", f"The time since the start, regressed from the network's inputs for people"
                  f" whom the regression has not seen: R² {metrics['clock']:.2f}"
                  f" ({'within' if metrics['clock'] <= LIMIT else 'above'} the limit of {LIMIT:g})."]
    if "faces" in metrics:
        lines += ["", *face_table(metrics["faces"]).splitlines()]
    lines += ["", "Probabilities are for as many ones as zeros: one half is the threshold."
              " Expected calibration error on people that neither training nor calibration has"
              " seen (10 bins), with classes weighing the same, and, after a shift to the"
              " share of ones among the others, as the windows were found:", ""]
    for name, kept in calibration.items():
        if "ece_classes" in kept:
            lines.append(f"- valence (face): {kept['ece']:.3f}; of negative, neutral and"
                         f" positive: {kept['ece_classes']:.3f} ({kept['rows']} answers)")
        elif "ece" in kept:
            lines.append(f"- {name} ({kept['from']}): {kept['ece']:.3f} and"
                         f" {kept['ece_as_found']:.3f} ({kept['rows']} answers)")
        else:
            lines.append(f"- {name}: nothing was learnt of it; it stays near one half")
    lines += ["", *LIMITS]
    return "\n".join(lines) + "\n"


LIMITS = """\
## Limits

- Two heads in one graph: until paired data shows more, what it says of face and body together
  is what it says of each. No public set has body and face of the same people with these labels in
  a registry. Arousal was learnt from bodies without faces, valence from single faces without
  bodies; the network sees both at once only as pairs of different people.
- Arousal is *stress against rest* in a laboratory: a Stroop test, an interview and fast
  breathing, all people in the same order. Part of what skin and heart show there is the
  order itself; the column "same minute" compares people at the same minute only.
- Valence is *negative, neutral or positive* on faces in news pictures, by labels of students,
  which are noisy. The median neutral face is 0.5 by
  construction. A smile is not a feeling. The repository of the pictures is Apache-2.0; the rights of the pictures
  themselves are unverified (only numbers derived from them are used).
- The level of skin conductance is not used: it rises through a session, so that a network
  learns the time from it. Its changes within half a minute and the heart rate are taken
  relative to the person's own past: the first minutes of a session say less than later ones,
  and whoever is stressed from the first minute looks at rest.
- Hyper-parameters were chosen on the people that are scored; expect a little less with new
  people, and with other sensors than a wrist-worn Empatica E4.
- Not for children, patients, or any group that is not in the data: it has not been tried.

## Must not be used

Not for decisions about a person, and not to tell truth from lie. In the European Union the
use of AI systems to infer emotions of natural persons in the areas of workplace and
education institutions is prohibited, except for medical or safety reasons: Regulation (EU)
2024/1689 (AI Act), Article 5(1)(f), which applies since 2 February 2025. Where it is not
prohibited, emotion recognition is high-risk (Annex III, 1(c)), and those exposed to it must
be told (Article 50(3)). docs/model.md says more.""".splitlines()


def _read(run: Run, name: str) -> dict[str, Any]:
    file = run.path(name)
    content: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    return content


def _estimate(score: dict[str, Any] | None) -> str:
    if score is None or score["value"] is None:
        return "-"
    return f"{score['value']:.3f} [{score['low']:.3f}-{score['high']:.3f}]"
