"""Recomputation changes what a step keeps, not what it computes."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.fx import GraphModule

from edge_runtime.wire.experts import BankShape
from edge_runtime.wire.manifest_checks import Quantization
from edge_runtime.wire.program_interface import MethodKind, MethodShape, ModelShape, input_ports, output_ports
from export.compiling.compile import canonicalize
from export.compiling.liveness import peak_bytes
from export.compiling.lowering import lower
from export.compiling.recompute import LEVELS, kept, recompute
from export.compiling.simplify import eliminate_dead_tensors, value
from export.compiling.trace import sample_inputs, trace
from export.model.graft import Graft
from export.model.step import build_step
from export.provenance import place_of
from export.proving.measure import Run, run_methods
from export.proving.proof import proof_inputs
from export.source import backbone
from export.source.families import FAMILIES

MODEL = ModelShape(BankShape((0, 1, 2), 3, 4, 3, 32, 5))
TRAIN = MethodShape(MethodKind.TRAIN, 2, 1, 12, 4, 6)


def _plain(graft: Graft, model: ModelShape, method: MethodShape, *, int8: bool) -> GraphModule:
    module = trace(build_step(graft, model, method), sample_inputs(input_ports(model, method)))
    canonicalize(module, Quantization.INT8 if int8 else Quantization.NONE)
    return module


def _with(module: GraphModule, level: str, width: int = 32) -> GraphModule:
    changed = copy.deepcopy(module)
    for node, original in zip(changed.graph.nodes, module.graph.nodes, strict=True):
        node.meta = dict(original.meta)
    recompute(changed, level, width)
    eliminate_dead_tensors(changed)
    return changed


def _kept_bytes(module: GraphModule) -> int:
    return sum(value(node).numel() * value(node).element_size() for node in kept(module.graph))


@pytest.fixture(scope="module")
def graft(tiny: Path) -> Graft:
    """Return the tiny backbone with experts in all three layers."""
    info = backbone.find(str(tiny))
    return Graft(backbone.load(info), info.family, (0, 1, 2), quantize_embedding=False)


@pytest.fixture(scope="module")
def module(graft: Graft) -> GraphModule:
    """Return the tiny backbone's step without any recomputation, in float32."""
    return _plain(graft, MODEL, TRAIN, int8=False)


@pytest.fixture(scope="module")
def step_inputs(tiny: Path) -> dict[str, Tensor]:
    """Return inputs in a general position."""
    return proof_inputs(MODEL, TRAIN, backbone.find(str(tiny)).sizes.vocabulary)


@pytest.mark.parametrize("level", LEVELS)
def test_every_gradient_is_the_one_of_the_plain_step(
    module: GraphModule, step_inputs: dict[str, Tensor], level: str
) -> None:
    """First moments (a tenth of the gradients) and all other outputs are equal to 1e-6 of their size."""
    plain, other = module(*step_inputs.values()), _with(module, level)(*step_inputs.values())
    for port, one, two in zip(output_ports(MODEL, TRAIN), plain, other, strict=True):
        assert float((one - two).norm()) <= 1e-6 * float(one.norm()), port.name


def test_each_level_keeps_less(module: GraphModule) -> None:
    """Without views kept twice, then without what is cheap to compute again, then one tensor a layer."""
    sizes = [_kept_bytes(module), *(_kept_bytes(_with(module, level)) for level in LEVELS)]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 4


def test_layers_keep_one_tensor_of_the_residual_stream_each(module: GraphModule) -> None:
    """Of what is as large as [B, S, d], a layer keeps its end; the lowest also its norm's input, below any gradient."""
    large = [node for node in kept(_with(module, "layers").graph) if value(node).numel() >= 4 * 12 * 32]
    assert [value(node).numel() for node in large] == [4 * 12 * 32] * 4
    assert [place_of(node).layer for node in large] == [0, 0, 1, 2]


