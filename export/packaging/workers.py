"""Run functions of ``export.packaging.tasks`` in processes of their own, several at a time.

The processes are forked from one that has imported the compiler and done nothing else, so a task starts at once, with
no threads, locks or memory of another. This process imports nothing heavy and stays free to show progress.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import sys
import threading
import traceback
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Final

from export.errors import ExportError

TASKS: Final = "export.packaging.tasks"
PRELOAD: Final = "export.packaging.forkserver_preload"
MOST: Final = 4
"""Tasks at a time; each takes a gigabyte."""
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Task:
    """One call, with a function that takes a progress last.

    Args:
        name: for people.
        function: of ``module``.
        arguments: plain values and dataclasses.
        module: has a function ``prepare`` that is told the threads to use.
    """

    name: str
    function: str
    arguments: tuple[Any, ...]
    module: str = TASKS


@dataclass
class _Running:
    """A task under way. Args: place: number of the task; pipe: its messages come here."""

    place: int
    process: BaseProcess
    pipe: Connection
    result: Any = field(default=None)


def run_tasks(
    tasks: Sequence[Task], progress: Progress, finished: Callable[[int, Any], None], workers: int | None = None
) -> None:
    """Run tasks, the first ones first, by default as many at a time as there are cores (at most 4).

    Args:
        tasks: independent of each other.
        progress: gets a sentence at the start of each stage of each task.
        finished: gets the number of a task and what it returned, as soon as it did.
        workers: tasks at a time.

    Raises:
        ExportError: the first that a task raised; the others are stopped.
    """
    if not tasks:
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = max(1, min(len(tasks), workers or min(MOST, cores)))
    threads = max(1, cores // count)
    waiting, running = list(enumerate(tasks)), list[_Running]()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([PRELOAD, TASKS])
    try:
        while waiting or running:
            while waiting and len(running) < count:
                running.append(_start(context, *waiting.pop(0), threads))
            ready = wait([one.pipe for one in running])
            for one in [one for one in running if one.pipe in ready]:
                if not _listen(one, tasks[one.place], progress):
                    one.process.join()
                    running.remove(one)
                    finished(one.place, one.result)
    finally:
        for one in running:
            one.process.terminate()
            one.process.join()


def _start(context: Any, place: int, task: Task, threads: int) -> _Running:  # noqa: ANN401 - of multiprocessing
    mine, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(theirs, task, threads), daemon=True)
    with _deaf_to_interrupts(), _without_main():
        process.start()
    theirs.close()
    return _Running(place, process, mine)


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Let the processes that are started here leave Ctrl-C to this one, which stops them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _without_main() -> Iterator[None]:
    """Keep the processes that are started here from running the caller's script again, which they need nothing of."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _listen(one: _Running, task: Task, progress: Progress) -> bool:
    """Take one message of a task; false when that was its result.

    Raises:
        ExportError: what it raised.
    """
    try:
        kind, content = one.pipe.recv()
    except EOFError:
        one.process.join()
        raise ExportError(
            f"{task.name}: the process ended with code {one.process.exitcode} (out of memory?); nothing was written"
        ) from None
    if kind == "stage":
        progress(content)
        return True
    if kind == "raised":
        raise content
    one.result = content
    return False


def _work(pipe: Connection, task: Task, threads: int) -> None:
    """Entry of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    module = importlib.import_module(task.module)
    module.prepare(threads)
    with suppress(BrokenPipeError):  # the other end was stopped
        try:
            result = getattr(module, task.function)(*task.arguments, lambda stage: pipe.send(("stage", stage)))
        except ExportError as error:
            pipe.send(("raised", error))
        except Exception as error:  # noqa: BLE001 - told to whoever waits
            text = "".join(traceback.format_exception(error))
            pipe.send(("raised", RuntimeError(f"{task.name} failed:\n{text}")))
        else:
            pipe.send(("result", result))
