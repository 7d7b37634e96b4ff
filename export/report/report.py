"""What a build tells: a table for people, one JSON object for machines."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain, repeat
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from edge_runtime.wire.manifest import Architecture, Tier
from edge_runtime.wire.text import counted
from export.packaging.pipeline import Built
from export.report.display import print_whole
from export.report.rows import rows_object, rows_sentences

_SIZES: Final = ("method", "trained_slots", "frozen_slots", "seq_len", "rows", "batch_size", "layers")
BUSY_CORES: Final = 0.3
"""Cores that other work may keep busy before a measured time is doubtful."""


def as_json(built: Built, *, explain: bool = False) -> dict[str, Any]:
    """Return the figures of a build as plain values; those of the largest tier also stand by themselves."""
    manifest = built.package.manifest
    tiers = [_tier_object(tier) for tier in manifest.tiers]
    largest = tiers[0]
    return {
        "package": str(built.package.folder),
        "package_digest": built.package.digest.hex(),
        "federation_digest": manifest.architecture.digest().hex(),
        "device": manifest.device,
        "backbone": manifest.architecture.backbone.name,
        "task": manifest.architecture.task,
        "labels": len(manifest.architecture.labels),
        "from_cache": built.from_cache,
        "tiers": tiers,
        "tier": {name: largest[name] for name in _SIZES},
        "predicted": largest["predicted"],
        "measured": largest["measured"],
        "left_out": list(built.left_out),
        "notes": list(built.notes),
        "memory_plans": built.memory_plans,
        "rows": rows_object(built.row_choice, built.fills, largest["seq_len"]),
        "budget": manifest.profile["budget"],
        "proof": {**largest["proof"], **manifest.proof},
        "texts": built.texts,
        "outside_delegates": built.outside,
        **({"explain": built.explained} if explain else {}),
    }


def measured_line(tier: Tier) -> str:
    """Say how the time of a tier's step was measured, and whether the machine had other work meanwhile."""
    timing = tier.timing
    line = (
        f"measured here: a step of {tier.method} {timing['median_ms']:,.1f} ms (median; {timing['least_ms']:,.1f} to"
        f" {timing['most_ms']:,.1f}), alone, {timing['threads']:.0f} threads"
    )
    if timing["other_cores"] < BUSY_CORES:
        return line
    return f"{line}; other work kept {timing['other_cores']:.1f} cores busy meanwhile: build again on a quiet machine"


def _tier_object(tier: Tier) -> dict[str, Any]:
    costs = {"predicted": vars(tier.predicted), "measured": vars(tier.measured)}
    return {**vars(tier), **costs, "proof": dict(tier.proof)}


def print_table(built: Built, console: Console) -> None:
    """Print predicted and measured cost of every tier beside the budget."""
    manifest = built.package.manifest
    table = Table(title=f"{built.package.folder} · {manifest.architecture.backbone.name} for {built.profile.title}")
    for column in ("tier", "", "predicted for it", "measured here", "budget", "of budget"):
        table.add_column(column, justify="left" if column in ("", "tier") else "right", no_wrap=not column)
    for tier in manifest.tiers:
        _add_rows(table, built, tier)
    print_whole(table, console)
    shape = manifest.architecture
    first = manifest.tiers[0]
    purpose = f"{len(shape.labels)} labels" if shape.labels else shape.task
    console.print(
        f"{len(shape.adapted_layers)} layers, {shape.experts} experts of rank {shape.rank}"
        f" ({first.trained_slots} trained, {first.frozen_slots} frozen slots), {shape.gate} gates,"
        f" {purpose}, up to {first.batch_size} texts a step in {counted(first.rows, 'row')} of {first.seq_len} tokens,"
        f" {manifest.quantize}"
    )
    for layers in dict.fromkeys(tier.layers for tier in manifest.tiers if tier.trunk_methods):
        console.print(_trunk_line(shape, layers))
    _print_proof(built, console)
    console.print(
        f"texts: on {built.texts['texts']} in many scripts the ids are those that the model's folder asks for, and"
        f" hidden states in float32 within {built.texts['hidden_error']:.1e} of the stock model's"
    )
    for sentence in rows_sentences(built.row_choice, built.fills, first.seq_len):
        console.print(sentence)
    for tier in manifest.tiers:
        console.print(measured_line(tier))
    for method, why in built.memory_plans.items():
        console.print(f"memory plan of {method}: {why}")
    for sentence in built.notes:
        console.print(f"note: {sentence}")
    for sentence in built.left_out:
        console.print(f"left out: {sentence}")


