# SPDX-License-Identifier: MPL-2.0
"""The MVP network (arXiv 2501.03103) and its variants.

Encoders turn one chunk, with its context, into tokens; they see nothing else, so tokens
can be kept from window to window. The fusion graph reads a window of tokens. In the
paper's form the query is physiology and key and value are the face; what the paper does
not say is configuration.

Shapes: b windows, T tokens of a stream in a window, w width, n grid points of context and
chunk, U face units. `valid` is 1.0 where there is something and 0.0 where there is not.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from .config import Config, ModelConfig

# Added to the scores of keys that are not there (additive: boolean masks cost more).
ABSENT = 1e4


class Attention(nn.Module):
    """Multi-head attention with an additive mask over keys."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, query: Tensor, key: Tensor, valid: Tensor) -> Tensor:
        """query [b, q, w], key [b, k, w], valid [b, k] -> [b, q, w]"""
        b, q, w = query.shape
        k = key.shape[1]
        scaled = self.query(query) * self.size**-0.5
        heads = scaled.reshape(b, q, self.heads, self.size).transpose(1, 2)
        pair = self.key_value(key).reshape(b, k, 2, self.heads, self.size)
        keys = pair[:, :, 0].permute(0, 2, 3, 1)
        values = pair[:, :, 1].transpose(1, 2)
        score = torch.matmul(heads, keys) + ((valid - 1.0) * ABSENT).reshape(b, 1, 1, k)
        mixed = torch.matmul(torch.softmax(score, -1), values).transpose(1, 2).reshape(b, q, w)
        out: Tensor = self.out(mixed)
        return out


class Block(nn.Module):
    """Pre-norm attention and feed-forward, with residuals; self-attention without `other`."""

    def __init__(self, config: ModelConfig, cross: bool) -> None:
        super().__init__()
        w = config.width
        self.norm = nn.LayerNorm(w)
        self.other_norm = nn.LayerNorm(w) if cross else None
        self.attention = Attention(w, config.heads)
        self.feed_norm = nn.LayerNorm(w)
        self.feed = nn.Sequential(
            nn.Linear(w, config.feed_forward * w), nn.GELU(),
            nn.Dropout(config.dropout), nn.Linear(config.feed_forward * w, w),
        )
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, valid: Tensor, other: Tensor | None = None) -> Tensor:
        """x [b, q, w], other [b, k, w]; valid [b, k], of `other`, or of x without it."""
        query = self.norm(x)
        key = query if self.other_norm is None or other is None else self.other_norm(other)
        x = x + self.dropout(self.attention(query, key, valid))
        out: Tensor = x + self.dropout(self.feed(self.feed_norm(x)))
        return out


def masked_mean(x: Tensor, valid: Tensor, axis: int) -> Tensor:
    """Mean of x over `axis` where `valid` (same rank) is 1; 0 where nothing is."""
    return (x * valid).sum(axis) / valid.sum(axis).clamp(min=1.0)


