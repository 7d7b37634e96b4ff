"""Tasks in processes of their own: results, refusals, interrupts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from export.errors import ExportError, LoweringError
from export.packaging.workers import Task, run_tasks


def _task(function: str, *arguments: Any) -> Task:
    return Task(f"the {function}", function, arguments, module="little_tasks")


def test_each_task_runs_in_a_process_of_its_own_and_tells_its_stages() -> None:
    """Three tasks, two at a time: every result once, under its number; no process does two."""
    told, results = list[str](), dict[int, Any]()
    run_tasks([_task("double", number) for number in (1, 2, 3)], told.append, results.__setitem__, workers=2)
    assert {place: result[0] for place, result in results.items()} == {0: 2, 1: 4, 2: 6}
    assert sorted(told) == ["double 1", "double 2", "double 3"]
    assert len({result[1] for result in results.values()} - {os.getpid()}) == 3
    assert all(result[2] >= 1 for result in results.values())


def test_a_refusal_arrives_as_it_was_raised() -> None:
    """The class and the words of an error of export pass between the processes."""
    with pytest.raises(LoweringError, match=r"^7 copies, expected none$"):
        run_tasks([_task("refuse")], lambda _: None, lambda *_: None)


def test_a_mistake_of_ours_comes_with_its_traceback() -> None:
    """What is no refusal is told with the task and the place."""
    with pytest.raises(RuntimeError, match=r"(?s)the stumble failed:.*in stumble.*ZeroDivisionError"):
        run_tasks([_task("stumble")], lambda _: None, lambda *_: None)


def test_a_process_that_was_killed_is_named() -> None:
    """Nobody waits for a process that the system ended."""
    with pytest.raises(ExportError, match="the vanish: the process ended with code 9"):
        run_tasks([_task("vanish")], lambda _: None, lambda *_: None)


def test_an_interrupt_stops_the_tasks_and_keeps_what_was_finished(tmp_path: Path) -> None:
    """Ctrl-C while a second task runs: the first one's result was handed over, the second process is gone."""
    file, results = tmp_path / "pid", dict[int, Any]()

    def told(stage: str) -> None:
        if stage == "linger":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_tasks([_task("double", 4), _task("linger", file)], told, results.__setitem__, workers=1)
    assert results[0][0] == 8
    with pytest.raises(ProcessLookupError):
        os.kill(int(file.read_text()), 0)
