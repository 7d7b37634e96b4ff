"""Programs that are not in the package: the floor and the documented ways. Lowered once and kept beside the package.

A program lies in ``NAME.pte``, its inputs in ``NAME.inputs``, and in ``NAME.json`` what it was made from and what is
fed back. Lowering happens in a process of its own: ``python -m benchmarks.train_step.programs NAME PACKAGE FOLDER``.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.train_step import native
from benchmarks.train_step.compare import ArmError
from edge_runtime.wire.manifest import Manifest, Package
from export import cache
from export.source import backbone as backbones

if TYPE_CHECKING:
    from benchmarks.eager import Sizes

HERE: Final = Path(__file__).parent
EXPORT: Final = HERE.parent.parent / "export"
_CODE: Final = {
    "floor": (HERE / "floor.py", *sorted(EXPORT.glob("*.py"))),
    "documented": (HERE / "documented.py", HERE.parent / "eager.py"),
    "stock_xnnpack": (HERE / "documented.py", HERE.parent / "eager.py"),
}
"""What shapes each program besides the sizes."""


@dataclass(frozen=True)
class LoweredProgram:
    """A lowered program. Args: feeds: (output, input) pairs; method: its name."""

    program: Path
    inputs: Path
    method: str
    feeds: tuple[tuple[int, int], ...]


def sizes_of(manifest: Manifest) -> Sizes:
    """Return the sizes of the work that a package's largest tier does (loads torch)."""
    from benchmarks.eager import Sizes  # noqa: PLC0415 - heavy

    arch, tier = manifest.architecture, manifest.tiers[0]
    return Sizes(
        layers=arch.adapted_layers,
        experts=arch.experts,
        trained=tier.trained_slots,
        rank=arch.rank,
        shared_rank=arch.shared_rank,
        labels=len(arch.labels),
        logit_scale=arch.logit_scale,
        batch=tier.batch_size,
        sequence=tier.seq_len,
    )


def key(name: str, manifest: Manifest) -> str:
    """Return the digest of what determines a program."""
    arch, tier = manifest.architecture, manifest.tiers[0]
    sizes = (arch.backbone.digest, arch.adapted_layers, arch.experts, arch.rank, arch.shared_rank, len(arch.labels))
    slots, places = (tier.trained_slots, tier.frozen_slots), (tier.batch_size, tier.rows, tier.seq_len)
    what: Any = [name, cache.versions(), *sizes, *slots, *places]
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode())
    for path in _CODE[name]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def prepared(name: str, package: Path, folder: Path, say: Callable[[str], None]) -> LoweredProgram:
    """Return a program, lowering it when ``folder`` has none of the same making.

    Raises:
        ArmError: when it cannot be lowered.
    """
    record, wanted = folder / f"{name}.json", key(name, Package.open(package).manifest)
    if not record.is_file() or json.loads(record.read_text())["key"] != wanted:
        say(f"lowering the program of {name}; it is kept for the next time ...")
        command = [sys.executable, "-m", "benchmarks.train_step.programs", name, str(package), str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ArmError(f"{name} cannot be lowered: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    about = json.loads(record.read_text())
    feeds = tuple((output, input_) for output, input_ in about["feeds"])
    return LoweredProgram(folder / f"{name}.pte", folder / f"{name}.inputs", about["method"], feeds)


def make(name: str, package: Path, folder: Path) -> None:
    """Lower a program into ``folder``; the record is written last."""
    manifest = Package.open(package).manifest
    data, inputs, method, feeds = _floor(manifest) if name == "floor" else _documented(name, manifest)
    (folder / f"{name}.pte").write_bytes(data)
    native.write_inputs(folder / f"{name}.inputs", [tensor.numpy() for tensor in inputs])
    record = {"key": key(name, manifest), "method": method, "feeds": feeds}
    (folder / f"{name}.json").write_text(json.dumps(record), encoding="utf-8")


def _floor(manifest: Manifest) -> tuple[bytes, tuple[Any, ...], str, list[tuple[int, int]]]:
    from benchmarks.train_step import floor  # noqa: PLC0415 - heavy
    from edge_runtime.wire.program_interface import MethodKind, MethodShape, ModelShape  # noqa: PLC0415

    arch, tier = manifest.architecture, manifest.tiers[0]
    model = ModelShape(arch.bank_shape, arch.top_k or None)
    method = MethodShape(
        MethodKind.TRAIN,
        tier.trained_slots,
        tier.frozen_slots,
        sequence=tier.seq_len,
        rows=tier.rows,
        batch=tier.batch_size,
    )
    products = floor.products(floor.step_graph(model, method, arch.adapted_layers))
    data, inputs = floor.lowered(products, lambda _stage: None)
    return data, inputs, floor.METHOD, []


def _documented(name: str, manifest: Manifest) -> tuple[bytes, tuple[Any, ...], str, list[tuple[int, int]]]:
    from benchmarks.train_step import documented  # noqa: PLC0415 - heavy

    folder = backbones.find(None).folder
    data, inputs = documented.program(folder, sizes_of(manifest), xnnpack=name == "stock_xnnpack")
    return data, inputs, documented.METHOD, documented.feeds(inputs)


if __name__ == "__main__":
    make(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