class VideoEncoder(nn.Module):
    """units [b, n, U], valid [b, n] -> tokens [b, tokens, w]: mean-pooled units, a linear
    layer and a norm. More than one token: the points are cut evenly, the last cut last."""

    def __init__(self, units: int, width: int, tokens: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.linear = nn.Linear(units, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, units: Tensor, valid: Tensor) -> Tensor:
        b, n, u = units.shape
        part = n // self.tokens
        first = n - part * self.tokens
        pieces = units[:, first:].reshape(b * self.tokens, part, u)
        held = valid[:, first:].reshape(b * self.tokens, part, 1)
        mean = masked_mean(pieces, held, 1).reshape(b, self.tokens, u)
        out: Tensor = self.norm(self.linear(mean))
        return out


class StreamEncoder(nn.Module):
    """signal, valid [b, c, n] -> tokens [b, tokens, w]: strided convolutions that look
    back only. What is missing is zero, and the mask is a channel of its own."""

    def __init__(self, channels: int, config: ModelConfig, tokens: int) -> None:
        super().__init__()
        self.tokens = tokens
        layers: list[nn.Module] = []
        wide = 2 * channels
        for out, kernel, stride in config.tokenizer:
            layers += [nn.ConstantPad1d((kernel - stride, 0), 0.0),
                       nn.Conv1d(wide, out, kernel, stride), nn.GELU()]
            wide = out
        self.convolutions = nn.Sequential(*layers)
        self.skip = nn.Linear(2 * channels, config.width)
        self.norm = nn.LayerNorm(config.width)

    def forward(self, signal: Tensor, valid: Tensor) -> Tensor:
        seen = signal * valid
        wave = self.convolutions(torch.cat([seen, valid], 1))
        rows = wave[:, :, -self.tokens:].transpose(1, 2)
        mean = torch.cat([masked_mean(seen, valid, 2), valid.mean(2)], 1)
        out: Tensor = self.norm(rows + self.skip(mean).unsqueeze(1))
        return out


def positions(tokens: int, per_second: float, width: int) -> Tensor:
    """[tokens, w]: sines of the seconds back from the window's end, the only clock there is."""
    back = torch.arange(tokens - 1, -1, -1, dtype=torch.float32) / per_second
    wave = torch.pow(torch.tensor(10_000.0), -torch.arange(0, width, 2) / width)
    angle = back.unsqueeze(1) * wave
    return torch.stack([angle.sin(), angle.cos()], -1).reshape(tokens, width)


def valence_of(evidence: Tensor) -> Tensor:
    """Logits [b, 3] of negative, neutral and positive -> the logit [b, 1] of the valence
    P(positive) + P(neutral) / 2."""
    half = evidence[:, 1:2] - math.log(2.0)
    # log(exp(a) + exp(half)) = half + softplus(a - half), which ONNX has.
    high = functional.softplus(evidence[:, 2:3] - half)
    return high - functional.softplus(evidence[:, 0:1] - half)


class Fusion(nn.Module):
    """Tokens of a window -> logits of valence and arousal, [b, 1] each, and, where the
    configuration has classes, those of negative, neutral and positive, [b, 3].

    `forward(tokens, valid)`: lists with the video's first, then the streams', in the
    configuration's order: [b, T, w] and [b, T].
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        m, w = config.model, config.model.width
        self.variant, self.pool_kind = m.variant, m.pool
        parts = [config.video.encoder.tokens] + [s.encoder.tokens for s in config.streams]
        for i, tokens in enumerate(parts):
            table = positions(tokens * config.window.chunks, tokens / config.window.chunk, w)
            self.register_buffer(f"position{i}", table, persistent=False)
        self.kinds = nn.Parameter(torch.randn(len(parts), w) * 0.02)
        self.has_null = m.null_tokens
        self.null = nn.Parameter(torch.randn(2, w) * 0.02)
        self.video_blocks = nn.ModuleList(Block(m, False) for _ in range(m.video_layers))
        self.physio_blocks = nn.ModuleList(Block(m, False) for _ in range(m.physio_layers))
        cross = m.variant in ("cross", "reversed", "bidirectional")
        fused = 0 if m.variant in ("late", "video", "physiology") else m.fusion_layers
        self.fusion_blocks = nn.ModuleList(Block(m, cross) for _ in range(fused))
        both = m.variant == "bidirectional"
        self.back_blocks = nn.ModuleList(Block(m, True) for _ in range(fused if both else 0))
        pooled = 2 if m.variant in ("late", "bidirectional") else 1
        self.pools = nn.ModuleList(nn.Linear(w, 1) for _ in range(pooled))
        self.norms = nn.ModuleList(nn.LayerNorm(w) for _ in range(pooled))
        self.dropout = nn.Dropout(m.dropout)
        self.classes = len(config.outputs.classes)
        heads = pooled if m.variant == "late" else 1
        wide = w * (pooled if heads == 1 else 1)
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(wide, w), nn.GELU(), nn.Dropout(m.dropout),
                          nn.Linear(w, 1 + (self.classes or 1)))
            for _ in range(heads)
        )

    def _pool(self, x: Tensor, valid: Tensor, index: int) -> Tensor:
        x = self.norms[index](x)
        if self.pool_kind == "mean":
            return masked_mean(x, valid.unsqueeze(-1), 1)
        score = self.pools[index](x) + ((valid - 1.0) * ABSENT).unsqueeze(-1)
        return (torch.softmax(score, 1) * x).sum(1) * valid.amax(1, keepdim=True)

    def _with_null(self, x: Tensor, valid: Tensor, index: int) -> tuple[Tensor, Tensor]:
        """Puts a token in front that is always there, so that attention has somewhere to go."""
        if not self.has_null:
            return x, valid
        b = x.shape[0]
        null = self.null[index].reshape(1, 1, -1).expand(b, -1, -1)
        return torch.cat([null, x], 1), torch.cat([torch.ones_like(valid[:, :1]), valid], 1)

    def forward(self, tokens: list[Tensor], valid: list[Tensor]) -> tuple[Tensor, ...]:
        parts = [
            t + getattr(self, f"position{i}") + self.kinds[i] for i, t in enumerate(tokens)
        ]
        video, video_valid = self._with_null(parts[0], valid[0], 0)
        body, body_valid = self._with_null(torch.cat(parts[1:], 1), torch.cat(valid[1:], 1), 1)
        v = self.variant
        if v == "early":
            x, there = torch.cat([body, video], 1), torch.cat([body_valid, video_valid], 1)
            for block in (*self.video_blocks, *self.physio_blocks, *self.fusion_blocks):
                x = block(x, there)
            return self._heads([self._pool(x, there, 0)])
        if v != "physiology":
            for block in self.video_blocks:
                video = block(video, video_valid)
        if v != "video":
            for block in self.physio_blocks:
                body = block(body, body_valid)
        if v == "video":
            return self._heads([self._pool(video, video_valid, 0)])
        if v == "physiology":
            return self._heads([self._pool(body, body_valid, 0)])
        if v == "late":
            return self._heads([self._pool(body, body_valid, 0), self._pool(video, video_valid, 1)])
        if v == "concat":
            x, there = torch.cat([body, video], 1), torch.cat([body_valid, video_valid], 1)
            for block in self.fusion_blocks:
                x = block(x, there)
            return self._heads([self._pool(x, there, 0)])
        if v == "reversed":
            # Without a face's tokens there is nobody to ask; the null token does.
            for block in self.fusion_blocks:
                video = block(video, body_valid, body)
            return self._heads([self._pool(video, video_valid, 0)])
        asked, seen = body, video
        for i, block in enumerate(self.fusion_blocks):
            next_asked = block(asked, video_valid, seen)
            if v == "bidirectional":
                seen = self.back_blocks[i](seen, body_valid, asked)
            asked = next_asked
        pooled = [self._pool(asked, body_valid, 0)]
        if v == "bidirectional":
            pooled = [torch.cat([pooled[0], self._pool(seen, video_valid, 1)], -1)]
        return self._heads(pooled)

    def _heads(self, pooled: list[Tensor]) -> tuple[Tensor, ...]:
        out = torch.stack([h(self.dropout(p)) for h, p in zip(self.heads, pooled)]).mean(0)
        if not self.classes:
            return out[:, :1], out[:, 1:]
        evidence = out[:, 1:]
        return valence_of(evidence), out[:, :1], evidence


class Network(nn.Module):
    """All encoders and the fusion; for training and as the reference of the export.

    `forward(parts)`: for video and each stream, in order, the values and flags of all
    chunks of a window and which chunks count:
    video: units [b, chunks, n, U], valid [b, chunks, n], there [b, chunks];
    stream: signal [b, chunks, c, n], valid the same, there [b, chunks].
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        m = config.model
        self.video = VideoEncoder(len(config.video.units), m.width, config.video.encoder.tokens)
        self.streams = nn.ModuleList(
            StreamEncoder(len(s.channels), m, s.encoder.tokens) for s in config.streams
        )
        self.fusion = Fusion(config)

    @property
    def parameters_count(self) -> int:
        return sum(p.numel() for p in self.parameters())

    def encode(self, index: int, values: Tensor, valid: Tensor) -> Tensor:
        """Tokens of all chunks: [b, chunks * tokens, w]; index 0 is video."""
        b, chunks = values.shape[:2]
        encoder = self.video if index == 0 else self.streams[index - 1]
        flat = encoder(values.flatten(0, 1), valid.flatten(0, 1))
        out: Tensor = flat.reshape(b, chunks * flat.shape[1], flat.shape[2])
        return out

    def forward(self, parts: list[tuple[Tensor, Tensor, Tensor]]) -> tuple[Tensor, ...]:
        tokens, there = [], []
        for i, (values, valid, chunks) in enumerate(parts):
            rows = self.encode(i, values, valid)
            per = rows.shape[1] // chunks.shape[1]
            held = chunks.repeat_interleave(per, 1)
            # What the live element has not encoded is zero, not the encoding of nothing.
            tokens.append(rows * held.unsqueeze(-1))
            there.append(held)
        out: tuple[Tensor, ...] = self.fusion(tokens, there)
        return out


def evidence_loss(logits: Tensor, target: Tensor, weight: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy of [b, 3] logits with shares [b, 3], weighted."""
    smooth = target * (1.0 - smoothing) + smoothing / target.shape[1]
    each = -(smooth * functional.log_softmax(logits, 1)).sum(1)
    return (each * weight).sum() / weight.sum().clamp(min=1e-6)


def loss(logits: Tensor, target: Tensor, weight: Tensor, smoothing: float) -> Tensor:
    """Binary cross-entropy of [b, 1] logits with targets 0-1, weighted, in float32."""
    smooth = target * (1.0 - smoothing) + 0.5 * smoothing
    each = functional.binary_cross_entropy_with_logits(logits[:, 0], smooth, reduction="none")
    return (each * weight).sum() / weight.sum().clamp(min=1e-6)


def set_seed(seed: int) -> None:
    """One seed for torch; numpy's generators are made where they are used."""
    torch.manual_seed(seed % (2**31))
