"""A manifest's methods held against the program's interface: what a runtime would give them, and what it would read."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING

from edge_runtime.wire import program_interface as ports
from edge_runtime.wire.errors import PackageError
from edge_runtime.wire.program_interface import MethodKind, MethodShape, MethodSpec, ModelShape, TensorSpec
from edge_runtime.wire.text import shown

if TYPE_CHECKING:
    from edge_runtime.wire.manifest import Manifest, Tier


def check_interface(manifest: Manifest, source: str) -> None:
    """Hold every method that tiers and ``predict_methods`` name against the interface; each of them exists.

    Raises:
        PackageError: naming the method, the place, what stands there and what the interface has.
    """
    model = model_shape(manifest)
    wanted = {name: shape for tier in manifest.tiers for name, shape in tier_methods(tier).items()}
    wanted |= {name: predict_shape(manifest.methods[name]) for name in manifest.predict_methods}
    for name, method in wanted.items():
        _compare(f"{source}: method {shown(name)}", manifest.methods[name], ports.method_spec(model, method))


def model_shape(manifest: Manifest) -> ModelShape:
    """Return the sizes that all methods share; a vocabulary is read from the first inference, which alone says it."""
    arch = manifest.architecture
    vocabulary = 0
    if not arch.labels:
        outputs = manifest.methods[manifest.predict_method].outputs
        vocabulary = next((one.shape[-1] for one in outputs if one.name == ports.PROBABILITIES and one.shape), 0)
    return ModelShape(arch.bank_shape, arch.top_k or None, vocabulary)


def tier_methods(tier: Tier) -> dict[str, MethodShape]:
    """Return the sizes of a tier's methods by name: of a step, of its optimizer and of its trunk where it has them."""
    cut, parts = bool(tier.trunk_method), tier.micro_batches
    slots = (tier.trained_slots, tier.frozen_slots)
    kind = MethodKind.TRAIN if parts == 1 else MethodKind.ACCUMULATE
    step = MethodShape(kind, *slots, tier.seq_len, tier.batch_size // parts, tier.recompute, cut, parts)
    methods = {tier.method: step}
    if tier.apply_method:
        methods[tier.apply_method] = MethodShape(MethodKind.APPLY, tier.trained_slots, 0, 0, 0)
    if tier.trunk_method:
        methods[tier.trunk_method] = MethodShape(MethodKind.TRUNK, 0, 0, tier.seq_len, 1)
    return methods


def predict_shape(spec: MethodSpec) -> MethodShape:
    """Return the sizes of an inference method, read from its own gates [L, H] and mask [1, S]; 0 where they lack."""
    shapes = {tensor.name: tensor.shape for tensor in spec.inputs}
    held, sequence = ((shapes.get(name) or (0,))[-1] for name in (ports.GATE_SCALE, ports.MASK))
    return MethodShape(MethodKind.PREDICT, held, 0, sequence, 1)


def _compare(where: str, spec: MethodSpec, wanted: MethodSpec) -> None:
    for way, have, want in (("input", spec.inputs, wanted.inputs), ("output", spec.outputs, wanted.outputs)):
        for place, (one, other) in enumerate(zip_longest(have, want)):
            if one != other:
                msg = (
                    f"{where}, {way} {place}: {_said(one)}, program interface {ports.PROGRAM_INTERFACE} has"
                    f" {_said(other)}; export the package again"
                )
                raise PackageError(msg)


def _said(tensor: TensorSpec | None) -> str:
    return "nothing" if tensor is None else f"{shown(tensor.name)} {tensor.dtype}{list(tensor.shape)}"
