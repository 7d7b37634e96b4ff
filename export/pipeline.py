"""From a configuration to a package: plan, compile (or take from the cache), prove, measure, write.

Nothing heavy is imported until something must be compiled, so an unchanged rebuild takes a second.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from edge_runtime.wire.digests import file_sha256
from edge_runtime.wire.experts import BankShape
from edge_runtime.wire.limits import WIRE_VERSION
from edge_runtime.wire.manifest import (
    PACKAGE_FORMAT,
    Architecture,
    Backbone,
    Cost,
    Manifest,
    MethodSpec,
    Package,
    TensorSpec,
    Tier,
)
from export import backbone as backbones
from export import cache, package
from export.backbone import BackboneInfo
from export.bank_init import initial_bank
from export.config import ExportConfig, adapted_layers
from export.errors import BudgetError, ConfigError
from export.planning import Sizes, TierShape, Wish, choose, excesses
from export.profiles import DeviceProfile, load_profile
from export.shapes import LOGIT_SCALE, MethodShape, ModelShape, Port, input_ports, output_ports

Progress = Callable[[str], None]
OLDEST_RUNTIME = "1.4.1"
"""Runtimes before it free constants that delegates still read; see design/android.md."""


@dataclass(frozen=True)
class Built:
    """Result of a build.

    Args:
        package: opened.
        profile: of the device.
        from_cache: whether the program was compiled before.
        outside: operations outside the delegates, for each method.
    """

    package: Package
    profile: DeviceProfile
    from_cache: bool
    outside: dict[str, dict[str, int]]


@dataclass(frozen=True)
class _Job:
    """All that follows from a configuration before anything is compiled."""

    config: ExportConfig
    profile: DeviceProfile
    backbone: BackboneInfo
    adapted: tuple[int, ...]
    model: ModelShape
    tier: TierShape
    predicted: Cost

    @property
    def train(self) -> MethodShape:
        return MethodShape("train", self.tier.trained, self.tier.frozen, self.tier.sequence, self.tier.batch)

    @property
    def predict(self) -> MethodShape:
        return MethodShape("predict", self.tier.trained + self.tier.frozen, 0, self.tier.sequence, 1)

    @property
    def int8(self) -> bool:
        return self.config.quantize == "int8"

    def requests(self) -> dict[str, dict[str, Any]]:
        """Everything that determines the device's and the gateway's program, as plain values.

        Profiles that differ in their methods only share the gateway's.
        """
        shared = {
            "backbone": self.backbone.digest,
            "config": self.backbone.config,
            "adapted": list(self.adapted),
            "model": asdict(self.model),
            "int8": self.int8,
        }
        methods = [asdict(method) for method in (self.train, self.predict)]
        return {"program": {**shared, "methods": methods}, "gateway": shared}


@dataclass(frozen=True)
class _Compiled:
    """Where both programs lie, and the record of the first's proof and cost."""

    program: Path
    gateway: Path
    record: dict[str, Any]
    from_cache: bool


def build_package(config: ExportConfig, progress: Progress) -> Built:
    """Make the package of a configuration.

    Raises:
        ExportError: one of its children, saying what came, what was expected and what to do.
    """
    job = plan(config)
    package.check_target(config.out)
    with tempfile.TemporaryDirectory(prefix="export-") as scratch:
        compiled = _program(job, Path(scratch), progress)
        progress("write the package")
        written = _write(job, compiled)
    return Built(written, job.profile, compiled.from_cache, compiled.record["outside"])


def plan(config: ExportConfig) -> _Job:
    """Choose the tier; reads files only.

    Raises:
        ConfigError, UnsupportedModelError, BudgetError.
    """
    profile = load_profile(config.device)
    found = backbones.find(config.model)
    adapted = adapted_layers(config.layers, found.depth)
    sequence = config.seq_len or profile.defaults.seq_len
    if sequence > found.positions:
        raise ConfigError(f"--seq-len {sequence}: {found.name} takes at most {found.positions} tokens")
    sizes = Sizes(
        width=found.width, depth=found.depth, inner=found.inner, heads=found.heads, vocabulary=found.vocabulary,
        adapted=len(adapted), lowest=adapted[0], experts=config.experts, rank=config.rank,
        shared_rank=config.shared_rank, labels=len(config.labels), int8=config.quantize == "int8",
    )  # fmt: skip
    batch = config.batch_size or profile.defaults.batch_size
    wish = Wish(config.train_slots, config.held == "all", sequence, batch, config.batch_size is not None)
    tier, predicted = choose(sizes, wish, profile)
    model = ModelShape(
        len(adapted), config.experts, found.width, config.rank, config.shared_rank, len(config.labels), config.routed
    )
    return _Job(config, profile, found, adapted, model, tier, predicted)


