"""The cut below the lowest adapted layer: trunk and rest together are the uncut step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_backbone import FAMILIES, save_tiny
from torch import Tensor
from torch.fx import GraphModule

from edge_runtime.wire.experts import BankShape
from edge_runtime.wire.program_interface import MethodKind, MethodShape, ModelShape, input_ports, output_ports
from export.compiling.cut import above_cut, below_cut
from export.compiling.trace import sample_inputs, trace
from export.errors import LoweringError
from export.model.graft import Graft
from export.model.step import build_step
from export.proving.packed_texts import joined_prefixes, places_of, trunk_inputs
from export.proving.proof import proof_inputs
from export.shapes import uncut
from export.source import backbone

ADAPTED = (1, 2)
TRUNK = MethodShape(MethodKind.TRUNK, 0, 0, 12, 8, 0)
FROZEN_LINEAR = torch.ops.edge_experts.frozen_linear.default


def _model(top_k: int | None = None) -> ModelShape:
    return ModelShape(BankShape((0, 1), 3, 4, 3, 32, 5), top_k)


def _graft(folder: Path, adapted: tuple[int, ...] = ADAPTED) -> Graft:
    info = backbone.find(str(folder))
    return Graft(backbone.load(info), info.family, adapted, quantize_embedding=False)


def _traced(graft: Graft, model: ModelShape, method: MethodShape) -> GraphModule:
    return trace(build_step(graft, model, method), sample_inputs(input_ports(model, method)))


def _named(model: ModelShape, method: MethodShape, outputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
    return dict(zip([port.name for port in output_ports(model, method)], outputs, strict=True))


def _check_cut(graft: Graft, model: ModelShape, vocabulary: int, layers: int = 0) -> None:
    """Hold trunk and cut step against the uncut step: loss, statistics, new values, moments."""
    whole = MethodShape(MethodKind.TRAIN, 2, 1, 12, 4, 6, layers=layers)
    cut, below = replace(whole, cut=True), replace(TRUNK, layers=layers)
    inputs = proof_inputs(model, whole, vocabulary)
    wanted = _named(model, whole, build_step(graft, model, whole)(*inputs.values()))
    trunk = below_cut(_traced(graft, model, uncut(below, model)), model, below)
    texts = places_of(inputs)
    inputs |= joined_prefixes(inputs, [(texts, trunk(*trunk_inputs(below, inputs, texts)))])
    rest = above_cut(_traced(graft, model, whole), model, cut)
    cut_outputs = _named(model, cut, rest(*(inputs[port.name] for port in input_ports(model, cut))))
    for name, tensor in wanted.items():
        torch.testing.assert_close(cut_outputs[name], tensor, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("top_k", [None, 2])
def test_trunk_and_rest_make_the_uncut_step(tiny: Path, top_k: int | None) -> None:
    """Each text goes through the trunk in a row of its own, then the cut step runs on the packed texts."""
    _check_cut(_graft(tiny, ADAPTED), _model(top_k), 100)


@pytest.mark.parametrize("top_k", [None, 2])
def test_a_step_of_the_upper_layer_is_the_uncut_step_of_that_layer(tiny: Path, top_k: int | None) -> None:
    """Of three adapted layers one is trained; the experts of the two below run in the trunk."""
    model = ModelShape(BankShape((0, 1, 2), 3, 4, 3, 32, 5), top_k)
    _check_cut(_graft(tiny, (0, 1, 2)), model, 100, layers=1)


def test_a_step_of_the_upper_layers_has_the_gradients_of_the_whole_model(tiny: Path) -> None:
    """Without cutting: loss, statistics, and each new value of two of three layers are those of the step of all."""
    model = ModelShape(BankShape((0, 1, 2), 3, 4, 3, 32, 5))
    graft, whole = _graft(tiny, (0, 1, 2)), MethodShape(MethodKind.TRAIN, 2, 1, 12, 4, 6)
    inputs = proof_inputs(model, whole, 100)
    wanted = _named(model, whole, build_step(graft, model, whole)(*inputs.values()))
    upper = replace(whole, layers=2)
    own = {name: tensor[1:] if tensor.shape[0] == 3 and name != "mean" else tensor for name, tensor in inputs.items()}
    own["lower_experts"] = torch.cat([inputs["trained"], inputs["frozen"]], 1)[:1]
    own["lower_shared"] = inputs["shared"][:1]
    outputs = build_step(graft, model, upper)(*(own[port.name] for port in input_ports(model, upper)))
    for name, tensor in _named(model, upper, outputs).items():
        expected = wanted[name][1:] if wanted[name].shape[0] == 3 else wanted[name]
        torch.testing.assert_close(tensor, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", sorted(set(FAMILIES) - {"bert"}))
def test_every_family_is_cut_in_the_same_way(tmp_path: Path, kind: str) -> None:
    """The last of two layers adapted: post-norm, pre-norm, rotary positions; the loss and every gradient agree."""
    model = ModelShape(BankShape((0,), 3, 4, 3, 32, 5))
    _check_cut(_graft(save_tiny(tmp_path, kind), (1,)), model, 100)


def test_a_language_model_is_cut_in_the_same_way(tmp_path: Path) -> None:
    """Its loss is of the next tokens, which the step gets beside the prefix."""
    model = ModelShape(BankShape((0,), 3, 4, 3, 32, 0), vocabulary=100)
    info = backbone.find(str(save_tiny(tmp_path, "llama")))
    graft = Graft(backbone.load(info, "causal-lm"), info.family, (1,), quantize_embedding=False)
    _check_cut(graft, model, 100)


def test_the_lowest_adapted_layer_costs_its_experts_only(tiny: Path) -> None:
    """Of three layers two are adapted: the rest runs one layer's six linears, forward and backward; the trunk two."""
    model, cut = _model(), MethodShape(MethodKind.TRAIN, 2, 1, 12, 4, 6, cut=True)
    graft = _graft(tiny)

    def frozen(module: GraphModule) -> int:
        exact = 4
        return sum(node.target == FROZEN_LINEAR and not node.args[exact] for node in module.graph.nodes)

    assert frozen(above_cut(_traced(graft, model, uncut(cut, model)), model, cut)) == 12
    assert frozen(below_cut(_traced(graft, model, uncut(TRUNK, model)), model, TRUNK)) == 12


