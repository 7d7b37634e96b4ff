"""Low-rank forms compute what an encoder computes whose own matrices have the update added to them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_backbone import save_tiny

from benchmarks.federation.arms.base import TARGETS, Form, Sizes, State, Work
from benchmarks.federation.backbone import Encoder, Linear
from benchmarks.federation.reading import Frozen, Texts
from benchmarks.federation.stacked import Job, train
from edge_runtime.wire.tensors import Array
from export.source import backbone

SIZES = Sizes(3, 32, 48, 5)
RANK, HEADS, TEXTS = 2, 3, 6


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Frozen:
    """Return a tiny encoder and random texts."""
    random = np.random.default_rng(1)
    info = backbone.find(str(save_tiny(tmp_path_factory.mktemp("tiny"))))
    weights = {name: tensor.numpy() for name, tensor in backbone.load(info).state_dict().items()}
    encoder = Encoder.of(weights, info.sizes.heads, float(info.config["layer_norm_eps"]), torch.device("cpu"))
    ids, lengths = random.integers(5, 95, (TEXTS, 8)), random.integers(1, 9, TEXTS)
    texts = Texts.of(ids, lengths, random.integers(0, 5, TEXTS), torch.device("cpu"))
    return Frozen(encoder, texts, torch.zeros(32))


def drawn(random: np.random.Generator, *shape: int) -> Array:
    """Return normal numbers of deviation 0.2."""
    return (0.2 * random.standard_normal((SIZES.layers, *shape))).astype(np.float32)


def changed(frozen: Frozen, updates: State) -> Frozen:
    """Return the encoder with updates [L, out, in] added to its matrices."""
    layers = []
    for place, layer in enumerate(frozen.encoder.layers):
        query, key, value = layer.qkv.weight.chunk(3)
        query, value = query + torch.tensor(updates["q"][place]), value + torch.tensor(updates["v"][place])
        attended = replace(layer, qkv=Linear(torch.cat([query, key, value]), layer.qkv.bias))
        ffn_in = Linear(layer.ffn_in.weight + torch.tensor(updates["ffn_in"][place]), layer.ffn_in.bias)
        ffn_out = Linear(layer.ffn_out.weight + torch.tensor(updates["ffn_out"][place]), layer.ffn_out.bias)
        layers.append(replace(attended, ffn_in=ffn_in, ffn_out=ffn_out))
    return replace(frozen, encoder=replace(frozen.encoder, layers=tuple(layers)))


def compare(frozen: Frozen, form: Form, values: State, updates: State) -> None:
    """Fail unless the form's features are those of the changed encoder, and other than the frozen one's."""
    rows = np.arange(TEXTS)
    read = frozen.features(form, [values], rows)
    assert read.numpy() == pytest.approx(changed(frozen, updates).features(Form("head"), [{}], rows).numpy(), abs=1e-5)
    assert not np.allclose(read.numpy(), frozen.features(Form("head"), [{}], rows).numpy(), atol=1e-2)


@pytest.mark.parametrize("dense", [False, True])
def test_lora_adds_its_product_to_the_matrix(frozen: Frozen, *, dense: bool) -> None:
    """W + 0.5 B A for all four matrices; with a change of the matrix, that as well."""
    random = np.random.default_rng(2)
    values: State = {"scale": np.full(1, 0.5, np.float32)}
    updates: State = {}
    for name in TARGETS:
        into, out = SIZES.target(name)
        a, b, w = drawn(random, RANK, into), drawn(random, out, RANK), drawn(random, out, into)
        values |= {f"{name}_a": a, f"{name}_b": b} | ({f"{name}_w": w} if dense else {})
        updates[name] = (0.5 * b @ a + (w if dense else 0)).astype(np.float32)
    compare(frozen, Form("lora"), values, updates)


def test_ravan_adds_the_sum_of_its_heads_to_the_matrix(frozen: Frozen) -> None:
    """W + sum over heads of s B H A."""
    random = np.random.default_rng(3)
    values: State = {}
    updates: State = {}
    for name in TARGETS:
        into, out = SIZES.target(name)
        a, b = drawn(random, HEADS, RANK, into), drawn(random, HEADS, out, RANK)
        core, scale = drawn(random, HEADS, RANK, RANK), drawn(random, HEADS) + np.float32(1)
        values |= {f"{name}_a": a, f"{name}_b": b, f"{name}_h": 5 * core, f"{name}_s": scale}
        updates[name] = np.einsum("lh,lhor,lhrq,lhqi->loi", scale, b, 5 * core, a).astype(np.float32)
    compare(frozen, Form("ravan"), values, updates)


def test_layers_below_the_trained_ones_keep_the_scale_of_their_factors(frozen: Frozen) -> None:
    """The first loss of a client that trains the top layer alone is that of one that trains all."""
    random = np.random.default_rng(4)
    values: State = {"scale": np.full(1, 0.5, np.float32), "head": random.standard_normal(5 * 33).astype(np.float32)}
    values |= {"ffn_in_a": drawn(random, RANK, 32), "ffn_in_b": 5 * drawn(random, 48, RANK)}
    masks = {"ffn_in_b": np.ones((1, 1, 1), np.float32)}
    works = [Work(0, Form("lora"), values, masks, {"ffn_in_b": 1e-3}, 1, lowest) for lowest in (0, 2)]
    all_layers, top = train(frozen, [Job(work, np.arange(4)[None]) for work in works])
    assert top.losses[0] == pytest.approx(all_layers.losses[0], rel=1e-4)
