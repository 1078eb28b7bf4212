# SPDX-License-Identifier: MPL-2.0
"""Fits a network: one optimiser, one seed, resumable after every epoch."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .batches import Bodies, Faces, Source, face_windows, sample
from .config import Config
from .data.windows import Ints
from .model import Network, evidence_loss, loss, set_seed

Floats = np.ndarray[Any, np.dtype[np.float64]]


def device() -> torch.device:
    """The GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def fit(
    config: Config,
    source: Source,
    seed: int | None = None,
    state: Path | None = None,
    epoch_done: Callable[[int, dict[str, float]], None] | None = None,
) -> Network:
    """Trains a network and returns it with its averaged weights, in evaluation mode.

    state: a file that holds everything after each epoch; if it is there, training goes on
    from it
    epoch_done: called with the number of epochs done and the mean losses of the last
    """
    t = config.train
    seed = t.seed if seed is None else seed
    set_seed(seed)
    where = device()
    network = Network(config).to(where)
    decayed = [p for p in network.parameters() if p.ndim > 1]
    plain = [p for p in network.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": t.weight_decay},
         {"params": plain, "weight_decay": 0.0}],
        lr=t.learning_rate,
    )
    steps = max(1, t.windows_per_epoch // t.batch) * t.epochs
    warm = max(1, steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda s: min(1.0, (s + 1) / warm) * 0.5 * (1 + math.cos(math.pi * min(1.0, s / steps))),
    )
    mean = copy.deepcopy(network).eval()
    done = 0
    random = np.random.default_rng(seed)
    if state is not None and state.exists():
        kept = torch.load(state, map_location=where)
        network.load_state_dict(kept["network"])
        mean.load_state_dict(kept["mean"])
        optimiser.load_state_dict(kept["optimiser"])
        schedule.load_state_dict(kept["schedule"])
        torch.set_rng_state(kept["torch"].cpu())
        random.bit_generator.state = kept["numpy"]
        done = int(kept["epoch"])
    step = done * max(1, t.windows_per_epoch // t.batch)
    for epoch in range(done, t.epochs):
        network.train()
        losses: dict[str, list[float]] = {"valence": [], "arousal": []}
        for batch in sample(source, config, random):
            inputs = [tuple(x.to(where) for x in part) for part in batch.inputs]
            valence, arousal, *evidence = network(inputs)
            v = loss(
                valence, batch.valence.to(where), batch.valence_weight.to(where), t.label_smoothing
            )
            a = loss(
                arousal, batch.arousal.to(where), batch.arousal_weight.to(where), t.label_smoothing
            )
            if evidence:
                # Faces teach what they show; the valence follows from it.
                v = v + evidence_loss(
                    evidence[0], batch.evidence.to(where), batch.evidence_weight.to(where),
                    t.label_smoothing,
                )
            total = v + a
            if not torch.isfinite(total):
                raise FloatingPointError(
                    f"the loss is {float(total)} in epoch {epoch + 1}: lower [train] learning-rate"
                )
            optimiser.zero_grad()
            total.backward()  # type: ignore[no-untyped-call,unused-ignore]
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            step += 1
            keep = min(t.ema, step / (step + 10)) if t.ema > 0 else 0.0
            with torch.no_grad():
                for m, p in zip(mean.parameters(), network.parameters()):
                    m.lerp_(p, 1 - keep)
            losses["valence"].append(v.item())
            losses["arousal"].append(a.item())
        if state is not None:
            kept = {
                "network": network.state_dict(), "mean": mean.state_dict(),
                "optimiser": optimiser.state_dict(), "schedule": schedule.state_dict(),
                "torch": torch.get_rng_state(), "numpy": random.bit_generator.state,
                "epoch": epoch + 1,
            }
            torch.save(kept, state.with_suffix(".new"))
            state.with_suffix(".new").replace(state)
        if epoch_done is not None:
            epoch_done(epoch + 1, {k: float(np.mean(x)) for k, x in losses.items()})
    return mean


def outputs(config: Config) -> int:
    """How many logits a window has: valence, arousal and the classes."""
    return 2 + len(config.outputs.classes)


def body_logits(
    network: Network, bodies: Bodies, ends: Ints, mask: tuple[int, ...] = (), batch: int = 256
) -> Floats:
    """float64 [n, outputs]: logits of valence, arousal and classes for windows; `mask`: parts left out
    (0 is video, then the streams)."""
    network.eval()
    where = next(network.parameters()).device
    rows = []
    with torch.no_grad():
        for i in range(0, ends.size, batch):
            inputs = bodies.window(ends[i : i + batch])
            for part in mask:
                values, valid, there = inputs[part]
                inputs[part] = (values, valid, torch.zeros_like(there))
            rows.append(_run(network, inputs, where))
    return np.concatenate(rows) if rows else np.empty((0, outputs(network.config)))


def face_logits(network: Network, faces: Faces, rows: Ints, batch: int = 256) -> Floats:
    """float64 [n, outputs]: logits of single faces, held for a window."""
    network.eval()
    where = next(network.parameters()).device
    out = []
    with torch.no_grad():
        for i in range(0, rows.size, batch):
            out.append(_run(network, face_windows(network.config, faces, rows[i : i + batch]), where))
    return np.concatenate(out) if out else np.empty((0, outputs(network.config)))


def paired_logits(
    network: Network, bodies: Bodies, ends: Ints, faces: Faces, rows: Ints, batch: int = 256
) -> Floats:
    """float64 [n, outputs]: window `ends[i]` together with face `rows[i]`."""
    network.eval()
    where = next(network.parameters()).device
    out = []
    with torch.no_grad():
        for i in range(0, rows.size, batch):
            inputs = bodies.window(ends[i : i + batch])
            inputs[0] = faces.still(rows[i : i + batch])
            out.append(_run(network, inputs, where))
    return np.concatenate(out) if out else np.empty((0, outputs(network.config)))


def _run(network: Network, inputs: list[Any], where: torch.device) -> Floats:
    moved = [tuple(x.to(where) for x in part) for part in inputs]
    return np.asarray(torch.cat(network(moved), 1).cpu().numpy(), np.float64)
