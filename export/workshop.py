"""Compile a program and its ONNX twin, prove both, measure: the part of a build that needs torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from edge_runtime.wire.bank import Bank
from edge_runtime.wire.experts import BankShape
from edge_runtime.wire.manifest_checks import CAUSAL_LM, CLASSIFICATION
from export import backbone as backbones
from export.backbone import BackboneInfo
from export.compile import ProgramRequest, compile_program
from export.errors import ProofError
from export.measure import REPEATS, Measurement, Run, run_methods
from export.micro_batches import accumulate_inputs, apply_inputs, whole_outputs
from export.onnx_inference import probabilities, write_onnx
from export.proof import judge, proof_inputs
from export.reference import Reference
from export.shapes import BOUNDARY, MethodShape, ModelShape, halves, input_ports, output_ports, trunk_of, whole

PROBABILITY_LIMIT: Final = {True: 0.15, False: 1e-3}
"""Largest difference between the ONNX program's and the predict method's probabilities: (int8, float32).

Of labels: of one probability. Of a vocabulary, where each is small: half the sum of all differences.
"""
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Order:
    """What to compile.

    Args:
        backbone: the frozen network.
        adapted: numbers of the adapted layers.
        model: sizes.
        methods: of the program; at least one is an inference.
        int8: quantize what is frozen.
    """

    backbone: BackboneInfo
    adapted: tuple[int, ...]
    model: ModelShape
    methods: tuple[MethodShape, ...]
    int8: bool

    def of_kind(self, kind: str) -> list[MethodShape]:
        """Return the methods of a kind, in order."""
        return [method for method in self.methods if method.kind == kind]

    @property
    def task(self) -> str:
        """What the model does."""
        return CAUSAL_LM if self.model.vocabulary else CLASSIFICATION

    @property
    def bank_shape(self) -> BankShape:
        """Shape of the bank."""
        model = self.model
        return BankShape(self.adapted, model.experts, model.rank, model.shared_rank, model.width, model.labels)


def make_gateway_program(order: Order, target: Path, progress: Progress) -> None:
    """Write the ONNX program to ``target``."""
    progress("write the gateway's ONNX program")
    stock = backbones.load(order.backbone, order.task)
    write_onnx(stock, order.backbone.family, order.adapted, order.model, int8=order.int8, path=target)


def make_program(order: Order, onnx: Path, target: Path, scratch: Path, progress: Progress) -> dict[str, Any]:
    """Write the lowered program to ``target`` and return the record of each method's proof and cost.

    Raises:
        LoweringError, ProofError: when the program is not what it must be; the text has the numbers.
    """
    progress("load the backbone")
    info, model = order.backbone, order.model
    request = ProgramRequest(model, order.adapted, order.methods, order.int8)
    lowered = compile_program(backbones.load(info, order.task), info.family, request, progress)
    target.write_bytes(lowered.data)
    found: dict[str, dict[str, Any]] = {
        method.name: {
            "planned_bytes": lowered.planned[method.name],
            "workspace_bytes": lowered.workspace[method.name],
            "outside": lowered.outside[method.name],
            "left": lowered.left[method.name],
            "explain": lowered.explained[method.name],
        }
        for method in order.methods
    }
    reference = Reference(backbones.load(info, order.task), info.family, order.adapted, model)
    for method in [*order.of_kind("train"), *order.of_kind("accumulate")]:
        progress(f"prove {method.name} against eager PyTorch")
        for name, record in _prove_training(order, method, target, reference, scratch).items():
            found[name] |= record
    progress("prove the inference against ONNX")
    difference = max(_onnx_difference(order, method, target, onnx, scratch) for method in order.of_kind("predict"))
    return {"methods": found, "proof": {"onnx_probability_difference": difference}}


def _prove_training(
    order: Order, method: MethodShape, program: Path, reference: Reference, scratch: Path
) -> dict[str, dict[str, Any]]:
    """Return the records of a training method, and of the trunk below it where it has one, by method."""
    step = whole(method) if method.kind == "accumulate" else method
    given = proof_inputs(order.model, step.uncut(order.model), order.backbone.vocabulary)
    trunks = _trunk_runs(step, given)
    if trunks:
        texts = [ran.outputs for ran in run_methods(program, trunks, scratch)]
        given |= {name: torch.cat([text[place] for text in texts]) for place, name in enumerate(BOUNDARY)}
    # Both in one process: a device has both loaded while it fills its cache.
    beside = [replace(run, repeats=REPEATS) for run in trunks[:1]]
    if method.kind == "accumulate":
        ran, *below = _run_parts(order.model, method, given, beside, program)
    else:
        inputs = tuple(given[port.name] for port in input_ports(order.model, method))
        ran, *below = run_methods(program, [Run(method.name, inputs), *beside], scratch)
    proof = judge(given, ran, reference, order.model, step, int8=order.int8)
    errors = {
        "gradient_error": proof.gradient_error,
        "loss_error": proof.loss_error,
        "optimizer_error": proof.optimizer_error,
    }
    records: dict[str, dict[str, Any]] = {
        run.method: {"step_ms": one.step_ms} for run, one in zip(beside, below, strict=True)
    }
    gained = max(one.gained_mib for one in (ran, *below))
    return records | {method.name: {"proof": errors, "step_ms": proof.step_ms, "gained_mib": gained}}


def _trunk_runs(method: MethodShape, given: Mapping[str, Tensor]) -> list[Run]:
    """Return a run of the trunk for each text of ``given``; none for a method that takes token ids."""
    if not method.cut:
        return []
    name = trunk_of(method).name
    return [Run(name, (given["ids"][row : row + 1], given["mask"][row : row + 1]), 0) for row in range(method.batch)]


def _run_parts(
    model: ModelShape, micro: MethodShape, given: Mapping[str, Tensor], beside: list[Run], program: Path
) -> list[Measurement]:
    """Make one step in micro-batches, then what stands ``beside`` it; scratch files lie next to ``program``.

    Its memory is that of the calls and of what ``apply`` takes and gives.
    """
    step, (_, apply), scratch = whole(micro), halves(whole(micro), micro.parts), program.parent
    calls = accumulate_inputs(model, micro, given)
    runs = [Run(micro.name, tuple(call.values()), 0 if place else REPEATS) for place, call in enumerate(calls)]
    parts = run_methods(program, [*runs, *beside], scratch)
    parts, below = parts[: len(runs)], parts[len(runs) :]
    names = [port.name for port in output_ports(model, micro)]
    made = [dict(zip(names, part.outputs, strict=True)) for part in parts]
    last = apply_inputs(model, apply, given, made)
    (applied,) = run_methods(program, [Run(apply.name, tuple(last.values()))], scratch)
    named = dict(zip([port.name for port in output_ports(model, apply)], applied.outputs, strict=True))
    state = sum(tensor.nbytes for tensor in (*last.values(), *applied.outputs)) / 2**20
    milliseconds = micro.parts * parts[0].step_ms + applied.step_ms
    outputs = whole_outputs(model, step, calls, made, named)
    return [Measurement(outputs, milliseconds, parts[0].gained_mib + state), *below]


def _onnx_difference(order: Order, method: MethodShape, program: Path, onnx: Path, scratch: Path) -> float:
    """Return the largest difference of a probability between the gateway's program and an inference method."""
    bank, asked = _prediction_inputs(order, method)
    (predicted,) = run_methods(program, [Run(method.name, tuple(asked.values()), 0)], scratch)
    if order.model.top_k and method.held < order.model.experts:
        return 0.0  # the gateway routes over all experts, this program over those it holds: no comparison
    length = int(asked["mask"].sum())
    wanted = probabilities(onnx, bank, asked["ids"][:, :length], asked["mask"][:, :length])
    gaps = np.abs(predicted.outputs[0].numpy() - wanted)
    difference = float(gaps.max() if order.model.labels else gaps.sum() / 2)
    if not difference <= PROBABILITY_LIMIT[order.int8]:
        raise ProofError(f"ONNX and {method.name} differ by {difference:.3f} in a probability; nothing was written")
    return difference


