"""Exported programs on 64-bit ARM code paths: XNNPACK's kernels for i8mm and for dotprod, executed under emulation.

Skipped where the tools are missing; `make arm64-tools` gets them. The limits come from measurements: what differs
between machines in an int8 step is rounding, amplified by rounding again in the next layer.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.arm64 import tools
from benchmarks.arm64.emulator import DOTPROD, I8MM, Call, EmulationError, Ran, run_arm64, run_here
from edge_runtime.wire.experts import BankShape
from edge_runtime.wire.manifest import Package
from edge_runtime.wire.manifest_checks import Quantization
from edge_runtime.wire.program_interface import BETA1, MethodKind, MethodShape, MethodSpec, ModelShape, TensorSpec
from export import cache
from export.compiling.lowering import lower
from export.compiling.quantize import lower_frozen_linears
from export.compiling.simplify import fold_constants
from export.compiling.trace import trace
from export.model.frozen import FrozenLinear
from export.packaging.pipeline import make_package
from export.planning.config import ExportConfig, read_labels
from export.proving.proof import gradient_errors, proof_inputs, reference_gradients
from export.proving.reference import Reference
from export.source import backbone

if TYPE_CHECKING:
    from conftest import Build

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
ROWS, INPUTS, OUTPUTS = 40, 384, 1536
CPUS = {I8MM: ("smmla", 32), DOTPROD: ("sdot", 16)}
"""The instruction that multiplies int8, and the multiply-accumulates that one of them does."""


@pytest.fixture(scope="module", autouse=True)
def _emulation() -> None:
    lacking = tools.missing()
    if lacking:
        pytest.skip("emulation of ARM64 needs " + "; ".join(lacking))


@pytest.fixture(scope="module", params=["int8", "int4"])
def linear(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Call:
    """Return the call of a program that is one quantized frozen linear, [40, 384] -> [40, 1536]."""
    torch.manual_seed(3)
    layer, x = FrozenLinear(torch.nn.Linear(INPUTS, OUTPUTS)), torch.randn(ROWS, INPUTS)
    module = trace(lambda step_inputs: (layer(step_inputs),), (x,))
    fold_constants(module)
    lower_frozen_linears(module, Quantization(request.param))
    path = tmp_path_factory.mktemp("linear") / "linear.pte"
    path.write_bytes(lower({"linear": (module, (x,))}, lambda _: None).data)
    ports = [TensorSpec("x", "float32", (ROWS, INPUTS))], [TensorSpec("y", "float32", (ROWS, OUTPUTS))]
    return Call(path, "linear", MethodSpec(*map(tuple, ports)), {"x": x.numpy()})


@pytest.mark.parametrize("cpu", CPUS)
def test_one_quantized_linear_equals_x86(linear: Call, cpu: str) -> None:
    """Both multiply the same integers, of 8 bits or 4; what differs is the order of a few float32 operations."""
    here, there = run_here(linear).outputs["y"], run_arm64(linear, cpu).outputs["y"]
    assert np.linalg.norm(there - here) <= 1e-6 * np.linalg.norm(here)


@pytest.mark.parametrize("cpu", CPUS)
def test_int8_instructions_are_as_many_as_theory_says(linear: Call, cpu: str) -> None:
    """Rows x inputs x outputs multiply-accumulates, all by the fastest instruction that the processor has."""
    instruction, each = CPUS[cpu]
    ran = run_arm64(linear, cpu, count=True)
    (other,) = {"smmla", "sdot"} - {instruction}
    assert ran.counts[instruction] == ROWS * INPUTS * OUTPUTS // each
    assert ran.counts[other] == ran.counts["sme"] == ran.counts["sve"] == 0
    assert ran.counts["instructions"] > ran.counts[instruction]
    assert run_arm64(linear, cpu, count=True).counts == ran.counts


def test_a_processor_with_sme_is_refused(linear: Call) -> None:
    """QEMU's ``max`` has it, and emulates it wrongly."""
    with pytest.raises(EmulationError, match=r"the emulated processor max has SME.*say -cpu max,sve=off,sme=off"):
        run_arm64(linear, "max")


