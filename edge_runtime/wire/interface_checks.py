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
    predictions = {name: predict_shape(manifest.methods[name]) for name in manifest.predict_methods}
    wanted = list(predictions.items())
    for tier in manifest.tiers:
        layers = method_layers(tier, manifest)
        trunks = {name: trunk_shape(manifest.methods[name], layers) for name in tier.trunk_methods}
        wanted += [*step_methods(tier, layers).items(), *trunks.items()]
        _check_trunks(f"{source}: trunk_methods", tier, [trunk.sequence for trunk in trunks.values()])
    for name, method in dict.fromkeys(wanted):  # one name may be asked for twice, in two sizes
        _compare(f"{source}: method {shown(name)}", manifest.methods[name], ports.method_spec(model, method))
    places = [method.places for method in predictions.values()]
    if places != sorted(places, reverse=True):
        raise PackageError(f"{source}: predict_methods have {places} places, expected the one with most first")


def _check_trunks(where: str, tier: Tier, lengths: list[int]) -> None:
    if lengths and (lengths != sorted(set(lengths)) or lengths[-1] != tier.seq_len):
        raise PackageError(f"{where} take texts of {lengths} tokens, expected ascending lengths up to {tier.seq_len}")


def model_shape(manifest: Manifest) -> ModelShape:
    """Return the sizes that all methods share; a vocabulary is read from the first inference, which alone says it."""
    arch = manifest.architecture
    vocabulary = 0
    if not arch.labels:
        outputs = manifest.methods[manifest.predict_methods[0]].outputs
        vocabulary = next((one.shape[-1] for one in outputs if one.name == ports.PROBABILITIES and one.shape), 0)
    return ModelShape(arch.bank_shape, arch.top_k or None, vocabulary)


def method_layers(tier: Tier, manifest: Manifest) -> int:
    """Return ``layers`` of the methods of a tier: 0 where it trains all adapted layers."""
    return tier.layers if tier.layers < len(manifest.architecture.adapted_layers) else 0


def step_methods(tier: Tier, layers: int) -> dict[str, MethodShape]:
    """Return the sizes of the methods that make a tier's step, by name. Args: layers: of ``method_layers``."""
    cut, parts = bool(tier.trunk_methods), tier.micro_batches
    kind = MethodKind.TRAIN if parts == 1 else MethodKind.ACCUMULATE
    slots, rows = (tier.trained_slots, tier.frozen_slots), tier.rows // parts
    step = MethodShape(kind, *slots, tier.seq_len, rows, tier.batch_size, tier.recompute, cut, parts, layers)
    methods = {tier.method: step}
    if tier.apply_method:
        methods[tier.apply_method] = MethodShape(MethodKind.APPLY, tier.trained_slots, 0, 0, 0, 0, layers=layers)
    return methods


def predict_shape(spec: MethodSpec) -> MethodShape:
    """Return the sizes of an inference, read from its own gates [L, H], ids [R, S] and readout [B, N]; else 0."""
    shapes = _shapes(spec)
    held, batch = (shapes.get(ports.GATE_SCALE) or (0,))[-1], (shapes.get(ports.READOUT) or (0,))[0]
    return MethodShape(MethodKind.PREDICT, held, 0, *_places(spec), batch)


def trunk_shape(spec: MethodSpec, layers: int) -> MethodShape:
    """Return the sizes of a trunk, read from its own ids [R, S]; 0 where it has none."""
    return MethodShape(MethodKind.TRUNK, 0, 0, *_places(spec), 0, layers=layers)


def _places(spec: MethodSpec) -> tuple[int, int]:
    """Return S and R."""
    shape = _shapes(spec).get(ports.IDS) or (0,)
    return shape[-1], shape[0]


def _shapes(spec: MethodSpec) -> dict[str, tuple[int, ...]]:
    return {tensor.name: tensor.shape for tensor in spec.inputs}


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
