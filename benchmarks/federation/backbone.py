"""A frozen BERT encoder in plain torch, run for the texts of many clients at once.

Axes: K clients, T texts of each, S places, N = T*S, d width, f width of the feed-forward, V words, h heads.

A layer is two halves: attention (with the norm behind it), and the feed-forward that experts stand beside. The first
half of the lowest trained layer is part of the prefix, as in the product (`wire/program_interface`, BOUNDARY).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

ROUND_TO: Final = 8
"""Places of a batch are a multiple of it, for the kernels of attention."""


class Addition(Protocol):
    """What a form adds to a layer; None: nothing."""

    def project(self, name: str, x: Tensor) -> Tensor | None:
        """Return what is added to a matrix of ``arms.base.TARGETS``. Args: x: [K, N, in]; result [K, N, out]."""

    def beside(self, x: Tensor, share: Tensor) -> Tensor | None:
        """Return what is added to the feed-forward. Args: x: [K, N, d]; share: [K, N], 1/real tokens or 0."""


@dataclass(frozen=True, eq=False)
class Linear:
    """Args: weight: [out, in]; bias: [out]."""

    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Map [.., in] to [.., out]."""
        return functional.linear(x, self.weight, self.bias)


@dataclass(frozen=True, eq=False)
class Norm:
    """Args: weight, bias: [d]; eps: of the variance."""

    weight: Tensor
    bias: Tensor
    eps: float

    def __call__(self, x: Tensor) -> Tensor:
        """Map [.., d] to itself."""
        return functional.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


@dataclass(frozen=True, eq=False)
class Layer:
    """Weights of a layer. Args: qkv: query, key and value in one; heads: h."""

    qkv: Linear
    out: Linear
    attended: Norm
    ffn_in: Linear
    ffn_out: Linear
    fed: Norm
    heads: int

    def attend(self, states: Tensor, mask: Tensor, addition: Addition | None) -> Tensor:
        """Return the feed-forward's input [K, N, d]. Args: states: [K, N, d]; mask: as attention_mask."""
        query, key, value = self.qkv(states).chunk(3, -1)
        if addition is not None:
            query, value = _plus(query, addition.project("q", states)), _plus(value, addition.project("v", states))
        rows, places = mask.shape[0], mask.shape[-1]
        query, key, value = (part.reshape(rows, places, self.heads, -1).transpose(1, 2) for part in (query, key, value))
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2)
        return self.attended(self.out(mixed.reshape(states.shape)) + states)

    def feed(self, x: Tensor, share: Tensor, addition: Addition | None) -> Tensor:
        """Return the layer's output [K, N, d]. Args: x: what ``attend`` gave; share: [K, N]."""
        inner = self.ffn_in(x)
        if addition is not None:
            inner = _plus(inner, addition.project("ffn_in", x))
        inner = functional.gelu(inner)
        out = self.ffn_out(inner)
        if addition is not None:
            out = _plus(_plus(out, addition.project("ffn_out", inner)), addition.beside(x, share))
        return self.fed(out + x)


def _plus(x: Tensor, added: Tensor | None) -> Tensor:
    return x if added is None else x + added


@dataclass(frozen=True, eq=False)
class Encoder:
    """Weights of the encoder on a device, in the type it computes in.

    Args:
        words: [V, d].
        places: [S, d], with the embedding of token type 0.
        embedded: norm of the embeddings.
        layers: L of them.
        inner: f.
    """

    words: Tensor
    places: Tensor
    embedded: Norm
    layers: tuple[Layer, ...]
    inner: int

    @classmethod
    def of(
        cls,
        weights: Mapping[str, npt.NDArray[Any]],
        heads: int,
        eps: float,
        device: torch.device,
        kind: torch.dtype = torch.float32,
    ) -> Encoder:
        """Put the weights of a BERT checkpoint, by their names there, on a device.

        Raises:
            KeyError: for a weight that is missing.
        """
        tensors = {name: torch.from_numpy(array).float() for name, array in weights.items()}

        def put(tensor: Tensor) -> Tensor:
            return tensor.to(device, kind).contiguous()

        def linear(*names: str) -> Linear:
            joined = [torch.cat([tensors[f"{name}.{part}"] for name in names]) for part in ("weight", "bias")]
            return Linear(*map(put, joined))

        def norm(name: str) -> Norm:
            return Norm(put(tensors[f"{name}.weight"]), put(tensors[f"{name}.bias"]), eps)

        def layer(number: int) -> Layer:
            name = f"encoder.layer.{number}."
            own = f"{name}attention.self."
            return Layer(
                qkv=linear(f"{own}query", f"{own}key", f"{own}value"),
                out=linear(f"{name}attention.output.dense"),
                attended=norm(f"{name}attention.output.LayerNorm"),
                ffn_in=linear(f"{name}intermediate.dense"),
                ffn_out=linear(f"{name}output.dense"),
                fed=norm(f"{name}output.LayerNorm"),
                heads=heads,
            )

        count = len({name.split(".")[2] for name in tensors if name.startswith("encoder.layer.")})
        layers = tuple(map(layer, range(count)))
        places = (
            tensors["embeddings.position_embeddings.weight"] + tensors["embeddings.token_type_embeddings.weight"][0]
        )
        words = put(tensors["embeddings.word_embeddings.weight"])
        inner = layers[0].ffn_in.weight.shape[0]
        return cls(words, put(places), norm("embeddings.LayerNorm"), layers, inner)

    @property
    def width(self) -> int:
        """Length of a state, d."""
        return self.words.shape[1]

    @property
    def kind(self) -> torch.dtype:
        """Type that it computes in."""
        return self.words.dtype

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self.words.device

    def embed(self, ids: Tensor) -> Tensor:
        """Return the first layer's input [K, N, d] of ids [K, T, S]."""
        states = functional.embedding(ids, self.words) + self.places[: ids.shape[2]]
        return self.embedded(states).reshape(ids.shape[0], -1, self.width)


@dataclass(frozen=True, eq=False)
class Batch:
    """Texts of K clients. Args: ids: int [K, T, S]; lengths: int [K, T]."""

    ids: Tensor
    lengths: Tensor

    def real(self) -> Tensor:
        """Return bool [K, T, S]: places that hold a token."""
        return torch.arange(self.ids.shape[2], device=self.ids.device) < self.lengths[:, :, None]


def attention_mask(real: Tensor, kind: torch.dtype) -> Tensor:
    """Return what is added to attention scores, [K * T, 1, 1, S], for bool [K, T, S]: 0 at tokens, else -inf."""
    added = torch.zeros(real.shape, dtype=kind, device=real.device).masked_fill_(~real, -torch.inf)
    return added.reshape(-1, 1, 1, real.shape[2])


def token_share(real: Tensor) -> Tensor:
    """Return weights [K, N] of a mean over each client's real tokens, float32."""
    flat = real.reshape(real.shape[0], -1).float()
    return flat / flat.sum(1, keepdim=True)


def features(states: Tensor, real: Tensor, lengths: Tensor) -> Tensor:
    """Return unit features [K, T, d], float32: means over a text's tokens. Args: states: [K, N, d]."""
    rows = states.reshape(*real.shape, -1)
    pooled = (rows.float() * real[..., None]).sum(2) / lengths[..., None]
    return pooled * torch.rsqrt((pooled * pooled).sum(-1, keepdim=True) + 1e-12)


def compile_layers() -> None:
    """Have layers go through torch.compile from now on, for all sizes of a batch at once; slow to start."""
    for half in ("attend", "feed"):
        setattr(Layer, half, torch.compile(getattr(Layer, half), dynamic=True))
