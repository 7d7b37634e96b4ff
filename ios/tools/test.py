"""Builds and tests the Swift package, and asks Python first what it decides itself.

    python -m ios.tools.test             # as `make swift-test` does; FUZZ_MUTANTS=1000 asks for more

The scripts are those that Kotlin's tests run: one question, the same answer in three languages.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ios.tools import toolchain
from ios.tools.toolchain import ROOT, ToolchainError

ANSWERS: Final = ROOT / "ios/.build/answers"
_CHECK: Final = ".build/engine"  # from ios/
_SCRIPTS: Final = {
    "corpus": "android_demo/wire/src/test/python/corpus.py",
    "session_table": "android_demo/core/src/test/python/session_table.py",
    "deltas": "android_demo/core/src/test/python/deltas.py",
}


def answer(folder: Path) -> None:
    """Write what Python says: one JSON file a script.

    Raises:
        subprocess.CalledProcessError: when a script fails; what it printed was shown.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, script in _SCRIPTS.items():
        with (folder / f"{name}.json").open("wb") as file:
            command = [sys.executable, str(ROOT / script)]
            subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=file, check=True)


def check_engine() -> int:
    """Hold the types of the engine against those that it uses of ExecuTorch. Returns: 0, or what the compiler gave."""
    (ROOT / "ios" / _CHECK).mkdir(parents=True, exist_ok=True)
    module = ["-emit-module", "-module-name", "ExecuTorch", "-emit-module-path", f"{_CHECK}/ExecuTorch.swiftmodule"]
    status = toolchain.run("swiftc", [*module, "engine/check/ExecuTorch.swift"])
    paths = ["-I", ".build/debug/Modules", "-I", _CHECK]
    sources = ["engine/Sources/Engine/ExecuTorchEngine.swift"]
    return status or toolchain.run("swiftc", ["-typecheck", "-module-name", "EdgeEngine", *paths, *sources])


def main(arguments: Sequence[str] = ()) -> int:
    """Ask, test, and check the engine.

    Args:
        arguments: of ``swift test``.

    Returns:
        The first status above 0; 0 with a line where there is no Swift.
    """
    if lacking := toolchain.missing():
        print(f"skipped: {lacking}", file=sys.stderr)
        return 0
    answer(ANSWERS)
    try:
        status = toolchain.run("swift", ["test", *arguments], {"EDGE_EXPERTS_ANSWERS": str(ANSWERS)})
        return status or check_engine()
    except ToolchainError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
