"""Install each part of the project by itself, as its user does, and say what that costs.

    python packaging/extras.py                        all parts; those with torch take minutes and gigabytes
    python packaging/extras.py edge gateway --json

Each part gets a fresh virtual environment. `pip check` must be content, what the part brings is imported, and its
commands print their help. The part `edge` is installed from a wheel for boards (packaging/board_wheel.py), the others
from the wheel without a platform, whose requirements are those of a checkout; with `edge-source` the native driver is
compiled as well. Both wheels are built first, from the source distribution.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import board_wheel
from bare_install import Board, BoardError

from benchmarks import record
from benchmarks.sections import install_table

NAME: Final = "extras"
"""Of the records."""
MEGA: Final = 1e6


@dataclass(frozen=True)
class Part:
    """What is installed together, and what must work afterwards.

    Args:
        modules: imported in one process.
        commands: that have ``--help``: modules, or scripts beside Python ("bin/NAME").
        board: from a wheel for boards, and as there without bytecode, which Python writes for what is used.
        compiled: the native driver is built as well, with this machine's compiler.
    """

    modules: tuple[str, ...]
    commands: tuple[str, ...]
    board: bool = False
    compiled: bool = False


_DEVICE: Final = ("edge_runtime.__main__", "edge_runtime.data.tokenizer")
_GATEWAY: Final = ("broker_server.cli", "broker_server.gateway", "broker_server.evaluation.onnx_model")
_EXPORT: Final = ("export.interface", "executorch.exir", "transformers")
_DEV: Final = ("pytest", "hypothesis", "playwright", "zxingcpp", "grpc_tools.protoc")
_DEV_COMMANDS: Final = ("pytest", "ruff", "mypy", "build", "auditwheel")
PARTS: Final = {
    "edge": Part(_DEVICE, ("bin/edge_runtime", "edge_runtime"), board=True),
    "edge,edge-source": Part(_DEVICE, ("bin/edge_runtime", "edge_runtime.native.build"), compiled=True),
    "gateway": Part(_GATEWAY, ("bin/broker_server", "broker_server")),
    "gateway,privacy": Part((*_GATEWAY, "dp_accounting.rdp"), ("bin/broker_server",)),
    "gateway,cluster": Part((*_GATEWAY, "ray", "broker_server.engine.ray_engine"), ("bin/broker_server",)),
    "export": Part(_EXPORT, ("export.build", "export.sign")),
    "demo": Part(("matplotlib.pyplot", "rich.progress"), ()),
    "bench": Part(("peft", "sklearn.linear_model"), ()),
    "fuzz": Part(("atheris",), ()),
    "dev": Part(_DEV, _DEV_COMMANDS),
    "export,edge,edge-source,gateway,privacy,demo,dev": Part(
        (*_DEVICE, *_GATEWAY, *_EXPORT, *_DEV),
        ("bin/edge_runtime", "bin/broker_server", "export.build", *_DEV_COMMANDS),
        compiled=True,
    ),
}
"""By the extras, as in brackets: each alone, or with what it is of use with, and all that `make test` installs."""


@dataclass(frozen=True)
class Installed:
    """What a part cost.

    Args:
        part: its extras.
        packages: that pip lists, its own two among them.
        mb: 10^6 bytes that pip added, bytecode included.
        empty_mb: of the environment before.
        cache_mb: 10^6 bytes that the native driver's build left in the cache.
        pip_s: seconds that pip took, the median of ``times``.
        works_s: seconds of the imports, the helps and the build.
        load: average of a minute, the highest beside a turn.
        cores: of this machine.
    """

    part: str
    packages: int
    mb: float
    empty_mb: float
    cache_mb: float
    pip_s: float
    works_s: float
    times: int
    load: float
    cores: int


def install(name: str, wheel: Path, times: int, work: Path) -> Installed:
    """Install a part and try it.

    Args:
        name: of PARTS.
        wheel: that has it.
        times: fresh environments; the median of pip's seconds counts.
        work: folder for the environments, each removed with it.

    Raises:
        BoardError: when it cannot be installed, `pip check` complains, or something of it does not work.
    """
    turns, loads = [], []
    for turn in range(times):
        board = Board.here(work / f"{turn}-venv", compiler=PARTS[name].compiled)
        turns.append(board.install(*(("--no-compile",) if PARTS[name].board else ()), f"{wheel}[{name}]"))
        loads.append(os.getloadavg()[0])
    began = time.monotonic()
    _try(PARTS[name], board)
    works_s = time.monotonic() - began
    packages = len(json.loads(board.run("-m", "pip", "list", "--format", "json")))
    return Installed(
        name,
        packages,
        round(turns[-1].nbytes / MEGA, 1),
        round(turns[-1].empty_nbytes / MEGA, 1),
        round(board.cache_nbytes() / MEGA, 1),
        round(statistics.median(turn.seconds for turn in turns), 1),
        round(works_s, 1),
        times,
        round(max(loads), 1),
        len(os.sched_getaffinity(0)),
    )


def _try(part: Part, board: Board) -> None:
    board.run("-c", "".join(f"import {module}\n" for module in part.modules))
    for command in part.commands:
        words = (board.venv / command,) if command.startswith("bin/") else ("-m", command)
        board.run(*words, "--help")
    if part.compiled:
        board.run("-m", "edge_runtime.native.build")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns: 0 done, 1 a part cannot be installed or does not work, 2 (by argparse) bad usage."""
    parser = argparse.ArgumentParser(
        prog="python packaging/extras.py",
        description="Install each part in a fresh environment, ask pip check, try it, and say what it costs.",
        epilog="\n  ".join(("parts:", *PARTS)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help="extras, as in brackets (default: every part)")
    parser.add_argument("--times", type=int, default=1, metavar="N", help="fresh environments of each (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object for each part")
    parser.add_argument("--record", action="store_true", help=f"keep the results in benchmarks/results/{NAME}.jsonl")
    options = parser.parse_args(arguments)
    unknown = [part for part in options.parts if part not in PARTS]
    if unknown or options.times < 1:
        parser.error(f"{', '.join(unknown)}: no part; --help lists them" if unknown else "--times is 1 or more")
    rows = []
    try:
        with tempfile.TemporaryDirectory(prefix="extras-") as folder:
            _, plain = board_wheel.distributions(Path(folder))
            for name in options.parts or PARTS:
                with tempfile.TemporaryDirectory(prefix="part-", dir=folder) as work:
                    wheel = plain
                    if PARTS[name].board:
                        wheel = board_wheel.board_wheel(plain, platform.machine(), Path(work) / "dist").path
                    row = install(name, wheel, options.times, Path(work))
                rows.append(row)
                print(json.dumps(asdict(row)) if options.json else f"{name}: pip check is content", flush=True)
                if options.record:
                    record.append(NAME, f"python packaging/extras.py '{name}' --times {options.times}", asdict(row))
    except (BoardError, *board_wheel.ERRORS) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if not options.json:
        print(f"\n{install_table([asdict(row) for row in rows])}", end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
