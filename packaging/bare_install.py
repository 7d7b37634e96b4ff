"""Install a wheel for boards where there is nothing else, and say what that costs.

    python packaging/bare_install.py dist/edge_experts-0.1.0-cp311-abi3-manylinux_2_34_x86_64.whl

A fresh virtual environment, a PATH that has its programs only (no compiler, no cmake), a home folder and a cache of its
own; dependencies come from the package index, and `pip check` must be content. Nothing is compiled to bytecode, which
Python writes for the modules that are used.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

INDEX_SETTINGS: Final = re.compile(r"pip_.*|.*_proxy|ssl_cert_file|requests_ca_bundle", re.IGNORECASE)
"""Variables that say where the package index is and how it is reached; a board sees no other of this machine's."""
_SECONDS: Final = 900


class BoardError(RuntimeError):
    """A command on the board failed; the text has what it said last."""


@dataclass(frozen=True)
class Cost:
    """What an installation took.

    Args:
        nbytes: of the files that it added.
        empty_nbytes: of the environment before, of which pip is nearly all.
        seconds: of pip.
    """

    nbytes: int
    empty_nbytes: int
    seconds: float


class Board:
    """A bare Python that a wheel can be installed in.

    Args:
        python: command line of the Python of a virtual environment.
        venv: that environment; a home folder is made beside it.
        compiler: this machine's programs are on its PATH, behind its own.
    """

    def __init__(self, python: Sequence[str], venv: Path, *, compiler: bool = False) -> None:
        self.python: Final = tuple(python)
        self.venv: Final = venv
        self.home: Final = venv.with_name(f"{venv.name}-home")
        self.home.mkdir()
        kept = {name: value for name, value in os.environ.items() if INDEX_SETTINGS.fullmatch(name)}
        path = [str(venv / "bin"), *([os.environ.get("PATH", os.defpath)] if compiler else [])]
        own = {"PATH": os.pathsep.join(path), "HOME": str(self.home), "EDGE_RUNTIME_CACHE": str(self.home / "cache")}
        self.environment: Final = {**kept, **own}

    @classmethod
    def here(cls, venv: Path, *, compiler: bool = False) -> Board:
        """Return one of this machine, with a fresh virtual environment in ``venv``."""
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        return cls([str(venv / "bin/python")], venv, compiler=compiler)

    def run(self, *arguments: object, text: str = "") -> str:
        """Run Python to its end, with ``text`` on its standard input, and return what it printed.

        Raises:
            BoardError: when it failed.
        """
        done = subprocess.run(
            [*self.python, *map(str, arguments)],
            env=self.environment,
            cwd=self.home,
            input=text,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            raise BoardError(f"{' '.join(map(str, arguments[:3]))} failed: {(done.stderr or done.stdout)[-2000:]}")
        return done.stdout

    def install(self, *words: str) -> Cost:
        """Install by pip, hold the environment against `pip check`, and return what it cost.

        Args:
            words: of pip's command line, such as "FILE.whl[edge]".

        Raises:
            BoardError: when pip cannot install it, or something that it needs is missing afterwards.
        """
        before, began = self.nbytes(), time.monotonic()
        self.run("-m", "pip", "install", "--disable-pip-version-check", *words)
        seconds = time.monotonic() - began
        self.run("-m", "pip", "check")
        return Cost(self.nbytes() - before, before, seconds)

    def nbytes(self) -> int:
        """Return the bytes of the environment."""
        return _nbytes(self.venv)

    def cache_nbytes(self) -> int:
        """Return the bytes of what its device built and fetched."""
        return _nbytes(self.home / "cache")


def _nbytes(folder: Path) -> int:
    """Return the sizes of all files of a folder, added up; a link counts nothing."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(path.stat().st_size for path in files)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns: 0 done, 1 it cannot be installed, 2 (by argparse) bad usage."""
    parser = argparse.ArgumentParser(
        prog="python packaging/bare_install.py",
        description="Install a wheel for boards in a bare environment and say what that costs.",
    )
    parser.add_argument("wheel", type=Path, help="made by packaging/board_wheel.py for this machine")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bare-install-") as work:
        try:
            cost = Board.here(Path(work) / "venv").install("--no-compile", f"{options.wheel.resolve()}[edge]")
        except BoardError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    total = (cost.nbytes + cost.empty_nbytes) / 1e6
    print(
        f"{options.wheel.name}: {cost.nbytes / 1e6:.1f} MB installed in {cost.seconds:.1f} s"
        f" ({total:.1f} MB with the empty environment), pip check is content"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
