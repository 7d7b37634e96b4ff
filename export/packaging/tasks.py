"""Compile a program and its ONNX twin, prove both, measure: the part of a build that needs torch."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from edge_runtime.wire import program_interface as ports
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.manifest_checks import Quantization
from edge_runtime.wire.program_interface import MethodKind, MethodShape, ModelShape, input_ports, output_ports
from export.compiling.compile import compile_program
from export.compiling.linking import link
from export.errors import ProofError
from export.packaging.artifacts import PROGRAM_FILE
from export.planning.inference_sizes import trunk_methods
from export.planning.job import Job
from export.proving.measure import REPEATS, Measurement, Run, run_methods
from export.proving.micro_batches import accumulate_inputs, apply_inputs, whole_outputs
from export.proving.onnx_program import probabilities, write_onnx
from export.proving.packed_texts import Place, draw_places, joined_prefixes, places_of, text_inputs, trunk_inputs
from export.proving.proof import distance, judge, proof_inputs
from export.proving.reference import Reference, round_both_ways
from export.proving.stock_texts import prove_texts
from export.shapes import halves, uncut, whole
from export.source import backbone as backbones

PROBABILITY_LIMIT: Final = {True: 0.15, False: 1e-3}
"""Largest difference between the ONNX program's and the predict method's probabilities: (int8, float32).

