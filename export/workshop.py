"""Compile a program and its ONNX twin, prove both, measure: the part of a build that needs torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edge_runtime.wire.bank import Bank
from edge_runtime.wire.experts import BankShape
from export import backbone as backbones
from export.backbone import BackboneInfo
from export.compile import ProgramRequest, compile_program
from export.errors import ProofError
from export.measure import run_method
from export.onnx_inference import agreement, write_onnx
from export.proof import prove
from export.reference import Reference
from export.shapes import MethodShape, ModelShape

PROBABILITY_LIMIT = {True: 0.15, False: 1e-3}
"""Largest difference of a probability between the ONNX program and the predict method: (int8, float32)."""


def compile_and_prove(
    info: BackboneInfo,
    adapted: tuple[int, ...],
    model: ModelShape,
    methods: tuple[MethodShape, MethodShape],
    *,
    int8: bool,
    scratch: Path,
    progress: Callable[[str], None],
) -> tuple[dict[str, Path], dict[str, Any]]:
    """Return the files ``program.pte`` and ``model.onnx`` in ``scratch``, and the record of proof and cost.

    Raises:
        LoweringError, ProofError: when the program is not what it must be.
    """
    progress("load backbone")
    request = ProgramRequest(model, adapted, methods, int8)
    lowered = compile_program(backbones.load(info), info.family, request, progress)
    program, onnx = scratch / "program.pte", scratch / "model.onnx"
    program.write_bytes(lowered.data)
    progress("prove one step against eager PyTorch")
    reference = Reference(backbones.load(info), info.family, adapted, model)
    train, predict = methods
    proof = prove(program, reference, model, train, info.vocabulary, int8=int8, scratch=scratch)
    progress("write the gateway's ONNX program")
    write_onnx(backbones.load(info), info.family, adapted, model, int8=int8, path=onnx)
    progress("compare it with the program")
    difference = _prediction_difference(program, onnx, info, adapted, model, predict, scratch)
    if not difference <= PROBABILITY_LIMIT[int8]:
        raise ProofError(f"ONNX and the program differ by {difference:.3f} in a probability; nothing was written")
    record = {
        "proof": {
            "gradient_error": proof.gradient_error,
            "loss_error": proof.loss_error,
            "optimizer_error": proof.optimizer_error,
            "onnx_probability_difference": difference,
        },
        "step_ms": proof.step_ms,
        "gained_mib": proof.gained_mib,
        "planned_bytes": lowered.planned,
        "outside": lowered.outside,
    }
    return {"program.pte": program, "model.onnx": onnx}, record


def _prediction_difference(
    program: Path,
    onnx: Path,
    info: BackboneInfo,
    adapted: tuple[int, ...],
    model: ModelShape,
    predict: MethodShape,
    scratch: Path,
) -> float:
    """Return the largest difference of a probability between both programs, on a bank of random values."""
    shape = BankShape(adapted, model.experts, model.rank, model.shared_rank, model.width, model.labels)
    draw = np.random.default_rng(0)
    empty = Bank.zeros(shape)
    sizes = (empty.experts.shape, empty.shared.shape, empty.head.shape, empty.mean.shape)
    bank = Bank(shape, *((0.04 * draw.standard_normal(size)).astype(np.float32) for size in sizes))
    held, length = predict.held, max(4, predict.sequence // 2)
    mask = torch.zeros(1, predict.sequence)
    mask[0, :length] = 1
    ids = (torch.from_numpy(draw.integers(1, info.vocabulary, (1, predict.sequence))) * mask).to(torch.int64)
    # A program that holds fewer than all experts is compared with the others silenced: U = c = 0.
    experts = bank.experts.copy()
    experts[:, held:, -(model.rank + 1) * model.width :] = 0
    if model.top_k and held < model.experts:
        return 0.0  # softmax over other experts: not comparable
    given = {
        "experts": torch.from_numpy(experts[:, :held].copy()),
        "shared": torch.from_numpy(bank.shared),
        "head": torch.from_numpy(bank.head),
        "mean": torch.from_numpy(bank.mean),
        "gate_scale": torch.ones(model.layers, held),
        "ids": ids,
        "mask": mask,
    }
    if not model.shared_rank:
        given.pop("shared")
    ran = run_method(program, predict.name, tuple(given.values()), scratch, repeats=1)
    wanted = agreement(onnx, Bank(shape, experts, bank.shared, bank.head, bank.mean), ids[:, :length], mask[:, :length])
    return float(np.abs(ran.outputs[0].numpy() - wanted).max())
