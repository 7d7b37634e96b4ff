"""Every supported family by one mechanism: the same graft, the same step, checked against the stock model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny_backbone import FAMILIES, save_tiny

from edge_runtime.wire.experts import BankShape
from edge_runtime.wire.program_interface import MethodKind, MethodShape, ModelShape, output_ports
from export.errors import UnsupportedModelError
from export.model.graft import Graft
from export.model.step import build_step
from export.proving.proof import gradient_errors, proof_inputs, reference_gradients
from export.proving.reference import Reference
from export.source import backbone
from export.source.families import FAMILIES as ROWS
from export.source.families import check_task

MODEL = ModelShape(BankShape((0, 1), 3, 4, 3, 32, 5))
TRAIN = MethodShape(MethodKind.TRAIN, 2, 1, 12, 4, 6)
ADAPTED = (0, 1)


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a small random model of each family."""
    return save_tiny(tmp_path_factory.mktemp(request.param), request.param)


def test_a_small_model_of_every_family_is_tested() -> None:
    """A new row of the table needs a row in the tests."""
    assert set(FAMILIES) == set(ROWS)


def test_step_of_every_family_has_the_stock_models_gradients(folder: Path) -> None:
    """Frozen stand-ins (RMS norm, SiLU, rotary positions, shared keys) change no gradient of the stock model."""
    info = backbone.find(str(folder))
    inputs = proof_inputs(MODEL, TRAIN, info.sizes.vocabulary)
    graft = Graft(backbone.load(info), info.family, ADAPTED, quantize_embedding=False)
    names = [port.name for port in output_ports(MODEL, TRAIN)]
    outputs = dict(zip(names, build_step(graft, MODEL, TRAIN)(*inputs.values()), strict=True))
    loss, wanted = reference_gradients(Reference(backbone.load(info), info.family, ADAPTED, MODEL), inputs)
    torch.testing.assert_close(outputs["loss"][0], loss)
    gradients = {name: outputs[f"{name}_m1"] / 0.1 for name in wanted}
    assert max(gradient_errors(gradients, wanted, MODEL, by_layer=True).values()) < 1e-5


def test_sizes_are_read_from_every_familys_own_names(folder: Path) -> None:
    """Width, depth, heads and vocabulary come through optimum's names, whatever the family calls them."""
    info = backbone.find(str(folder))
    assert (info.sizes.width, info.sizes.inner, info.sizes.heads, info.sizes.vocabulary) == (32, 48, 4, 100)
    assert info.sizes.depth == (3 if info.kind in ("bert", "roberta") else 2)
    assert info.sizes.kv_heads == (2 if info.family.causal else 4)
    assert info.sizes.head_width == (16 if info.kind == "qwen3" else 8)
    assert info.sizes.positions == (39 if info.kind == "roberta" else 40)


def test_what_a_family_cannot_do_is_refused_by_name(tmp_path: Path) -> None:
    """Unknown architectures, continuing a text with an encoder, and sliding windows are refused with what works."""
    config = json.loads((save_tiny(tmp_path, "qwen2") / "config.json").read_text())

    def change(**keys: object) -> str:
        (tmp_path / "config.json").write_text(json.dumps({**config, **keys}))
        return str(tmp_path)

    every = "bert, distilbert, llama, qwen2, qwen3, roberta"
    other = change(model_type="gpt2", architectures=["GPT2LMHeadModel"])
    with pytest.raises(UnsupportedModelError, match=rf"'gpt2' \(GPT2LMHeadModel\) is not .*; supported: {every}"):
        backbone.find(other)
    with pytest.raises(UnsupportedModelError, match="use_sliding_window: True, which export does not compute"):
        backbone.find(change(use_sliding_window=True))
    with pytest.raises(UnsupportedModelError, match=r"a bert .* cannot continue one.* works with llama, qwen2, qwen3"):
        check_task({"model_type": "bert"}, "causal-lm", "there")
