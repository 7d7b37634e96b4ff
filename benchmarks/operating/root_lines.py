"""Lines that need root and systemd, checked without either: in a root directory of their own, or by their parser.

What systemd's own tools can do in a directory is done there: files are installed, user and folders are made, the
unit is verified. Of the rest, commands of ours are parsed, and files of ours have to be there.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Final

from broker_server.cli import build_parser
from edge_runtime.wire.errors import FederationError

ROOT: Final = Path(__file__).parents[2]
_PROGRAM: Final = "/opt/edge-experts/bin/broker_server"


class LineError(FederationError):
    """A line that could not be run as it stands."""


def check(command: str, root: Path) -> str:
    """Check a line; return how. Args: root: a directory that stands for /.

    Raises:
        LineError: when it is wrong.
    """
    words = shlex.split(command, comments=True)
    _parse(words)
    missing = [word for word in words if word.startswith("packaging/") and not (ROOT / word).is_file()]
    if missing:
        raise LineError(f"there is no {', '.join(missing)}")
    if words[0] == "install":
        return _run([*words[:-1], f"{root}{words[-1]}"], "in a root directory")
    if words[0] in ("systemd-sysusers", "systemd-tmpfiles") and os.geteuid() == 0 and shutil.which(words[0]):
        (root / "etc").mkdir(parents=True, exist_ok=True)
        return _run([words[0], f"--root={root}", *words[1:]], "in a root directory")
    if words[:2] == ["systemctl", "enable"] and shutil.which("systemd-analyze"):
        return _verify(root, words[-1])
    if words[:2] == ["systemd-analyze", "security"] and shutil.which("systemd-analyze"):
        return _run([*words[:2], "--offline=true", "--no-pager", str(_unit(root, words[-1]))], "offline")
    return "needs root"


def _parse(words: list[str]) -> None:
    """Have our own parser read a command of ours."""
    ours = [place for place, word in enumerate(words) if Path(word).name == "broker_server"]
    if ours:
        try:
            build_parser().parse_args(words[ours[0] + 1 :])
        except SystemExit as error:
            raise LineError(f"{shlex.join(words)!r} is not understood") from error


def _unit(root: Path, name: str) -> Path:
    return root / f"usr/lib/systemd/system/{name}.service"


def _verify(root: Path, name: str) -> str:
    """Have systemd read the unit that was installed, with a program that is there in the place of its own."""
    text, program = _unit(root, name).read_text(encoding="utf-8"), root / "program"
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)
    unit = root / f"{name}.service"
    unit.write_text(re.sub(re.escape(_PROGRAM), str(program), text), encoding="utf-8")
    return _run(["systemd-analyze", "verify", str(unit)], "verified, not started")


def _run(words: list[str], how: str) -> str:
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LineError(f"{shlex.join(words)} ended with {done.returncode}: {done.stderr[-500:]}")
    return how