def test_what_fails_there_is_told_here(linear: Call, tmp_path: Path) -> None:
    """The runner's own line, the emulator's, or what was asked for wrongly."""
    broken = tmp_path / "broken.pte"
    broken.write_bytes(linear.program.read_bytes()[:4096])
    with pytest.raises(EmulationError, match=r"linear on qemu-aarch64 failed: .*broken.pte"):
        run_arm64(Call(broken, "linear", linear.spec, linear.inputs))
    with pytest.raises(EmulationError, match=r"linear on qemu-aarch64 failed: .*no-such-core"):
        run_arm64(linear, "no-such-core")
    with pytest.raises(EmulationError, match="got 2 threads, expected 1"):
        run_arm64(Call(linear.program, "linear", linear.spec, linear.inputs, threads=2), count=True)


def _call(package: Package, method: MethodShape, step_inputs: dict[str, Tensor]) -> Call:
    inputs = {name: tensor.numpy() for name, tensor in step_inputs.items()}
    return Call(package.path("program.pte"), method.name, package.manifest.methods[method.name], inputs)


def _gradients(ran: Ran, blocks: dict[str, Tensor]) -> dict[str, Tensor]:
    """Read gradients from the first moments that began with zero."""
    return {name: torch.from_numpy(ran.outputs[f"{name}_m1"].copy()) / (1 - BETA1) for name in blocks}


def test_fp32_step_equals_eager_pytorch(build: Build, tiny: Path) -> None:
    """Loss and every gradient tensor of every layer within 1e-5."""
    package = build("arm64").package
    model, method = ModelShape(BankShape((0, 1, 2), 3, 4, 3, 32, 3)), MethodShape(MethodKind.TRAIN, 2, 1, 12, 2, 4)
    info = backbone.find(str(tiny))
    step_inputs = proof_inputs(model, method, info.sizes.vocabulary)
    loss, wanted = reference_gradients(Reference(backbone.load(info), info.family, (0, 1, 2), model), step_inputs)
    ran = run_arm64(_call(package, method, step_inputs))
    assert float(ran.outputs["loss"][0]) == pytest.approx(float(loss), rel=1e-5)
    errors = gradient_errors(_gradients(ran, wanted), wanted, model, by_layer=True)
    assert len(errors) == 3 * (5 + 4) + 2
    assert max(errors.values()) <= 1e-5, errors


@pytest.fixture(scope="module")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """Return what `python -m export.build --device pixel8` makes (through the user's cache, as the command does)."""
    out = tmp_path_factory.mktemp("minilm-arm64") / "pixel8"
    config = ExportConfig("pixel8", None, read_labels(None, None), out, cache_dir=cache.default_folder())
    return make_package(config, lambda _: None).package


def test_int8_step_of_minilm_differs_no_more_than_rounding(minilm: Package) -> None:
    """Loss, direction of each gradient tensor, distance from fp32: as on x86. Both kinds of core agree bit for bit."""
    tier = min(minilm.manifest.tiers, key=lambda one: one.seq_len * one.rows)  # emulation is slow
    sizes = tier.trained_slots, tier.frozen_slots, tier.seq_len, tier.rows, tier.batch_size
    method = MethodShape(MethodKind.TRAIN, *sizes)
    model = ModelShape(minilm.manifest.architecture.bank_shape)
    info = backbone.find(None)
    step_inputs = proof_inputs(model, method, info.sizes.vocabulary)
    _, wanted = reference_gradients(Reference(backbone.load(info), info.family, tuple(range(6)), model), step_inputs)
    call = _call(minilm, method, step_inputs)
    here, there, older = run_here(call), run_arm64(call, I8MM), run_arm64(call, DOTPROD)
    assert {"dotprod", "i8mm"} <= set(there.features)
    assert "i8mm" not in older.features
    assert {name: array.tobytes() for name, array in there.outputs.items()} == {
        name: array.tobytes() for name, array in older.outputs.items()
    }
    assert float(there.outputs["loss"][0]) == pytest.approx(float(here.outputs["loss"][0]), rel=5e-3)
    mine, theirs = _gradients(there, wanted), _gradients(here, wanted)
    apart = gradient_errors(mine, theirs, model)
    assert max(apart.values()) <= 0.1, apart  # an angle of 6 degrees, a cosine of 0.995
    errors, usual = gradient_errors(mine, wanted, model), gradient_errors(theirs, wanted, model)
    assert {kind: (error, usual[kind]) for kind, error in errors.items() if error > 1.5 * usual[kind]} == {}