Of labels: of one probability. Of a vocabulary, where each is small: half the sum of all differences.
"""
SAME_LIMIT: Final = 1e-6
"""Largest difference of an output between a method by itself and in the joined program, on the same machine."""
Progress = Callable[[str], None]


def prepare(threads: int) -> None:
    """Make a fresh process ready: give it its share of the cores."""
    torch.set_num_threads(threads)


def prove_backbone(job: Job, length: int, progress: Progress) -> dict[str, Any]:
    """Return what comparing ids and hidden states on texts of at most ``length`` tokens found (``stock_texts``)."""
    progress("prove the tokenizer and the backbone on texts")
    return asdict(prove_texts(job.backbone, job.task, length))


def make_gateway_program(job: Job, target: Path, progress: Progress) -> dict[str, Any]:
    """Write the ONNX program to ``target``; there is nothing to record."""
    progress("write the gateway's ONNX program")
    stock = backbones.load(job.backbone, job.task)
    write_onnx(stock, job.backbone.family, job.model, job.quantize, target)
    return {}


def make_method(job: Job, method: MethodShape, target: Path, progress: Progress) -> dict[str, Any]:
    """Write a program of one method to ``target`` and return what the compiler found out about it.

    Raises:
        LoweringError: when the program is not what it must be.
    """

    def told(stage: str) -> None:
        progress(stage if method.name in stage else f"{stage} {method.name}")

    lowered = compile_program(backbones.load(job.backbone, job.task), replace(job, methods=(method,)), told)
    target.write_bytes(lowered.data)
    return {
        "planned_bytes": lowered.planned[method.name],
        "workspace_bytes": lowered.workspace[method.name],
        "outside": lowered.outside[method.name],
        "left": lowered.left[method.name],
        "explain": lowered.explained[method.name],
    }


def prove_training(
    job: Job, method: MethodShape, artifacts: Sequence[Path], scratch: Path, progress: Progress
) -> dict[str, dict[str, Any]]:
    """Return the record of a training method, by its name.

    Args:
        job: what was compiled.
        method: the training method.
        artifacts: programs of one method each: this one's, and those of the methods that it needs.
        scratch: a folder.
        progress: gets the stage.

    Raises:
        ProofError: when the program does not compute what eager PyTorch does; the text has the numbers.
    """
    progress(f"prove {method.name} against eager PyTorch")
    own = Path(tempfile.mkdtemp(dir=scratch))
    runner = _Runner(_program_of(artifacts, own), own, 0)  # others compile and prove meanwhile: no time to measure
    inputs, (ran, *below) = _one_step(job.model, method, job.backbone.sizes.vocabulary, runner)
    step = _step_of(method)
    four_bit = job.quantize == Quantization.INT4
    proof = judge(inputs, ran, _reference(job, rounded=four_bit), job.model, step, quantize=job.quantize)
    errors = {
        "gradient_error": proof.gradient_error,
        "loss_error": proof.loss_error,
        "optimizer_error": proof.optimizer_error,
    }
    if four_bit:
        errors["float32_gradient_error"], _ = distance(inputs, ran, _reference(job), job.model, step)
    gained = max(one.gained_mib for one in (ran, *below))
    return {method.name: {"proof": errors, "gained_mib": gained, "outputs": outputs_digest(ran.outputs)}}


def _reference(job: Job, *, rounded: bool = False) -> Reference:
    """Return the model in plain PyTorch; ``rounded``: with the weights that the program has, forward and backward.

    The program of 4 bits is held against the rounded one, or its limit would say how a backbone bears the rounding and
    nothing of the program.
    """
    model = backbones.load(job.backbone, job.task)
    if rounded:
        round_both_ways(model, job.backbone.family, int4=True)
    return Reference(model, job.backbone.family, job.adapted, job.model)


def join_methods(
    job: Job, artifacts: Mapping[str, Path], onnx: Path, scratch: Path, progress: Progress
) -> dict[str, Any]:
    """Write the program of all methods to ``scratch``, as program.pte, and prove its inference against ONNX.

    Returns:
        ``proof`` of the inference, and ``outputs``: a digest of what each training method made of the inputs on which
        it is proved by itself.

    Raises:
        LoweringError, ProofError: when the program is not what it must be; the text has the numbers.
    """
    progress("join the methods")
    target, own = scratch / PROGRAM_FILE, Path(tempfile.mkdtemp(dir=scratch))
    target.write_bytes(link([artifacts[method.name].read_bytes() for method in job.methods]))
    runner, words = _Runner(target, own, 0), job.backbone.sizes.vocabulary
    ran = {method.name: _one_step(job.model, method, words, runner)[1][0] for method in job.steps}
    digests = {name: outputs_digest(one.outputs) for name, one in ran.items()}
    progress("prove the inference against ONNX")
    difference = max(_onnx_difference(job, method, target, onnx, own) for method in job.of_kind(MethodKind.PREDICT))
    return {"proof": {"onnx_probability_difference": difference}, "outputs": digests}


def compare_methods(
    job: Job, tiers: Sequence[tuple[MethodShape, Sequence[Path]]], scratch: Path, progress: Progress
) -> None:
    """Hold training methods of the joined program in ``scratch`` against the same methods by themselves.

    Raises:
        ProofError: when one of them computes something else in company.
    """
    for method, artifacts in tiers:
        progress(f"compare {method.name}")
        own = Path(tempfile.mkdtemp(dir=scratch))
        programs = (scratch / PROGRAM_FILE, _program_of(artifacts, own))
        words = job.backbone.sizes.vocabulary
        measurements = [_one_step(job.model, method, words, _Runner(program, own, 0))[1][0] for program in programs]
        pairs = zip(*(one.outputs for one in measurements), strict=True)
        apart = max(float((a - b).abs().max()) for a, b in pairs if a.numel())
        if not apart <= SAME_LIMIT:
            raise ProofError(f"{method.name} computes {apart:.2e} apart from itself in the joined program")


def measure_steps(job: Job, scratch: Path, progress: Progress) -> dict[str, dict[str, Any]]:
    """Time a step of each tier in the joined program in ``scratch``, and its trunk; by method, as plain values.

    To be run alone: what else runs on this machine is measured, too, and told (``Timing.other_cores``).
    """
    timings: dict[str, dict[str, Any]] = {}
    for method in job.steps:
        progress(f"measure {method.name}")
        own = Path(tempfile.mkdtemp(dir=scratch))
        step, *trunks = _one_step(
            job.model, method, job.backbone.sizes.vocabulary, _Runner(scratch / PROGRAM_FILE, own)
        )[1]
        timings[method.name] = {"timing": asdict(step.timing)}
        timings |= {
            trunk_methods(method.sequence, method.layers)[-1].name: {"timing": asdict(trunk.timing)} for trunk in trunks
        }
    return timings


def _program_of(artifacts: Sequence[Path], folder: Path) -> Path:
    """Return a program of some methods: the one artifact, or several joined in ``folder``."""
    if len(artifacts) == 1:
        return artifacts[0]
    program = folder / PROGRAM_FILE
    program.write_bytes(link([artifact.read_bytes() for artifact in artifacts]))
    return program


@dataclass(frozen=True)
class _Runner:
    """Where methods run. Args: program: of the methods; scratch: a folder of its own; repeats: timed calls."""

    program: Path
    scratch: Path
    repeats: int = REPEATS

    def run(self, runs: Sequence[Run]) -> list[Measurement]:
        """Run methods one after another in one process."""
        return run_methods(self.program, runs, self.scratch)


def _step_of(method: MethodShape) -> MethodShape:
    """Return the whole step that a method makes, or makes a part of."""
    return whole(method) if method.kind == MethodKind.ACCUMULATE else method


def _one_step(
    model: ModelShape, method: MethodShape, vocabulary: int, runner: _Runner
) -> tuple[dict[str, Tensor], list[Measurement]]:
    """Return the inputs on which a training method is proved, what a step makes of them, and a trunk's run if any."""
    step = _step_of(method)
    inputs = proof_inputs(model, uncut(step, model), vocabulary)
    beside = []
    if step.cut:
        inputs |= _with_prefixes(step, inputs, runner)
        # Both in one process: a device has both loaded while it fills its cache.
        longest = trunk_methods(step.sequence, step.layers)[-1]
        texts = places_of(inputs)[: longest.rows]
        beside = [Run(longest.name, trunk_inputs(longest, inputs, texts), runner.repeats)]
    if method.kind == MethodKind.ACCUMULATE:
        return inputs, _run_parts(model, method, inputs, beside, runner)
    arguments = tuple(inputs[port.name] for port in input_ports(model, method))
    return inputs, runner.run([Run(method.name, arguments, runner.repeats), *beside])


