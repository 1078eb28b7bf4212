# SPDX-License-Identifier: MPL-2.0
"""The network: shapes, masks, causality, and what each way to fuse looks at."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from mvp_training import config as configs
from mvp_training.config import VARIANTS, Config, ConfigError
from mvp_training.model import Network, set_seed

Inputs = list[tuple[Tensor, Tensor, Tensor]]


def small(**changes: object) -> Config:
    base = {"window__duration": 10.0, "model__dropout": 0.0}
    return configs.load("default").with_changes(**{**base, **changes})


def inputs(config: Config, windows: int = 3, seed: int = 0) -> Inputs:
    random = torch.Generator().manual_seed(seed)
    chunks = config.window.chunks
    n = round((config.video.encoder.context + config.window.chunk) * config.video.rate)
    video = torch.rand(windows, chunks, n, len(config.video.units), generator=random)
    result = [(video, torch.ones(windows, chunks, n), torch.ones(windows, chunks))]
    for stream in config.streams:
        n = round((stream.encoder.context + config.window.chunk) * config.stream_rate(stream))
        wave = torch.randn(windows, chunks, len(stream.channels), n, generator=random)
        result.append((wave, torch.ones_like(wave), torch.ones(windows, chunks)))
    return result


def network(config: Config, seed: int = 1) -> Network:
    set_seed(seed)
    return Network(config).eval()


def ask(net: Network, x: Inputs) -> Tensor:
    with torch.no_grad():
        return torch.cat(net(x), 1)


def without(x: Inputs, part: int) -> Inputs:
    return [(v, m, torch.zeros_like(t)) if i == part else (v, m, t)
            for i, (v, m, t) in enumerate(x)]


def changed(x: Inputs, part: int) -> Inputs:
    return [(v + 1.0, m, t) if i == part else (v, m, t) for i, (v, m, t) in enumerate(x)]


@pytest.mark.parametrize("preset", ["default", "paper"])
def test_presets_are_of_the_size_they_say(preset: str) -> None:
    config = configs.load(preset)
    net = network(config)
    if preset == "default":
        assert net.parameters_count <= 3_000_000
    assert ask(net, inputs(config.with_changes(), 1)).shape == (1, 2 + len(config.outputs.classes))


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_way_to_fuse_sees_what_it_should(variant: str) -> None:
    config = small(model__variant=variant)
    net = network(config)
    x = inputs(config)
    answer = ask(net, x)
    assert answer.shape == (3, 2 + len(config.outputs.classes)) and torch.isfinite(answer).all()
    sees_video = not torch.allclose(answer, ask(net, changed(x, 0)), atol=1e-6)
    sees_body = not torch.allclose(answer, ask(net, changed(x, 1)), atol=1e-6)
    assert sees_video == (variant != "physiology")
    assert sees_body == (variant != "video")


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("part", [0, 1, 2])
def test_what_is_masked_has_no_say(variant: str, part: int) -> None:
    config = small(model__variant=variant)
    net = network(config)
    x = without(inputs(config), part)
    assert torch.equal(ask(net, x), ask(net, changed(x, part)))


@pytest.mark.parametrize("variant", VARIANTS)
def test_nothing_at_all_is_still_an_answer(variant: str) -> None:
    config = small(model__variant=variant)
    x = inputs(config)
    for part in range(len(x)):
        x = without(x, part)
    assert torch.isfinite(ask(network(config), x)).all()


def test_points_without_a_value_have_no_say() -> None:
    config = small()
    net = network(config)
    x = inputs(config)
    wave, valid, there = x[1]
    valid = valid.clone()
    valid[:, 4, :, 3:] = 0.0
    other = wave.clone()
    other[:, 4, :, 3:] = 99.0
    one = ask(net, [x[0], (wave, valid, there), *x[2:]])
    assert torch.equal(one, ask(net, [x[0], (other, valid, there), *x[2:]]))


def test_a_chunk_is_encoded_by_itself() -> None:
    """Tokens can be kept only if no other chunk has a part in them."""
    config = small()
    net = network(config)
    for part, (values, valid, _) in enumerate(inputs(config)):
        with torch.no_grad():
            whole = net.encode(part, values, valid)
            per = whole.shape[1] // values.shape[1]
            single = net.encode(part, values[:, 4:5], valid[:, 4:5])
        assert torch.allclose(whole[:, 4 * per : 5 * per], single, atol=1e-6)


def test_time_is_counted_from_the_end_of_the_window() -> None:
    long, short = small(window__duration=20.0), small()
    set_seed(1)
    a, b = Network(long), Network(short)
    for index in range(3):
        tail = getattr(a.fusion, f"position{index}")[-10:]
        assert torch.allclose(tail, getattr(b.fusion, f"position{index}"))


def test_the_same_seed_is_the_same_network() -> None:
    config = small()
    a, b, c = network(config, 3), network(config, 3), network(config, 4)
    x = inputs(config)
    assert torch.equal(ask(a, x), ask(b, x)) and not torch.equal(ask(a, x), ask(c, x))


@pytest.mark.parametrize(("change", "message"), [
    ({"model__variant": "other"}, "variant: expected cross or"),
    ({"model__width": 65}, "even multiple of heads"),
    ({"window__duration": 10.5}, "multiple of chunk"),
    ({"train__epochs": 0}, "above 0"),
    ({"model__tokenizer": ((32, 2, 3),)}, "kernel >= stride"),
    ({"model__pool": "max"}, "pool: expected"),
])
def test_what_does_not_fit_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        configs.load("default").with_changes(**change)


def test_a_file_is_read_strictly(tmp_path: object) -> None:
    text = configs.load("default").text
    for wrong, message in (
        (text.replace("heads = ", "hats = "), "unknown field 'hats'"),
        (text.replace("epochs = ", "epochs = 'a' #"), "expected int"),
        (text.replace("[train]", "[training]"), r"table \[train\] is missing"),
        (text.replace('channels = [["eda"]]', 'channels = [["emg"]]'), "no .*signal.* is called 'emg'"),
        (text + "\n[", "Invalid|Expected"),
    ):
        with pytest.raises(ConfigError, match=message):
            configs.parse(wrong, "x.toml")
    with pytest.raises(ConfigError, match="no preset and no file is called 'nobody'"):
        configs.load("nobody")


def test_seeds_do_not_reach_numpy() -> None:
    before = np.random.get_state()[1].copy()  # type: ignore[index,union-attr]
    set_seed(5)
    assert (np.random.get_state()[1] == before).all()  # type: ignore[index]