def _trunk_line(shape: Architecture, layers: int) -> str:
    """Say what a tier of so many adapted layers does not compute in each step."""
    below = len(shape.adapted_layers) - layers
    experts = f", with all experts of {counted(below, 'adapted layer')}," if below else ""
    keeps = "until one of those changes" if below else "for as long as it keeps the package"
    return (
        f"tiers that train {counted(layers, 'layer')}: of the backbone's {shape.backbone.layers} layers the lowest"
        f" {shape.adapted_layers[-layers]}{experts} and the attention of the next are a method of their own: a device"
        f" keeps what they make of each text {keeps}"
    )


def _add_rows(table: Table, built: Built, tier: Tier) -> None:
    budget, steps = built.profile.budget, built.profile.defaults.steps_per_round
    guess, measured_cost = tier.predicted, tier.measured
    allowed_ms = 1e3 * budget.round_seconds / steps
    first = (guess.step_ms + guess.trunk_ms, measured_cost.step_ms + measured_cost.trunk_ms)
    rows = (
        ("memory, MiB", guess.memory_mib, measured_cost.memory_mib, budget.memory_mib, measured_cost.memory_mib),
        ("storage, MB", guess.storage_mb, measured_cost.storage_mb, budget.storage_mb, measured_cost.storage_mb),
        ("training step, ms", guess.step_ms, measured_cost.step_ms, allowed_ms, guess.step_ms),
        *([("… on new texts, ms", *first, allowed_ms, first[0])] if tier.trunk_methods else []),
        ("up a round, kB", guess.bytes_up / 1e3, None, budget.bytes_up / 1e3, guess.bytes_up / 1e3),
        ("down a round, kB", guess.bytes_down / 1e3, None, budget.bytes_down / 1e3, guess.bytes_down / 1e3),
    )
    whole = tier.layers == len(built.package.manifest.architecture.adapted_layers)
    depth = () if whole else (f"upper {counted(tier.layers, 'layer')}",)
    heads = chain((f"{tier.trained_slots} x {tier.seq_len}", counted(tier.rows, "row"), *depth), repeat(""))
    for head, (name, predicted, measured, allowed, used) in zip(heads, rows, strict=False):
        shown = "" if measured is None else f"{measured:,.1f}"
        table.add_row(head, name, f"{predicted:,.1f}", shown, f"{allowed:,.0f}", f"{100 * used / allowed:.0f} %")
    table.add_section()


def _apart(errors: Mapping[str, float]) -> str:
    """Say what 4 bits cost: such a program is proved against the model with its own rounded weights."""
    error = errors.get("float32_gradient_error")
    return "" if error is None else f"; with float32 weights gradients would be {error:.1e} from these"


def _print_proof(built: Built, console: Console) -> None:
    tiers, onnx = built.package.manifest.tiers, built.package.manifest.proof["onnx_probability_difference"]
    worst = {name: max(tier.proof[name] for tier in tiers) for name in tiers[0].proof}
    console.print(
        f"proof: gradients within {worst['gradient_error']:.1e} of eager PyTorch, loss {worst['loss_error']:.1e},"
        f" AdamW {worst['optimizer_error']:.1e}, ONNX within {onnx:.1e}"
        + _apart(worst)
        + (" (program from the cache)" if built.from_cache else "")
    )
