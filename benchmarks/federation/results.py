"""Lines of runs on disk: which there are, new ones as they end, and how far it is."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.federation.experiment import Task
from benchmarks.federation.figures import run_of

if TYPE_CHECKING:
    from benchmarks.federation.workers import Said

DONE, FAILED, WRONG = 0, 1, 2
SHOWN = 150
"""Characters of progress."""


@dataclass(frozen=True)
class Results:
    """A folder of results. Args: folder: of ``NAME.jsonl``; json: print lines instead of progress."""

    folder: Path
    json: bool = False

    def left(self, name: str, tasks: Sequence[Task]) -> list[Task]:
        """Return the tasks of an experiment whose lines are not there, and say how many they are."""
        there = set(_there(self.folder / f"{name}.jsonl"))
        left = [task for task in tasks if (str(task.cell), task.arm.name, task.seed) not in there]
        self._say(f"{name}: {len(tasks)} runs, {len(tasks) - len(left)} there, {len(left)} to make")
        return left

    def told(self, said: Iterable[Said], count: int) -> int:
        """Write lines as runs end and say how far it is; return the exit code. Args: count: of runs to be made."""
        complete = failed = 0
        began, rounds = time.monotonic(), dict[str, int]()
        for one in said:
            if one.what == "round":
                rounds[one.key] = one.number
                self._progress(rounds)
                continue
            rounds.pop(one.key, None)
            if one.what == "done":
                complete += 1
                self._keep(one.text)
            failed += one.what == "failed"
            told = f"{100 * one.right:.1f} %" if one.what == "done" else one.what
            self._say(f"{complete}/{count} {time.monotonic() - began:5.0f} s  {one.key}  {told}")
            if one.what == "failed":
                sys.stderr.write(one.text)
        self._say(f"{complete} of {count} runs made, {failed} failed; {self.folder}")
        return DONE if complete == count else FAILED

    def _keep(self, line: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{run_of(line).experiment}.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        if self.json:
            sys.stdout.write(line + "\n")

    def _say(self, text: str) -> None:
        if not self.json:
            sys.stdout.write(("\r\033[K" if sys.stdout.isatty() else "") + text + "\n")
            sys.stdout.flush()

    def _progress(self, rounds: dict[str, int]) -> None:
        if not self.json and sys.stdout.isatty():
            under_way = ", ".join(f"{key} round {number}" for key, number in rounds.items())
            sys.stdout.write(f"\r\033[K{under_way[:SHOWN]}")


def _there(lines: Path) -> Iterator[tuple[str, str, int]]:
    """Yield the runs that a file of results has; a line that was cut off is none."""
    if not lines.is_file():
        return
    for line in lines.read_text(encoding="utf-8").splitlines():
        try:
            run = run_of(line)
        except ValueError:
            continue
        yield str(run.cell), run.arm, run.seed
