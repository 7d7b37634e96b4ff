"""What a build tells: a table for people, one JSON object for machines."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from export.pipeline import Built


def as_json(built: Built) -> dict[str, Any]:
    """Return the figures of a build as plain values."""
    manifest = built.package.manifest
    tier = manifest.tiers[0]
    return {
        "package": str(built.package.folder),
        "package_digest": built.package.digest.hex(),
        "federation_digest": manifest.architecture.digest().hex(),
        "device": manifest.device,
        "backbone": manifest.architecture.backbone.name,
        "labels": len(manifest.architecture.labels),
        "from_cache": built.from_cache,
        "tier": {
            "method": tier.method,
            "trained_slots": tier.trained_slots,
            "frozen_slots": tier.frozen_slots,
            "seq_len": tier.seq_len,
            "batch_size": tier.batch_size,
        },
        "predicted": vars(tier.predicted),
        "measured": vars(tier.measured),
        "budget": manifest.profile["budget"],
        "proof": manifest.proof,
        "outside_delegates": built.outside,
    }


def print_table(built: Built, console: Console) -> None:
    """Print predicted and measured cost beside the budget."""
    manifest = built.package.manifest
    tier, budget = manifest.tiers[0], built.profile.budget
    steps = built.profile.defaults.steps_per_round
    table = Table(title=f"{built.package.folder} · {manifest.architecture.backbone.name} for {built.profile.title}")
    for column in ("", "predicted", "measured here", "budget", "of budget"):
        table.add_column(column, justify="left" if not column else "right")
    guess, found = tier.predicted, tier.measured
    rows = (
        ("memory, MiB", guess.memory_mib, found.memory_mib, budget.memory_mib, found.memory_mib),
        ("storage, MB", guess.storage_mb, found.storage_mb, budget.storage_mb, found.storage_mb),
        ("training step, ms", guess.step_ms, found.step_ms, 1e3 * budget.round_seconds / steps, guess.step_ms),
        ("up a round, kB", guess.bytes_up / 1e3, None, budget.bytes_up / 1e3, guess.bytes_up / 1e3),
        ("down a round, kB", guess.bytes_down / 1e3, None, budget.bytes_down / 1e3, guess.bytes_down / 1e3),
    )
    for name, predicted, measured, allowed, used in rows:
        shown = "" if measured is None else f"{measured:,.1f}"
        table.add_row(name, f"{predicted:,.1f}", shown, f"{allowed:,.0f}", f"{100 * used / allowed:.0f} %")
    console.print(table)
    shape = manifest.architecture
    console.print(
        f"{len(shape.adapted_layers)} layers, {shape.experts} experts of rank {shape.rank}"
        f" ({tier.trained_slots} trained, {tier.frozen_slots} frozen slots), {shape.gate} gates,"
        f" {len(shape.labels)} labels, batch {tier.batch_size} x {tier.seq_len}, {manifest.quantize}"
    )
    proof = manifest.proof
    console.print(
        f"proof: gradients within {proof['gradient_error']:.1e} of eager PyTorch, loss {proof['loss_error']:.1e},"
        f" AdamW {proof['optimizer_error']:.1e}, ONNX within {proof['onnx_probability_difference']:.1e}"
        + (" (program from the cache)" if built.from_cache else "")
    )