def _program(job: _Job, scratch: Path, progress: Progress) -> _Compiled:
    """Take both programs from the cache, or compile and prove what it lacks."""
    folder = job.config.cache_dir
    keys = {name: cache.cache_key({"what": name, **request}) for name, request in job.requests().items()}
    found = {name: cache.lookup(folder, key) if folder else None for name, key in keys.items()}
    program, gateway = found["program"], found["gateway"]
    if program and gateway:
        return _Compiled(program[0] / "program.pte", gateway[0] / "model.onnx", program[1], from_cache=True)
    from export import workshop  # noqa: PLC0415 - imports torch

    order = workshop.Order(job.backbone, job.adapted, job.model, job.train, job.predict, job.int8)
    onnx = gateway[0] / "model.onnx" if gateway else scratch / "model.onnx"
    if not gateway:
        workshop.make_gateway_program(order, onnx, progress)
        if folder:
            onnx = cache.store(folder, keys["gateway"], {"model.onnx": onnx}, {})[0] / "model.onnx"
    if program:
        return _Compiled(program[0] / "program.pte", onnx, program[1], from_cache=True)
    target = scratch / "program.pte"
    record = workshop.make_program(order, onnx, target, scratch, progress)
    if folder:
        target = cache.store(folder, keys["program"], {"program.pte": target}, record)[0] / "program.pte"
    return _Compiled(target, onnx, record, from_cache=False)


def _write(job: _Job, compiled: _Compiled) -> Package:
    folder = package.staging(job.config.out)
    try:
        package.place(compiled.program, folder / "program.pte")
        package.place(compiled.gateway, folder / "gateway" / "model.onnx")
        package.place(job.backbone.folder / "tokenizer.json", folder / "tokenizer.json")
        shape = BankShape(
            job.adapted, job.model.experts, job.model.rank, job.model.shared_rank, job.model.width, job.model.labels
        )
        bank = initial_bank(shape)
        (folder / "bank.safetensors").write_bytes(bank.to_bytes())
        manifest = _manifest(job, compiled.record, folder, bank.digest().hex())
        return package.commit(folder, manifest, job.config.out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _manifest(job: _Job, record: dict[str, Any], folder: Path, bank_digest: str) -> Manifest:
    files = package.entries(folder)
    storage = round(package.storage_mb(files), 1)
    measured = replace(
        job.predicted,
        memory_mib=round(job.profile.defaults.runtime_mib + record["gained_mib"], 1),
        step_ms=round(record["step_ms"], 1),
        storage_mb=storage,
    )
    over = [phrase for phrase in excesses(measured, job.profile) if not phrase.startswith("time")]
    if over:
        raise BudgetError(f"{job.profile.name}: the finished program needs {', '.join(over)}; nothing was written")
    info, config = job.backbone, job.config
    architecture = Architecture(
        backbone=Backbone(info.name, info.kind, info.digest, info.width, info.depth, info.parameters),
        task="classification",
        labels=config.labels,
        gate=config.gate,
        top_k=config.routed or 0,
        adapted_layers=job.adapted,
        experts=config.experts,
        rank=config.rank,
        shared_rank=config.shared_rank,
        feature="mean_pool_l2",
        logit_scale=LOGIT_SCALE,
        end_token=-1,
        tokenizer_digest=file_sha256(folder / "tokenizer.json"),
        bank_digest=bank_digest,
    )
    tier = Tier(
        job.train.name, job.tier.trained, job.tier.frozen, job.tier.sequence, job.tier.batch, job.predicted, measured
    )
    return Manifest(
        package_format=PACKAGE_FORMAT,
        wire_version=WIRE_VERSION,
        architecture=architecture,
        device=job.profile.name,
        profile=job.profile.to_dict(),
        quantize=config.quantize,
        held=config.held,
        tiers=(tier,),
        methods={method.name: _spec(job.model, method) for method in (job.train, job.predict)},
        predict_methods=(job.predict.name,),
        versions=cache.versions(),
        oldest_runtime=OLDEST_RUNTIME,
        threads=job.profile.compute.threads,
        files=files,
        proof=record["proof"],
    )


def _spec(model: ModelShape, method: MethodShape) -> MethodSpec:
    def tensors(ports: tuple[Port, ...]) -> tuple[TensorSpec, ...]:
        return tuple(TensorSpec(port.name, port.dtype, port.shape) for port in ports)

    return MethodSpec(tensors(input_ports(model, method)), tensors(output_ports(model, method)))
