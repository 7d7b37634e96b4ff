"""Texts in the same rows as others against each in a row of its own: the same loss, gradients and statistics."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from shipped import outside_and_delegates
from tiny_backbone import FAMILIES, save_tiny
from torch import Tensor

from edge_runtime.wire.experts import BankShape
from edge_runtime.wire.manifest_checks import Quantization
from edge_runtime.wire.program_interface import MethodKind, MethodShape, ModelShape, input_ports, output_ports
from export.compiling.compile import compile_program
from export.model.graft import Graft
from export.model.step import build_step
from export.planning.job import Job
from export.proving.measure import Run, run_methods
from export.proving.packed_texts import Place, places_of, text_inputs, trunk_inputs
from export.proving.proof import proof_inputs
from export.source import backbone

PACKED = MethodShape(MethodKind.TRAIN, 2, 1, 12, 4, 6)
"""Five texts in three rows; a row and a slot are empty."""
PADDED = replace(PACKED, rows=6)
TRUNK = MethodShape(MethodKind.TRUNK, 0, 0, 12, 8, 0)
BY_TOKEN = ("ids", "targets", "weights")
Step = dict[str, Tensor]


def _model(top_k: int | None = None, *, continues: bool = False, layers: tuple[int, ...] = (0, 1)) -> ModelShape:
    shared, labels = 0 if top_k else 3, 0 if continues else 5
    return ModelShape(BankShape(layers, 3, 4, shared, 32, labels), top_k, 100 if continues else 0)


def _inputs(model: ModelShape) -> Step:
    """Return packed texts; with top-k gates the balance loss has a weight."""
    inputs = proof_inputs(model, PACKED, 100)
    if model.top_k:
        inputs["balance_weight"] = torch.full_like(inputs["balance_weight"], 0.5)
    return inputs


def _padded(inputs: Step) -> Step:
    """Return the same texts, each at the beginning of a row of its own, in the same slots."""
    texts = places_of(inputs)
    apart = [Place(text.slot, row, 0, text.length) for row, text in enumerate(texts)]
    told = text_inputs(apart, PADDED)
    padded = {name: told.get(name, tensor) for name, tensor in inputs.items()}
    for name in set(BY_TOKEN) & set(inputs):
        padded[name] = torch.zeros(PADDED.rows, PADDED.sequence, dtype=inputs[name].dtype)
        for text, own in zip(texts, apart, strict=True):
            padded[name][own.places] = inputs[name][text.places]
    return padded


def _errors(model: ModelShape, one: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> dict[str, float]:
    """Return the relative error of each output."""
    names = [port.name for port in output_ports(model, PACKED)]
    pairs = zip(names, one, other, strict=True)
    return {name: float((a - b).norm() / b.norm().clamp(min=1e-12)) for name, a, b in pairs}


def _graft(folder: Path, *, continues: bool = False) -> Graft:
    info = backbone.find(str(folder))
    task = "causal-lm" if continues else "classification"
    return Graft(backbone.load(info, task), info.family, (0, 1), quantize_embedding=False)


@pytest.mark.parametrize("top_k", [None, 2])
@pytest.mark.parametrize("kind", sorted(FAMILIES))
def test_company_in_a_row_changes_no_gradient(tmp_path: Path, kind: str, top_k: int | None) -> None:
    """Of every family, with both gates: loss, logits, statistics, gradients (balance loss included), to 1e-5."""
    model = _model(top_k)
    graft, inputs = _graft(save_tiny(tmp_path, kind)), _inputs(model)
    packed = build_step(graft, model, PACKED)(*inputs.values())
    errors = _errors(model, packed, build_step(graft, model, PADDED)(*_padded(inputs).values()))
    assert max(errors.values()) < 1e-5, errors


def test_windows_in_a_row_see_no_other_window(tmp_path: Path) -> None:
    """A language model's texts: the same, whatever stands before them."""
    model = _model(continues=True)
    graft, inputs = _graft(save_tiny(tmp_path, "llama"), continues=True), _inputs(model)
    packed = build_step(graft, model, PACKED)(*inputs.values())
    errors = _errors(model, packed, build_step(graft, model, PADDED)(*_padded(inputs).values()))
    assert max(errors.values()) < 1e-5, errors


