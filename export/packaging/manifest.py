"""The manifest of a finished package: what was planned, what was compiled, proven and measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from edge_runtime.wire.digests import file_sha256
from edge_runtime.wire.limits import WIRE_VERSION
from edge_runtime.wire.manifest import PACKAGE_FORMAT, Architecture, Backbone, FileEntry, Manifest, Tier
from edge_runtime.wire.manifest_checks import FEATURES
from edge_runtime.wire.program_interface import LOGIT_SCALE, PROGRAM_INTERFACE, MethodKind, method_spec
from export import cache
from export.errors import BudgetError
from export.packaging import package_folder
from export.planning.cost_model import excesses, trunk_texts
from export.planning.job import PackagePlan, TierPlan

OLDEST_RUNTIME: Final = "1.3.0"
"""Every output of a step was compared on Android's library of that version (`make android-runtime-test`); what it
needs of a program is checked after lowering (``delegates``)."""


@dataclass(frozen=True)
class Record:
    """What compiling found out.

    Args:
        methods: for each method what was found of it: ``proof`` (errors by name), ``timing`` and ``gained_mib``
            (training methods), ``outside`` (operations outside the delegates, with counts), ``planned_bytes``.
        proof: of the inference.
    """

    methods: Mapping[str, Mapping[str, Any]]
    proof: Mapping[str, float]


def manifest(planned: PackagePlan, record: Record, folder: Path, told: Architecture) -> Manifest:
    """Return the manifest of the staged ``folder``, whose ``architecture`` is told.

    Raises:
        BudgetError: when what was measured exceeds the memory or storage of the profile.
    """
    files = package_folder.entries(folder)
    config = planned.config
    return Manifest(
        package_format=PACKAGE_FORMAT,
        wire_version=WIRE_VERSION,
        program_interface=PROGRAM_INTERFACE,
        architecture=told,
        device=planned.profile.name,
        profile=planned.profile.to_dict(),
        quantize=config.quantize,
        held=config.held,
        tiers=tuple(_tier(planned, plan, record, files) for plan in planned.tiers),
        methods={method.name: method_spec(planned.job.model, method) for method in planned.job.methods},
        predict_methods=tuple(method.name for method in planned.job.of_kind(MethodKind.PREDICT)),
        versions=cache.versions(),
        oldest_runtime=OLDEST_RUNTIME,
        threads=planned.profile.compute.threads,
        files=files,
        proof=dict(record.proof),
    )


def architecture(planned: PackagePlan, folder: Path, bank_digest: str) -> Architecture:
    """Return what the devices of a federation share. Args: folder: with the tokenizer; bank_digest: of version 0."""
    info, config = planned.job.backbone, planned.config
    return Architecture(
        backbone=Backbone(info.name, info.kind, info.digest, info.sizes.width, info.sizes.depth, info.parameters),
        task=config.task,
        labels=config.labels,
        gate=config.gate,
        top_k=config.routed or 0,
        adapted_layers=planned.job.adapted,
        experts=config.experts,
        rank=config.rank,
        shared_rank=config.shared_rank,
        feature=FEATURES[config.task],
        logit_scale=1.0 if planned.job.model.vocabulary else LOGIT_SCALE,
        end_token=info.end_token if planned.job.model.vocabulary else -1,
        tokenizer_digest=file_sha256(folder / "tokenizer.json"),
        bank_digest=bank_digest,
    )


def _tier(planned: PackagePlan, plan: TierPlan, record: Record, files: Mapping[str, FileEntry]) -> Tier:
    figures = record.methods[plan.train.name]
    measured = replace(
        plan.predicted,
        memory_mib=round(planned.profile.defaults.runtime_mib + figures["gained_mib"], 1),
        step_ms=round(figures["timing"]["median_ms"], 1),
        storage_mb=round(package_folder.storage_mb(files), 1),
        trunk_ms=_trunk_ms(plan, record),
    )
    over = [phrase for phrase in excesses(measured, planned.profile) if not phrase.startswith("time")]
    if over:
        raise BudgetError(
            f"{planned.profile.name}: the finished {plan.train.name} needs {', '.join(over)}; nothing was written"
        )
    shape = plan.shape
    layers = shape.layers or len(planned.job.adapted)
    sizes = (shape.trained, shape.frozen, shape.sequence, shape.rows, shape.batch, layers)
    return Tier(
        plan.train.name,
        *sizes,
        plan.predicted,
        measured,
        dict(figures["proof"]),
        trunk_methods=tuple(trunk.name for trunk in plan.trunks),
        timing={name: round(float(value), 2) for name, value in figures["timing"].items()},
        recompute=shape.recompute,
        micro_batches=shape.micro_batches,
        apply_method=plan.apply.name if plan.apply else "",
    )


def _trunk_ms(plan: TierPlan, record: Record) -> float:
    """Return what the trunks take for the texts of a step, by the longest one's time; 0 without a trunk."""
    if not plan.trunks:
        return 0.0
    longest = plan.trunks[-1]
    calls = trunk_texts(plan.shape) / longest.rows
    return round(float(record.methods[longest.name]["timing"]["median_ms"]) * calls, 2)
