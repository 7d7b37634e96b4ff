"""The arms by name: modules of this folder, each with functions that make an arm for a run."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from benchmarks.federation.arms.base import Arm, Setup

ARMS: Final[dict[str, str]] = {
    "class_means": "bounds:class_means",
    "linear_probe": "bounds:linear_probe",
    "local_only": "bounds:local_only",
    "centralized": "bounds:centralized",
    "adapter": "adapters:adapter",
    "adapter_dense": "adapters:adapter_dense",
    "adapter_smallest": "adapters:adapter_smallest",
    "adapter_shallow": "adapters:adapter_shallow",
    "fed_adapter": "adapters:fed_adapter",
    "fedit_qv": "lora:fedit_qv",
    "fedit_ffn": "lora:fedit_ffn",
    "ffa_lora": "lora:ffa_lora",
    "hetlora": "lora:hetlora",
    "flexlora": "lora:flexlora",
    "raflora": "lora:raflora",
    "fed_plora": "lora:fed_plora",
    "flora": "flora:flora",
    "ravan": "ravan:ravan",
    "topk_switch": "sparse:topk_switch",
    "topk_balanced": "sparse:topk_balanced",
    "ours": "ours:ours",
}
"""Name in an experiment's file -> "module:function" below this folder."""


def arm_of(name: str, setup: Setup) -> Arm:
    """Return the arm of a name for a run.

    Raises:
        ValueError: for an unknown name.
    """
    if name not in ARMS:
        msg = f"no arm {name!r}; known: {', '.join(sorted(ARMS))}"
        raise ValueError(msg)
    module, function = ARMS[name].split(":")
    arm: Arm = getattr(import_module(f"benchmarks.federation.arms.{module}"), function)(setup)
    return arm