def outputs_digest(outputs: Sequence[Tensor]) -> str:
    """Return a digest over the bytes of a method's outputs, in job."""
    digest = hashlib.sha256()
    for tensor in outputs:
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _with_prefixes(method: MethodShape, inputs: Mapping[str, Tensor], runner: _Runner) -> dict[str, Tensor]:
    """Return ``prefix`` and ``residual`` [R, S, d] of packed texts, each text by the shortest trunk that holds it."""
    trunks, texts = trunk_methods(method.sequence, method.layers), places_of(inputs)
    batches = [
        (trunk, batch)
        for trunk in trunks
        for batch in _batches([text for text in texts if _shortest(trunks, text) == trunk], trunk.rows)
    ]
    runs = runner.run([Run(trunk.name, trunk_inputs(trunk, inputs, batch), 0) for trunk, batch in batches])
    return joined_prefixes(inputs, [(batch, ran.outputs) for (_, batch), ran in zip(batches, runs, strict=True)])


def _shortest(trunks: Sequence[MethodShape], text: Place) -> MethodShape:
    return next(trunk for trunk in trunks if trunk.sequence >= text.length)


def _batches(texts: Sequence[Place], size: int) -> list[Sequence[Place]]:
    return [texts[first : first + size] for first in range(0, len(texts), size)]


