"""The device's commit points, each struck by each fault; and its files, each damaged at rest."""

from __future__ import annotations

import dataclasses
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.faults import shim
from benchmarks.faults.children import CRASHED, Ended, run
from benchmarks.faults.damage import DAMAGES, damage
from benchmarks.faults.device_story import ROUNDS, Heard, play, prepare
from benchmarks.faults.tally import Injection

STARTS = 6


class DeviceWalk:
    """Args: folder: scratch, in memory if possible."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._device = folder, folder / "device"
        self._package = prepare(folder)
        # Once here rather than in every process that is forked: imports, and what is set up at first use.
        play(folder / "first", folder / "data.csv", self._package, Heard(), lambda **_: None)
        whole = self._play(None, Heard())
        self._undisturbed = whole.told[-1]["deltas"]
        self.points = int(whole.told[-1]["calls"])

    def strike(self, faults: list[shim.Fault]) -> Injection:
        """Play the story under faults, one a start, until it is done."""
        self._clear()
        return self._to_the_end(faults, Heard())

    def at_rest(self, kind: str, chance: random.Random) -> Injection:
        """Kill a device at a random point, damage one of its files, and start it again."""
        self._clear()
        ended = self._play(shim.fault("kill -9", chance.randrange(self.points // 5, self.points)), Heard())
        name = damage(self._device / "state", kind, chance)
        result = self._to_the_end([], _heard(Heard(), ended))
        return dataclasses.replace(result, wrong=f"{name}: {result.wrong}") if result.wrong else result

    def _to_the_end(self, faults: list[shim.Fault], heard: Heard) -> Injection:
        recover_ms = None
        for start in range(STARTS):
            ended = self._play(faults[start] if start < len(faults) else None, heard)
            heard = _heard(heard, ended)
            if ended.code == CRASHED:
                return Injection(identical=False, wrong=ended.said("crash")[0].strip().splitlines()[-1][:200])
            if start > 0 or not faults:
                recover_ms = next(iter(ended.said("ready_ms")), recover_ms)
            if ended.code == 0:
                deltas = ended.told[-1]["deltas"]
                lost = ROUNDS - len(deltas)
                same = deltas == self._undisturbed
                return Injection(lost, 0, same, recover_ms=recover_ms, wrong="a round without a delta" if lost else "")
        return Injection(identical=False, recover_ms=recover_ms, wrong=f"not done: {ended.told[-2:]}"[:300])

    def _play(self, fault: shim.Fault | None, heard: Heard) -> Ended:
        def work(say: Any) -> int:  # noqa: ANN401
            shim.arm(self._device / "state", fault)
            told = lambda **fields: say(calls=shim.calls(), **fields)  # noqa: E731
            return play(self._device, self._folder / "data.csv", self._package, heard, told)

        return run(work)

    def _clear(self) -> None:
        shutil.rmtree(self._device, ignore_errors=True)


def _heard(before: Heard, ended: Ended) -> Heard:
    """Return what the gateway has after a process of the device ended."""
    accepted = dict(before.accepted) | dict(ended.said("accepted"))
    return Heard(accepted, max([before.opened, *ended.said("opened")]))


def device_walk(folder: Path, chance: random.Random, share: float) -> Iterator[tuple[str, str, Injection]]:
    """Yield (place, fault, what came of it). Args: share: of the walk's points, 1 for all."""
    walk = DeviceWalk(folder)
    for name in shim.KINDS:
        for point in range(walk.points):
            if chance.random() < share:
                yield "device, every commit point", name, walk.strike([shim.fault(name, point)])


def device_at_rest(folder: Path, chance: random.Random, count: int) -> Iterator[tuple[str, str, Injection]]:
    """Yield (place, fault, what came of it) of ``count`` damaged files."""
    walk = DeviceWalk(folder)
    for _ in range(count):
        kind = chance.choice(list(DAMAGES))
        yield "device, files at rest", kind, walk.at_rest(kind, chance)