def test_ports_of_trunk_and_cut_step() -> None:
    """What the trunk gives is what the cut step takes, at the place where ids stood."""
    model, cut = _model(), MethodShape(MethodKind.TRAIN, 2, 1, 12, 4, 6, cut=True)
    assert [port.name for port in input_ports(model, TRUNK)] == ["ids", "positions", "attend"]
    assert [(port.name, port.shape) for port in output_ports(model, TRUNK)] == [
        ("prefix", (8, 12, 32)),
        ("residual", (8, 12, 32)),
    ]
    texts = ["prefix", "residual", "positions", "attend", "mask", "readout", "labels"]
    assert [port.name for port in input_ports(model, cut)][-7:] == texts
    assert TRUNK.name == "trunk_s12_r8"


def test_a_graph_without_such_a_cut_is_refused() -> None:
    """Three values cross: the message says what was found and how to export all the same."""
    model, cut = _model(), MethodShape(MethodKind.PREDICT, 1, 0, 12, 1, 1, cut=True)

    def step(*tensors: Tensor) -> tuple[Tensor, ...]:
        inputs = dict(zip([port.name for port in input_ports(model, uncut(cut, model))], tensors, strict=True))
        x = inputs["ids"].to(torch.float32)
        scale = inputs["head"].sum()
        return (torch.sin(x) * scale, torch.cos(x) * scale, torch.exp(x) * scale)

    module = trace(step, sample_inputs(input_ports(model, uncut(cut, model))))
    with pytest.raises(LoweringError, match=r"3 values lead .* expected 2 .* without a trunk"):
        above_cut(module, model, cut)