def _run_parts(
    model: ModelShape, micro: MethodShape, inputs: Mapping[str, Tensor], beside: list[Run], runner: _Runner
) -> list[Measurement]:
    """Make one step in micro-batches, then what stands ``beside`` it.

    Its memory is that of the calls and of what ``apply`` takes and gives.
    """
    step, (_, apply) = whole(micro), halves(whole(micro), micro.parts)
    calls = accumulate_inputs(model, micro, inputs)
    runs = [Run(micro.name, tuple(call.values()), 0 if place else runner.repeats) for place, call in enumerate(calls)]
    parts = runner.run([*runs, *beside])
    parts, below = parts[: len(runs)], parts[len(runs) :]
    names = [port.name for port in output_ports(model, micro)]
    micro_outputs = [dict(zip(names, part.outputs, strict=True)) for part in parts]
    last = apply_inputs(model, apply, inputs, micro_outputs)
    (applied,) = runner.run([Run(apply.name, tuple(last.values()), runner.repeats)])
    named = dict(zip([port.name for port in output_ports(model, apply)], applied.outputs, strict=True))
    state = sum(tensor.nbytes for tensor in (*last.values(), *applied.outputs)) / 2**20
    timing = parts[0].timing.then(applied.timing, times=micro.parts)
    outputs = whole_outputs(model, step, calls, micro_outputs, named)
    return [Measurement(outputs, parts[0].gained_mib + state, timing), *below]


def _onnx_difference(job: Job, method: MethodShape, program: Path, onnx: Path, scratch: Path) -> float:
    """Return the largest difference of a probability between the gateway's program and an inference method."""
    bank, asked = _prediction_inputs(job, method)
    (predicted,) = run_methods(program, [Run(method.name, tuple(asked.values()), 0)], scratch)
    if job.model.top_k and method.held < job.model.bank.experts:
        return 0.0  # the gateway routes over all experts, this program over those it holds: no comparison
    texts = places_of(asked)
    mask = torch.stack([torch.arange(method.sequence) < text.length for text in texts])
    ids = torch.zeros(mask.shape, dtype=torch.int64)
    for row, text in enumerate(texts):
        ids[row, : text.length] = asked[ports.IDS][text.places]
    wanted = probabilities(onnx, bank, ids, mask.to(torch.float32))
    gaps = np.abs(predicted.outputs[0].numpy()[[text.slot for text in texts]] - wanted)
    difference = float(gaps.max() if job.model.bank.labels else gaps.sum(1).max() / 2)
    if not difference <= PROBABILITY_LIMIT[job.quantize != Quantization.NONE]:
        raise ProofError(f"ONNX and {method.name} differ by {difference:.3f} in a probability; nothing was written")
    return difference


def _prediction_inputs(job: Job, method: MethodShape) -> tuple[Bank, dict[str, Tensor]]:
    """Return a bank of random values and the inputs of an inference method for random texts with it.

    Experts that the program does not hold are silent (U = c = 0), so that soft gates compare.
    """
    draw, model, held = np.random.default_rng(0), job.model, method.held
    empty = Bank.zeros(job.model.bank)
    sizes = (empty.experts.shape, empty.shared.shape, empty.head.shape, empty.mean.shape)
    experts, shared, head, mean = ((0.04 * draw.standard_normal(size)).astype(np.float32) for size in sizes)
    experts[:, held:, -(model.bank.rank + 1) * model.bank.width :] = 0
    inputs = {ports.EXPERTS: torch.from_numpy(experts[:, :held].copy())}
    if model.bank.shared_rank:
        inputs[ports.SHARED] = torch.from_numpy(shared)
    if model.bank.labels:
        inputs |= {ports.HEAD: torch.from_numpy(head), ports.MEAN: torch.from_numpy(mean)}
    places = draw_places(method, torch.Generator().manual_seed(0))
    told = text_inputs(places, method, last=bool(model.vocabulary))
    words = torch.from_numpy(draw.integers(1, job.backbone.sizes.vocabulary, (method.rows, method.sequence)))
    inputs[ports.GATE_SCALE] = torch.ones(len(model.bank.layers), held)
    inputs[ports.IDS] = words * told[ports.MASK].to(torch.int64)
    inputs |= {name: told[name] for name in (ports.POSITIONS, ports.ATTEND, ports.READOUT)}
    return Bank(job.model.bank, experts, shared, head, mean), inputs
