"""The little packages and texts of tests/integration, made once and kept until export or contract change.

Prints one JSON object: folders of the packages by name, and of the texts by device. ``soft`` has shared experts and
four tiers, of which those with four rows are more than the texts need; ``all`` has what else a program may have:
top-k gates, micro-batches and a trunk; ``depth`` has a tier of both layers and one of the upper layer alone, ``upper``
only the latter. The texts have 6 to 8 tokens, so two stand in a row of 16.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[5]
sys.path.insert(0, str(ROOT / "tests/integration"))

from loop_federation import command, environment  # noqa: E402 - found through the line above
from loop_packages import COMMON, make_backbone, write_data  # noqa: E402

PACKAGES = {
    "soft": ("--train-slots", "2,1", "--held", "slots", "--seq-len", "16", "--tokens", "64,32"),
    "all": (
        *("--seq-len", "16", "--tokens", "32"),
        *("--gate", "topk", "--top-k", "2", "--train-slots", "2", "--held", "slots"),
        *("--micro-batches", "2", "--layers", "last:1"),
    ),
    "depth": ("--tiers", "2x16,2x16x1"),
    "upper": ("--tiers", "2x16x1"),
}
TEXTS = {
    "ada": {"alarm": 12, "music": 3},
    "bo": {"music": 9, "light": 14},
    "cy": {"alarm": 5, "music": 7, "light": 6},
}


def key() -> str:
    """Return what the packages depend on: the sources that make them."""
    digest = hashlib.sha256(json.dumps(PACKAGES).encode())
    folders = (ROOT / "export", ROOT / "edge_runtime/wire", ROOT / "tests/integration")
    for path in sorted(path for folder in folders for path in folder.rglob("*.py")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def make(folder: Path, names: list[str]) -> None:
    """Export the packages of these names that are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    backbone = folder / "little-bert"
    if not (backbone / "config.json").exists():
        make_backbone(backbone)
    for name in names:
        if (folder / name / "manifest.json").exists():
            continue
        line = command("export.build", "--model", backbone, *COMMON, *PACKAGES[name], "--out", folder / name)
        done = subprocess.run(
            [*line, "--cache-dir", str(folder.parent / "cache")], env=environment(), cwd=folder, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            sys.exit(done.stderr)


def main() -> None:
    """Make everything below a folder, the first argument; or of the packages only those that the others name."""
    folder, names = Path(sys.argv[1]) / key(), sys.argv[2:] or list(PACKAGES)
    make(folder, names)
    data = {name: folder / f"{name}.csv" for name in TEXTS}
    for name, path in data.items():
        if not path.exists():  # a device that reads it refuses a file that changes
            write_data(path, TEXTS[name], 1)
    packages = {name: str(folder / name) for name in names}
    json.dump({"packages": packages, "data": {name: str(path) for name, path in data.items()}}, sys.stdout)


if __name__ == "__main__":
    main()