def test_second_computation_comes_after_the_backward_of_the_layers_above(module: GraphModule) -> None:
    """What is computed again for a layer is not there before it is needed: that is the point."""
    nodes = [node for node in _with(module, "layers").graph.nodes if node.op == "call_function"]
    attended = [place_of(node).kind == "attention" for node in nodes]
    softmax = [place for place, node in enumerate(nodes) if attended[place] and "softmax" in str(node.target)]
    layers = [place_of(nodes[place]).layer for place in softmax]
    assert layers == [0, 1, 2, 2, 1]
    above = [node for node in nodes[: softmax[4]] if place_of(node).backward and place_of(node).layer == 2]
    linears = [node for node in above if "linear" in str(node.target) and min(value(node).shape[-1:]) > 1]
    frozen, gates = 6 + 5, 2  # all six of the backward, all but the last of the forward; gates to units and back
    assert len(linears) == frozen + gates


def test_unadapted_layers_are_not_computed_again(tiny: Path) -> None:
    """With experts in the top layer, nothing below is differentiated, so nothing below is kept or repeated."""
    info = backbone.find(str(tiny))
    graft = Graft(backbone.load(info), info.family, (2,), quantize_embedding=False)
    model = ModelShape(BankShape((0,), 3, 4, 3, 32, 5))
    changed = _with(_plain(graft, model, TRAIN, int8=False), "layers")
    assert {place_of(node).layer for node in changed.graph.nodes if place_of(node).backward} == {2, None}


def test_predict_has_nothing_to_compute_again(graft: Graft) -> None:
    """A graph without a backward stays as it is."""
    predict = MethodShape(MethodKind.PREDICT, 3, 0, 12, 1, 1)
    module = _plain(graft, MODEL, predict, int8=False)
    assert len(_with(module, "layers").graph.nodes) == len(module.graph.nodes)


@pytest.mark.parametrize("int8", [pytest.param(False, marks=pytest.mark.matrix), True])
def test_lowered_programs_compute_the_same_with_less_memory(
    graft: Graft, step_inputs: dict[str, Tensor], tmp_path: Path, *, int8: bool
) -> None:
    """Activations need less than in the plain step, nothing more stays outside, and the results are the plain ones."""
    module = _plain(graft, MODEL, TRAIN, int8=int8)
    inputs = tuple(step_inputs.values())
    planned, outside, results = [], [], []
    for level in LEVELS:
        lowered = lower({"train": (_with(module, level), inputs)}, lambda _: None)
        planned.append(lowered.planned["train"] + lowered.workspace["train"])
        outside.append(lowered.outside["train"])
        path = tmp_path / f"{level}.pte"
        path.write_bytes(lowered.data)
        results.append(run_methods(path, [Run("train", inputs, 0)], tmp_path)[0].outputs)
    assert planned[1] < planned[0]
    assert outside[1:] == outside[:1] * 2
    for other in results[1:]:
        for port, one, two in zip(output_ports(MODEL, TRAIN), results[0], other, strict=True):
            assert float((one - two).norm()) <= 1e-6 * float(one.norm()), port.name


def test_a_step_of_minilms_size_needs_less_at_a_time() -> None:
    """Six layers of MiniLM's size, 8 x 64 tokens: what lives at a time falls by a tenth, and by two fifths."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(vocab_size=100, hidden_size=384, num_attention_heads=12, intermediate_size=1536)
    config.num_hidden_layers = 6
    config._attn_implementation = "eager"
    graft = Graft(
        BertModel(config, add_pooling_layer=False).eval(), FAMILIES["bert"], tuple(range(6)), quantize_embedding=True
    )
    model = ModelShape(BankShape((0, 1, 2, 3, 4, 5), 8, 8, 8, 384, 20))
    module = _plain(graft, model, MethodShape(MethodKind.TRAIN, 4, 4, 64, 8, 8), int8=True)
    peaks = [peak_bytes(_with(module, level, 384).graph) for level in LEVELS]
    assert peaks[1] < 0.9 * peaks[0]
    assert peaks[2] < 0.6 * peaks[0]
