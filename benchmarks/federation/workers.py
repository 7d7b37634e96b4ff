"""Runs on several processes: each takes the next task, on its device, and says what came of it.

Several processes share a GPU: what one does on the CPU (codec, merging) passes while another computes. Ctrl-C lets
each process finish its round and keep its state; the same command goes on from there.
"""

from __future__ import annotations

import math
import os
import queue
import signal
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from benchmarks.federation.backbone import compile_layers
from benchmarks.federation.experiment import Task
from benchmarks.federation.place import Workplace, ground_of
from benchmarks.federation.run import Simulation

WAIT_S: Final = 0.5


@dataclass(frozen=True)
class Machine:
    """What processes compute on.

    Args:
        data: file of texts and backbone.
        devices: of torch; processes take turns.
        kind: "bfloat16" or "float32".
        out: folder of states.
        threads: of each process.
        compiled: whether layers go through torch.compile.
    """

    data: Path
    devices: tuple[str, ...]
    kind: str
    out: Path
    threads: int
    compiled: bool = False

    def workplace(self, number: int) -> Workplace:
        """Return what process ``number`` keeps."""
        torch.set_num_threads(self.threads)
        torch.set_grad_enabled(False)
        if self.compiled:
            compile_layers()
        device = torch.device(self.devices[number % len(self.devices)])
        if device.type == "cuda":
            torch.cuda.set_device(device)
            torch.backends.cuda.enable_cudnn_sdp(False)  # noqa: FBT003 - it plans anew for every size of a batch
            torch.set_float32_matmul_precision("high")
        return Workplace(self.data, device, getattr(torch, self.kind))


@dataclass(frozen=True)
class Limits:
    """Monotonic seconds. Args: begin: no run begins later; stop: runs under way are kept for later."""

    begin: float = math.inf
    stop: float = math.inf


@dataclass(frozen=True)
class Said:
    """What a process says. Args: what: "round", "done", "stopped", "failed" or "ended"; text: a line, or an error."""

    what: str
    key: str = ""
    number: int = 0
    right: float = 0.0
    text: str = ""


def make(workplace: Workplace, task: Task, out: Path, stopped: Any, say: Any) -> None:  # noqa: ANN401 - callables
    """Make one run and say what came of it."""
    try:
        simulation = Simulation(task, ground_of(task, workplace.load(task.cell.texts)), out)
        complete = simulation.run(stopped, lambda number, right: say(Said("round", task.key, number, right)))
        if not complete:
            say(Said("stopped", task.key))
            return
        run = simulation.result()
        say(Said("done", task.key, simulation.at.number, run.curve.test[-1], run.line()))
        simulation.forget()
    except Exception:  # noqa: BLE001 - one run's failure must not end the others
        say(Said("failed", task.key, text=traceback.format_exc()))


def here(machine: Machine, tasks: Sequence[Task], limits: Limits) -> Iterator[Said]:
    """Make runs in this process, one after the other."""
    workplace, stop = machine.workplace(0), _Flag()
    before = signal.signal(signal.SIGINT, lambda *_: stop.set())
    try:
        for task in tasks:
            if stop.is_set() or time.monotonic() > limits.begin:
                return
            said: list[Said] = []
            make(workplace, task, machine.out, lambda: stop.is_set() or time.monotonic() > limits.stop, said.append)
            yield from said
    finally:
        signal.signal(signal.SIGINT, before)


def apart(machine: Machine, tasks: Sequence[Task], limits: Limits, workers: int) -> Iterator[Said]:
    """Make runs in processes of their own. Args: as ``here``; workers: how many processes."""
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")  # batches are of many sizes
    context = torch.multiprocessing.get_context("spawn")
    todo, said, stop = context.Queue(), context.Queue(), context.Event()
    for task in (*tasks, *[None] * workers):
        todo.put(task)
    shared = _Shared(todo, said, stop, limits)
    processes = [context.Process(target=_work, args=(machine, number, shared)) for number in range(workers)]
    before = signal.signal(signal.SIGINT, lambda *_: stop.set())
    for process in processes:
        process.start()
    try:
        yield from _heard(said, processes)
    finally:
        stop.set()
        signal.signal(signal.SIGINT, before)
        for process in processes:
            process.join()


def _heard(said: Any, processes: Sequence[Any]) -> Iterator[Said]:  # noqa: ANN401 - of multiprocessing
    """Yield what processes say until all have ended, or died."""
    ended = 0
    while ended < len(processes):
        try:
            one = said.get(timeout=WAIT_S)
        except queue.Empty:
            if not any(process.is_alive() for process in processes) and said.empty():
                return
            continue
        if one.what == "ended":
            ended += 1
        else:
            yield one


@dataclass(frozen=True)
class _Shared:
    """Between processes of a machine, whose clock is one.

    Args:
        todo: queue of tasks, None for each process at its end.
        said: queue of Said.
        stop: event.
        limits: of time.
    """

    todo: Any
    said: Any
    stop: Any
    limits: Limits

    def stopped(self) -> bool:
        """Return whether runs shall stop where they are."""
        return bool(self.stop.is_set()) or time.monotonic() > self.limits.stop


def _work(machine: Machine, number: int, shared: _Shared) -> None:
    """Take tasks until there are none, or time is over."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says when to stop
    workplace = machine.workplace(number)
    while not shared.stopped() and time.monotonic() < shared.limits.begin:
        task = shared.todo.get()
        if task is None:
            break
        make(workplace, task, machine.out, shared.stopped, shared.said.put)
    shared.said.put(Said("ended"))


class _Flag:
    """What `Event` is for one process."""

    def __init__(self) -> None:
        self._on = False

    def set(self) -> None:
        """Turn it on."""
        self._on = True

    def is_set(self) -> bool:
        """Return whether it is on."""
        return self._on