def _prediction_inputs(order: Order, method: MethodShape) -> tuple[Bank, dict[str, Tensor]]:
    """Return a bank of random values and the inputs of an inference method for one random text with it.

    Experts that the program does not hold are silent (U = c = 0), so that soft gates compare.
    """
    draw, model, held = np.random.default_rng(0), order.model, method.held
    empty = Bank.zeros(order.bank_shape)
    sizes = (empty.experts.shape, empty.shared.shape, empty.head.shape, empty.mean.shape)
    experts, shared, head, mean = ((0.04 * draw.standard_normal(size)).astype(np.float32) for size in sizes)
    experts[:, held:, -(model.rank + 1) * model.width :] = 0
    sequence = method.sequence
    mask = (torch.arange(sequence) < max(2, sequence // 2)).to(torch.float32).unsqueeze(0)
    ids = torch.from_numpy(draw.integers(1, order.backbone.vocabulary, (1, sequence))) * mask.to(torch.int64)
    given = {"experts": torch.from_numpy(experts[:, :held].copy())}
    if model.shared_rank:
        given["shared"] = torch.from_numpy(shared)
    if model.labels:
        given |= {"head": torch.from_numpy(head), "mean": torch.from_numpy(mean)}
    given |= {"gate_scale": torch.ones(model.layers, held), "ids": ids, "mask": mask}
    return Bank(order.bank_shape, experts, shared, head, mean), given
