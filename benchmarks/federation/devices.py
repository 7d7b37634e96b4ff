"""Step times by depth of the shipped profiles -> devices.json: ``python -m benchmarks.federation.devices``.

For each set, S and R are those that export would choose for its texts; the bank is the demo's. A step through all
layers takes what export's cost model says of the profile. A step through the top layers with prefixes at hand, and what
a step takes more without them, is the cost model's as well, but held against what the product measured
(benchmarks/results/prefix_cache.jsonl, two of six layers, on the machine with the profile linux-x86_64): both are
multiplied by measured / predicted, each relative to the step through all layers. The cost model knows no texts and lets
each fill half of its trunk's row; here each goes to the shortest trunk that holds it, as on a device.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks import record
from benchmarks.federation import texts
from benchmarks.federation.fleet import DEVICES, MEGABITS
from benchmarks.federation.texts import Part
from edge_runtime.wire.experts import BankShape
from edge_runtime.wire.program_interface import ModelShape
from export.planning import cost_model
from export.planning.inference_sizes import SHORTEST_TRUNK, lengths_to
from export.planning.profiles import DeviceProfile, load_profile
from export.planning.sizes import Sizes, TierShape
from export.planning.text_lengths import TextLengths
from export.source.backbone import find

BATCH: Final = 16
BANK: Final = (8, 6, 28)
"""M, r and rs of the simulated bank; time depends on them little."""
MEASURED: Final = "prefix_cache"
MEASURED_ON: Final = "linux-x86_64"
MEASURED_TIER: Final = TierShape(trained=4, frozen=4, sequence=64, rows=8, batch=8)
MEASURED_BANK: Final = (8, 8, 8)
MEASURED_DEPTH: Final = 2


@dataclass(frozen=True)
class Workload:
    """Steps on the texts of a set. Args: tokens: S; rows: R; trunk_places: token places that trunks take for a step."""

    tokens: int
    rows: int
    trunk_places: int

    @property
    def tier(self) -> TierShape:
        """The tier of such steps: all experts trained."""
        return TierShape(BANK[0], 0, self.tokens, self.rows, BATCH)

    @property
    def trunk_share(self) -> float:
        """Places of trunks as a share of what the cost model takes."""
        return self.trunk_places / (cost_model.trunk_texts(self.tier) * self.tokens)


@dataclass(frozen=True)
class Ratios:
    """A step through the top layers, relative to one through all. Args: step: prefixes at hand; trunk: more without."""

    step: float
    trunk: float


def table(data: Path) -> dict[str, Any]:
    """Return what devices.json says, for the sets of a file."""
    run = record.read(MEASURED)[-1]
    factors = correction(run)
    work = {name: workload(data, name) for name in texts.names(data)}
    return {
        "written_by": "python -m benchmarks.federation.devices --data F.npz --write",
        "bank": {**dict(zip(("experts", "rank", "shared_rank"), BANK, strict=True)), "batch": BATCH},
        "measured": {key: run[key] for key in ("command", "date", "machine", "commit")}
        | {"depth": MEASURED_DEPTH, "times_predicted_step": factors.step, "times_predicted_trunk": factors.trunk},
        "work": {name: asdict(one) for name, one in work.items()},
        "profiles": {name: _profile(load_profile(name), work, factors) for name in MEGABITS},
    }


def workload(data: Path, name: str) -> Workload:
    """Return the steps that export makes for the texts of a set."""
    held = texts.load(data, name)
    tokens = held.lengths[held.rows(Part.TRAIN)].tolist()
    lengths = TextLengths(tuple(tokens))
    sequence = lengths.suiting_length(int(held.ids.shape[1]))
    trunks = lengths_to(sequence, SHORTEST_TRUNK)
    rows = [next((length for length in trunks if length >= count), sequence) for count in tokens]
    return Workload(sequence, lengths.fewest_rows(sequence, BATCH), round(BATCH * sum(rows) / len(rows)))


def correction(run: Mapping[str, Any]) -> Ratios:
    """Return what the product measured as a multiple of what the cost model says of the same program and machine."""
    ms = {arm: run["arms"][arm]["ms_median"] for arm in ("all", "cached", "first")}
    measured = Ratios(ms["cached"] / ms["all"], (ms["first"] - ms["cached"]) / ms["all"])
    predicted = ratios(load_profile(MEASURED_ON), MEASURED_TIER, sizes(MEASURED_BANK), measured_sizes())
    return Ratios(measured.step / predicted.step, measured.trunk / predicted.trunk)


def ratios(profile: DeviceProfile, shape: TierShape, whole: Sizes, top: Sizes) -> Ratios:
    """Return what the cost model says of a step through the top layers, relative to one through all."""
    all_layers = cost_model.step_seconds(whole, shape, profile)
    step, trunk = (cost(top, shape, profile) for cost in (cost_model.step_seconds, cost_model.trunk_seconds))
    return Ratios(step / all_layers, trunk / all_layers)


def sizes(bank: tuple[int, int, int] = BANK, first: int = 0) -> Sizes:
    """Return the sizes of the default backbone with a bank. Args: bank: M, r and rs; first: adapted layer."""
    backbone = find(None).sizes
    shape = BankShape(tuple(range(first, backbone.depth)), *bank, backbone.width, 2)
    return Sizes(backbone, ModelShape(shape), cut=first > 0)


def measured_sizes() -> Sizes:
    """Return the sizes of the package that was measured: experts in its last layers only, none below."""
    return sizes(MEASURED_BANK, find(None).sizes.depth - MEASURED_DEPTH)


def reaches(profile: DeviceProfile, work: Workload, factors: Ratios) -> list[dict[str, float]]:
    """Return the times of each depth in ms, deepest first; below a depth, the experts run in its trunk."""
    whole = sizes()
    ms = 1e3 * cost_model.step_seconds(whole, work.tier, profile)
    rows = [{"layers": whole.adapted, "step_ms": round(ms, 2), "trunk_ms": 0.0}]
    for layers in range(whole.adapted - 1, 0, -1):
        top = ratios(profile, work.tier, whole, whole.at_depth(layers))
        step, trunk = ms * top.step * factors.step, ms * top.trunk * factors.trunk * work.trunk_share
        rows.append({"layers": layers, "step_ms": round(step, 2), "trunk_ms": round(trunk, 2)})
    return rows


def _profile(profile: DeviceProfile, work: Mapping[str, Workload], factors: Ratios) -> dict[str, Any]:
    return {
        "title": profile.title,
        "bytes_up": profile.budget.bytes_up,
        "bytes_down": profile.budget.bytes_down,
        "memory_mib": profile.budget.memory_mib,
        "needs_mib": max(cost_model.predict(sizes(), one.tier, profile).memory_mib for one in work.values()),
        "reaches": {name: reaches(profile, one, factors) for name, one in work.items()},
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print or write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.federation.devices", description=__doc__)
    parser.add_argument(
        "--data", type=Path, required=True, metavar="F.npz", help="what benchmarks.federation.texts made"
    )
    parser.add_argument("--write", action="store_true", help=f"write {DEVICES.name} instead of printing it")
    options = parser.parse_args(argv)
    try:
        text = json.dumps(table(options.data), indent=1) + "\n"
    except (OSError, ValueError, RuntimeError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if options.write:
        DEVICES.write_text(text, encoding="utf-8")
    sys.stdout.write(f"wrote {DEVICES}\n" if options.write else text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
