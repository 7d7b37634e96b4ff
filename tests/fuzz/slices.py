"""A target's turn: a process of its own for some seconds, its inputs kept where the next turn finds them."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from tests.fuzz import corpus
from tests.fuzz.target import Target

_ROOT: Final = Path(__file__).parents[2]
_EXECUTED: Final = re.compile(r"^stat::number_of_executed_units:\s*(\d+)", re.MULTILINE)
_ARTIFACT: Final = re.compile(r"Test unit written to (\S+)")
_SLOWEST_S: Final = 10
_RSS_MIB: Final = 1024


@dataclass(frozen=True)
class Slice:
    """What a turn was worth.

    Args:
        target: its name.
        inputs: that were decoded, as libFuzzer counted them.
        seconds: that the process took.
        corpus: inputs that are kept.
        finding: file of the input that ended it, or "".
    """

    target: str
    inputs: int
    seconds: float
    corpus: int
    finding: str = ""

    def tree(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


@dataclass(frozen=True)
class State:
    """Where inputs and findings are kept from run to run."""

    folder: Path

    def corpus(self, name: str) -> Path:
        """Return the folder of a target's inputs; made when it is not there."""
        path = self.folder / "corpus" / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    @property
    def findings(self) -> Path:
        """Return the folder of findings; made when it is not there."""
        path = self.folder / "findings"
        path.mkdir(parents=True, exist_ok=True)
        return path

    def inputs(self, name: str) -> Iterator[bytes]:
        """Yield a target's inputs."""
        return (path.read_bytes() for path in sorted(self.corpus(name).iterdir()))


def run(target: Target, state: State, seconds: float) -> Slice:
    """Fuzz a target for so many seconds, and a little: it starts with all that is known."""
    folder, began = state.corpus(target.name), time.monotonic()
    if not any(folder.iterdir()):
        _sow(target, folder)
    options = [
        *(f"-max_total_time={max(int(seconds), 1)}", "-print_final_stats=1", f"-timeout={_SLOWEST_S}"),
        *(f"-rss_limit_mb={_RSS_MIB}", f"-artifact_prefix={state.findings}/{target.name}-", str(folder)),
    ]
    command = [sys.executable, "-m", "tests.fuzz.engine", target.name, *options]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, errors="replace", check=False)
    count, finding = told(done.stdout + done.stderr)
    if done.returncode:
        finding = finding or str(state.findings / f"{target.name}-ended")
        Path(f"{finding}.txt").write_text(done.stdout + done.stderr[-20_000:])
    return Slice(target.name, count, round(time.monotonic() - began, 1), sum(1 for _ in folder.iterdir()), finding)


def told(text: str) -> tuple[int, str]:
    """Return how many inputs libFuzzer says it ran, and the file of the one that ended it, or ""."""
    executed, artifact = _EXECUTED.search(text), _ARTIFACT.search(text)
    return int(executed[1]) if executed else 0, artifact[1] if artifact else ""


def _sow(target: Target, folder: Path) -> None:
    for data in (*target.seeds(), *(one.data for one in corpus.read(target.name))):
        (folder / corpus.Input(data).name).write_bytes(data)
