"""From a configuration to a package: plan, compile (or take from the cache), prove, measure, write.

Nothing heavy is imported until something must be compiled, so an unchanged rebuild takes a second.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge_runtime.wire.experts import BankShape
from edge_runtime.wire.manifest import Package
from export import cache, describe, explain_table, package
from export.bank_init import initial_bank
from export.config import ExportConfig
from export.describe import Record
from export.job import Job, plan
from export.profiles import DeviceProfile

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Built:
    """Result of a build.

    Args:
        package: opened.
        profile: of the device.
        from_cache: whether the program was compiled before.
        outside: operations outside the delegates, for each method.
        left_out: tiers that were asked for and do not fit, one sentence each.
        memory_plans: for each training method the sentence that says why its memory plan and no other.
        explained: for each method where its memory and time go (``explain_table.as_object``).
    """

    package: Package
    profile: DeviceProfile
    from_cache: bool
    outside: dict[str, dict[str, int]]
    left_out: tuple[str, ...]
    memory_plans: dict[str, str]
    explained: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class _Compiled:
    """Where both programs lie, and the record of the first's proof and cost."""

    program: Path
    gateway: Path
    record: Record
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
    explained = {
        name: explain_table.as_object(dict(found), job.profile.compute)
        for name, found in compiled.record.methods.items()
    }
    plans = {tier.train.name: tier.why for tier in job.tiers}
    outside = {name: dict(found["outside"]) for name, found in compiled.record.methods.items()}
    return Built(written, job.profile, compiled.from_cache, outside, job.left_out, plans, explained)


def requests(job: Job) -> dict[str, dict[str, Any]]:
    """Return everything that determines the device's and the gateway's program, as plain values.

    Profiles that differ in their methods only share the gateway's.
    """
    shared = job.shared_request()
    return {"program": {**shared, "methods": [asdict(method) for method in job.methods]}, "gateway": shared}


def _program(job: Job, scratch: Path, progress: Progress) -> _Compiled:
    """Take both programs from the cache, or compile and prove what it lacks."""
    folder = job.config.cache_dir
    keys = {name: cache.cache_key({"what": name, **request}) for name, request in requests(job).items()}
    found = {name: cache.lookup(folder, key) if folder else None for name, key in keys.items()}
    program, gateway = found["program"], found["gateway"]
    if program and gateway:
        return _Compiled(program[0] / "program.pte", gateway[0] / "model.onnx", _record(program[1]), from_cache=True)
    from export import workshop  # noqa: PLC0415 - imports torch

    order = workshop.Order(job.backbone, job.adapted, job.model, job.methods, job.int8)
    onnx = gateway[0] / "model.onnx" if gateway else scratch / "model.onnx"
    if not gateway:
        workshop.make_gateway_program(order, onnx, progress)
        if folder:
            onnx = cache.store(folder, keys["gateway"], {"model.onnx": onnx}, {})[0] / "model.onnx"
    if program:
        return _Compiled(program[0] / "program.pte", onnx, _record(program[1]), from_cache=True)
    target = scratch / "program.pte"
    record = workshop.make_program(order, onnx, target, scratch, progress)
    if folder:
        target = cache.store(folder, keys["program"], {"program.pte": target}, record)[0] / "program.pte"
    return _Compiled(target, onnx, _record(record), from_cache=False)


def _record(found: dict[str, Any]) -> Record:
    return Record(found["methods"], found["proof"])


def _write(job: Job, compiled: _Compiled) -> Package:
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
        manifest = describe.manifest(job, compiled.record, folder, bank.digest().hex())
        return package.commit(folder, manifest, job.config.out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
