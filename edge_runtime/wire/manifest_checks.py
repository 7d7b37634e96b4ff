"""What a manifest must be beyond its types: the parts of manifest.json held against each other."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

from edge_runtime.wire.errors import BankError, PackageError
from edge_runtime.wire.interface_checks import check_interface
from edge_runtime.wire.labels import label_fault
from edge_runtime.wire.limits import WIRE_VERSION
from edge_runtime.wire.program_interface import DTYPES, PROGRAM_INTERFACE
from edge_runtime.wire.text import plain, shown

if TYPE_CHECKING:
    from edge_runtime.wire.manifest import Architecture, Manifest, Tier

TEXT_BYTES: Final = 200
"""UTF-8 bytes of a name, of a path inside the package."""
TENSOR_LIMIT: Final = 2**31 - 1
"""Bytes of one input or output."""
SCALE_RANGE: Final = (0.001, 1e7)
"""Of logit_scale: in this range every language writes the same shortest decimal, without an exponent."""
CLASSIFICATION: Final = "classification"
CAUSAL_LM: Final = "causal-lm"
FEATURES: Final = {CLASSIFICATION: "mean_pool_l2", CAUSAL_LM: "none"}
"""How a text becomes one vector, by task."""
NEEDED_FILES: Final = ("program.pte", "tokenizer.json", "bank.safetensors")


class Quantization(StrEnum):
    """How frozen weights are rounded: not, to 8 bits, or linears to 4 bits where they divide into groups, else 8."""

    NONE = "none"
    INT8 = "int8"
    INT4 = "int4"


RECOMPUTE: Final = ("none", "light", "layers")
"""How much of the forward a training step computes twice, least first."""
_HEX: Final = re.compile(r"[0-9a-f]{64}")
_PATH: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")


class _Need(Protocol):
    def __call__(self, condition: bool, detail: str) -> None: ...


def check(manifest: Manifest, source: str) -> None:
    """Hold the parts of a manifest against each other.

    Raises:
        PackageError: saying which part is wrong and how.
    """

    def need(condition: bool, detail: str) -> None:
        if not condition:
            msg = f"{source}: {detail}"
            raise PackageError(msg)

    version = manifest.wire_version
    need(version == WIRE_VERSION, f"wire version {version}, this software speaks {WIRE_VERSION}; export it again")
    ours, stated = PROGRAM_INTERFACE, manifest.program_interface
    need(stated == ours, f"program interface {stated}, this software knows {ours}; export it again")
    try:
        _ = manifest.architecture.bank_shape
    except BankError as error:
        need(condition=False, detail=str(error))
    _check_architecture(manifest.architecture, need)
    _check_program(manifest, need)
    check_interface(manifest, source)
    _check_files(manifest, need)


def _check_architecture(arch: Architecture, need: _Need) -> None:
    need(arch.task in FEATURES, f"task {shown(arch.task)}, expected {' or '.join(FEATURES)}")
    if arch.task == CLASSIFICATION:
        fault = label_fault(arch.labels)
        need(not fault, f"labels: {fault}")
        need(arch.end_token == -1, f"end_token {arch.end_token}: a classifier has none, expected -1")
    else:
        need(not arch.labels, f"{len(arch.labels)} labels: a model that continues texts has none")
        need(arch.end_token >= -1, f"end_token {arch.end_token}, expected an id, or -1 for none")
    for text in (arch.backbone.name, arch.backbone.family):
        need(bool(text) and plain(text, TEXT_BYTES), f"{shown(text)} is empty, over {TEXT_BYTES} bytes or not plain")
    need(arch.adapted_layers[-1] < arch.backbone.layers, f"layer {arch.adapted_layers[-1]} is not in the backbone")
    feature = FEATURES[arch.task]
    need(arch.feature == feature, f"feature {shown(arch.feature)}, expected {feature} for {arch.task}")
    low, high = SCALE_RANGE
    need(low <= arch.logit_scale < high, f"logit_scale {arch.logit_scale}, expected {low} to {high:.0f}")
    need(arch.gate in ("soft", "topk"), f"gate {shown(arch.gate)}, expected soft or topk")
    routed = 1 <= arch.top_k <= arch.experts if arch.gate == "topk" else arch.top_k == 0
    need(routed, f"top_k {arch.top_k} with the {arch.gate} gate and {arch.experts} experts")
    for digest in (arch.backbone.digest, arch.tokenizer_digest, arch.bank_digest):
        need(bool(_HEX.fullmatch(digest)), f"{shown(digest)} is no SHA-256")


def _check_program(manifest: Manifest, need: _Need) -> None:
    experts = manifest.architecture.experts
    need(manifest.held in ("all", "slots"), f"held {shown(manifest.held)}, expected all or slots")
    kinds = [kind.value for kind in Quantization]
    need(manifest.quantize in kinds, f"quantize {shown(manifest.quantize)}, expected {' or '.join(kinds)}")
    need(manifest.threads >= 1, f"{manifest.threads} threads")
    need(len(manifest.tiers) > 0, "no tier")
    _check_predict(manifest, need)
    named = [tier.method for tier in manifest.tiers]
    need(len(set(named)) == len(named), f"two tiers of one method: {shown(sorted(named))}")
    for tier in manifest.tiers:
        need(tier.method in manifest.methods, f"tier names the unknown method {shown(tier.method)}")
        for trunk in tier.trunk_methods:
            need(trunk in manifest.methods, f"tier names the unknown trunk {shown(trunk)}")
        slots = tier.trained_slots >= 1 and tier.frozen_slots >= 0 and tier.held_slots <= experts
        need(slots, f"{tier.trained_slots} trained and {tier.frozen_slots} frozen slots, {experts} experts")
        sizes = min(tier.seq_len, tier.rows, tier.batch_size)
        need(sizes >= 1, f"batch of {tier.batch_size} texts in {tier.rows} rows of {tier.seq_len} places")
        _check_layers(tier, manifest.architecture, need)
        _check_memory_plan(tier, manifest, need)
    for name, method in manifest.methods.items():
        for tensor in (*method.inputs, *method.outputs):
            where = f"{shown(name)}: {shown(tensor.name)}"
            need(tensor.dtype in DTYPES, f"{where} has dtype {shown(tensor.dtype)}")
            axes = tensor.shape
            need(len(axes) <= 8 and all(axis >= 0 for axis in axes), f"{where} has shape {shown(axes)}")
            need(tensor.nbytes <= TENSOR_LIMIT, f"{where} has {tensor.nbytes} bytes, limit {TENSOR_LIMIT}")


def _check_layers(tier: Tier, arch: Architecture, need: _Need) -> None:
    """Below the layers that a tier trains every expert runs, in a trunk: so every one is held, and there is a trunk."""
    adapted = len(arch.adapted_layers)
    need(1 <= tier.layers <= adapted, f"tier of {tier.layers} layers, {adapted} are adapted")
    whole = tier.layers == adapted or (bool(tier.trunk_methods) and tier.held_slots == arch.experts)
    need(
        whole,
        f"tier of {tier.layers} of {adapted} adapted layers with {len(tier.trunk_methods)} trunk_methods and"
        f" {tier.held_slots} of {arch.experts} experts held, expected a trunk, and all experts",
    )


def _check_memory_plan(tier: Tier, manifest: Manifest, need: _Need) -> None:
    need(tier.recompute in RECOMPUTE, f"recompute {shown(tier.recompute)}, expected {' or '.join(RECOMPUTE)}")
    parts, apply = tier.micro_batches, tier.apply_method
    need(parts >= 1 and tier.rows % parts == 0, f"{tier.rows} rows in {parts} micro-batches")
    need((parts > 1) == bool(apply), f"{parts} micro-batches with the apply method {shown(apply)}")
    need(not apply or apply in manifest.methods, f"tier names the unknown method {shown(apply)}")


def _check_predict(manifest: Manifest, need: _Need) -> None:
    names = manifest.predict_methods
    need(len(set(names)) == len(names) > 0, f"predict_methods {shown(names)}, expected at least one, each once")
    for name in names:
        need(name in manifest.methods, f"no method {shown(name)}")


def _check_files(manifest: Manifest, need: _Need) -> None:
    for name, entry in manifest.files.items():
        safe = _PATH.fullmatch(name) and len(name) <= TEXT_BYTES and name != "manifest.json"
        need(bool(safe), f"unsafe file name {shown(name)}")
        need(bool(_HEX.fullmatch(entry.sha256)) and entry.bytes >= 0, f"{name}: bad digest or size")
    missing = sorted(set(NEEDED_FILES) - set(manifest.files))
    need(not missing, f"files lack {missing}")
    tokenizer = manifest.files["tokenizer.json"].sha256
    need(tokenizer == manifest.architecture.tokenizer_digest, "tokenizer.json is not the architecture's tokenizer")
