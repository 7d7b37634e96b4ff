"""What ``explain`` found of a method, as plain values, with times where a step was measured. No torch.

Apart from ``explain``, so that a build that compiles nothing does not load torch to tell what is in the cache.
"""

from __future__ import annotations

from typing import Any, Final

FIGURES: Final = ("int8_macs", "fp32_macs", "moved_bytes", "kept_bytes", "weight_bytes", "operations")
TIME_NOTE: Final = (
    "ms: shares by a cost model (multiply-accumulates and bytes over the profile's rates) of the step measured on this"
    " machine; the runtime has no event tracer"
)


def timed(parts: list[dict[str, Any]], compute: Any, step_ms: float) -> list[dict[str, Any]]:  # noqa: ANN401
    """Return the parts with ``ms``: a cost model's shares of a measured time.

    A part's weight is its int8 and float32 multiply-accumulates and its bytes, each over the rate of the profile; all
    weights together stand for the measured ``step_ms``. The runtime has no event tracer to say more.

    Args:
        parts: of one step.
        compute: rates of the device profile of the machine that measured.
        step_ms: measured.
    """
    weights = [
        part["int8_macs"] / compute.int8_gmac_s
        + part["fp32_macs"] / compute.fp32_gmac_s
        + part["moved_bytes"] / compute.memory_gb_s
        for part in parts
    ]
    whole = sum(weights) or 1.0
    return [{**part, "ms": step_ms * weight / whole} for part, weight in zip(parts, weights, strict=True)]


def as_object(record: dict[str, Any], compute: Any) -> dict[str, Any]:  # noqa: ANN401 - a profile's rates
    """Return what is known of one method as plain values, times included where a step was measured."""
    step_ms = record.get("timing", {}).get("median_ms", 0.0)
    parts = timed(record["explain"]["parts"], compute, step_ms)
    return {
        "planned_bytes": record["planned_bytes"],
        "workspace_bytes": record["workspace_bytes"],
        "kept_bytes": sum(part["kept_bytes"] for part in parts),
        "step_ms": step_ms,
        "time": TIME_NOTE,
        "parts": parts,
        "outside": record["left"],
    }