def _compiled(folder: Path, job_model: ModelShape, quantize: Quantization, *methods: MethodShape) -> bytes:
    info = backbone.find(str(folder))
    job = Job(info, job_model, methods, quantize)
    return compile_program(backbone.load(info, job.task), job, lambda _: None).data


@pytest.mark.parametrize(
    ("quantize", "limit"), [(Quantization.NONE, 1e-5), (Quantization.INT8, 1e-3), (Quantization.INT4, 1e-3)]
)
def test_a_lowered_packed_step_is_the_padded_one(
    tiny: Path, tmp_path: Path, quantize: Quantization, limit: float
) -> None:
    """XNNPACK rounds each token by itself, so company changes little in rounded programs, too."""
    model, path = _model(2), tmp_path / "program.pte"
    path.write_bytes(_compiled(tiny, model, quantize, PACKED, PADDED))
    inputs = _inputs(model)
    runs = [Run(PACKED.name, tuple(inputs.values()), 0), Run(PADDED.name, tuple(_padded(inputs).values()), 0)]
    packed, padded = (ran.outputs for ran in run_methods(path, runs, tmp_path))
    errors = _errors(model, packed, padded)
    assert max(errors.values()) < limit, errors


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_only_lookups_stay_outside_of_one_delegate(tmp_path: Path, kind: str) -> None:
    """Words (levels and scales) and positions, or cosines and sines; a decoder above its trunk looks those up again."""
    rotary = {"aten::embedding.out": 2} if kind == "llama" else {}
    words = {"aten::embedding.out": 4 if rotary else 3, "aten::_to_copy.out": 1}
    model, folder, path = _model(), save_tiny(tmp_path, kind), tmp_path / "program.pte"
    for method, lookups in ((PACKED, words), (replace(PACKED, cut=True), rotary), (TRUNK, words)):
        path.write_bytes(_compiled(folder, model, Quantization.INT8, method))
        assert outside_and_delegates(path)[method.name] == (lookups, 1), method.name


@pytest.mark.parametrize("quantize", [Quantization.NONE, Quantization.INT8])
def test_company_changes_no_bit_of_a_prefix(tiny: Path, tmp_path: Path, quantize: Quantization) -> None:
    """A text alone, the first of five, and the last of eight with others: the same bytes."""
    model, path = _model(layers=(2,)), tmp_path / "program.pte"
    path.write_bytes(_compiled(tiny, model, quantize, TRUNK))
    inputs = proof_inputs(model, replace(PACKED, rows=9, batch=9), 100)
    texts = places_of(inputs)
    orders = [texts[:1], texts[:5], [*texts[1:], texts[0]]]
    runs = [Run(TRUNK.name, trunk_inputs(TRUNK, inputs, order), 0) for order in orders]
    results = run_methods(path, runs, tmp_path)
    prefixes = [
        b"".join(part[order.index(texts[0]), : texts[0].length].numpy().tobytes() for part in ran.outputs)
        for order, ran in zip(orders, results, strict=True)
    ]
    assert len(texts) == 8
    assert len(set(prefixes)) == 1


def test_every_tensor_that_says_where_texts_stand_is_that_of_the_formula() -> None:
    """Two texts in the first row, of 2 and 1 tokens, one of 3 in the second, in slots 0, 2 and 1; slot 3 is empty."""
    method = MethodShape(MethodKind.TRAIN, 1, 0, 4, 2, 4)
    told = text_inputs([Place(0, 0, 0, 2), Place(2, 0, 2, 1), Place(1, 1, 0, 3)], method)
    assert told["positions"].tolist() == [[0, 1, 0, 0], [0, 1, 2, 0]]
    assert told["mask"].tolist() == [[1, 1, 1, 0], [1, 1, 1, 0]]
    assert told["attend"][0].tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    third = pytest.approx(1 / 3)
    assert told["readout"][0].tolist() == [0.5, 0.5, 0, 0, 0, 0, 0, 0]
    assert told["readout"][1].tolist() == [0, 0, 0, 0, third, third, third, 0]
    assert told["readout"][2:].tolist() == [[0, 0, 1, 0, 0, 0, 0, 0], [0] * 8]
    names = {port.name for port in input_ports(_model(), method)}
    assert set(told) <= names
    assert places_of(told) == [Place(0, 0, 0, 2), Place(1, 1, 0, 3), Place(2, 0, 2, 1)]
