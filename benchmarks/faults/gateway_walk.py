"""The gateway's commit points, each struck by each fault; and its files, each damaged at rest.

A commit point is a call that changes the state directory: write, fsync, rename, unlink, mkdir, truncate, a new file.
The story's process is forked, armed and struck; another takes the directory up, as often as it takes.
"""

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
from benchmarks.faults.gateway_story import BUFFERED, DIRECTED, GATED, LONG, PRIVATE, Accepted, Story, package, play
from benchmarks.faults.tally import Injection, compared

STARTS = 6


class GatewayWalk:
    """Args: folder: scratch, in memory if possible; story: what happens."""

    def __init__(self, folder: Path, story: Story = Story()) -> None:  # noqa: B008 - frozen
        self._folder, self._story = folder, story
        self._package = package(folder / "package")
        self._state = folder / "state"
        # Once here rather than in every process that is forked: imports, and what is set up at first use.
        play(folder / "first", self._package, [], lambda **_: None, story)
        whole = self._play(None, [])
        self.undisturbed = whole.told[-1]
        self.points = int(self.undisturbed["calls"])
        self._clear()

    def strike(self, faults: list[shim.Fault]) -> Injection:
        """Play the story under faults, one a start, until it is done."""
        self._clear()
        return self._to_the_end(faults, [])

    def at_rest(self, kind: str, chance: random.Random) -> Injection:
        """Stop a gateway at a random point, damage one of its files, and take the directory up."""
        self._clear()
        at = shim.fault("kill -9", chance.randrange(self.points // 3, self.points))
        accepted = _accepted(self._play(at, []))
        shutil.rmtree(self._folder / "backup", ignore_errors=True)
        shutil.copytree(self._state, self._folder / "backup")
        name = damage(self._state, kind, chance)
        result = self._to_the_end([], accepted)
        return dataclasses.replace(result, wrong=f"{name}: {result.wrong}") if result.wrong else result

    def _to_the_end(self, faults: list[shim.Fault], accepted: list[Accepted]) -> Injection:
        recover_ms, refused = None, False
        for start in range(STARTS):
            ended = self._play(faults[start] if start < len(faults) else None, accepted)
            accepted = [*accepted, *_accepted(ended)]
            if ended.code == CRASHED:
                return Injection(identical=False, wrong=ended.said("crash")[0].strip().splitlines()[-1][:200])
            if start > 0 or not faults:
                recover_ms = next(iter(ended.said("ready_ms")), recover_ms)
            if ended.code == 0:
                result = compared(self.undisturbed, ended.told[-1], accepted)
                wrong = "" if result.identical and not result.lost and not result.double else _different(ended)
                return dataclasses.replace(result, refused=refused, recover_ms=recover_ms, wrong=wrong)
            if ended.code == 1 and start >= len(faults) and not refused and (self._folder / "backup").exists():
                refused = True  # by name: the operator puts the backup in its place
                if not any("restore" in text for text in ended.said("refused")):
                    return Injection(identical=False, wrong=f"no advice: {ended.told}"[:300])
                self._clear()
                shutil.copytree(self._folder / "backup", self._state)
        return Injection(identical=False, recover_ms=recover_ms, wrong=f"not done: {ended.told[-2:]}"[:300])

    def _play(self, fault: shim.Fault | None, accepted: list[Accepted]) -> Ended:
        def work(say: Any) -> int:  # noqa: ANN401
            shim.arm(self._state, fault)
            told = lambda **fields: say(calls=shim.calls(), **fields)  # noqa: E731
            return play(self._state, self._package, accepted, told, self._story)

        return run(work)

    def _clear(self) -> None:
        shutil.rmtree(self._state, ignore_errors=True)


def _accepted(ended: Ended) -> list[Accepted]:
    return [(device, number) for device, number in ended.said("accepted")]


def _different(ended: Ended) -> str:
    notes = [note for notes in ended.said("notes") for note in notes]
    return f"other bytes; notes {notes}"[:300]


Struck = Iterator[tuple[str, str, Injection]]
"""Place, fault, what came of it."""


def gateway_walk(folder: Path, chance: random.Random, share: float) -> Struck:
    """Yield what came of faults at every commit point. Args: share: of the walk's points, 1 for all."""
    return _struck("gateway, every commit point", GatewayWalk(folder), chance, share)


def gateway_history(folder: Path, chance: random.Random, share: float) -> Struck:
    """Yield what came of faults in a longer story, from where rows of its first rounds go. Args: as gateway_walk."""
    walk = GatewayWalk(folder, LONG)
    return _struck("gateway, while rows of old rounds go", walk, chance, share, first=walk.points // 2)


def gateway_gate(folder: Path, chance: random.Random, share: float) -> Struck:
    """Yield what came of faults while versions are measured before they are served. Args: as gateway_walk."""
    return _struck("gateway, with a gate", GatewayWalk(folder, GATED), chance, share)


def gateway_directions(folder: Path, chance: random.Random, share: float) -> Struck:
    """Yield what came of faults while directions are compared, and a device is left out. Args: as gateway_walk."""
    return _struck("gateway, with a liar", GatewayWalk(folder, DIRECTED), chance, share)


def gateway_buffer(folder: Path, chance: random.Random, share: float) -> Struck:
    """Yield what came of faults while merging has a buffer. Args: as gateway_walk."""
    return _struck("gateway, with a buffer", GatewayWalk(folder, BUFFERED), chance, share)


def gateway_private(folder: Path, chance: random.Random, share: float) -> Struck:
    """Yield what came of faults while merging has noise and a budget. Args: as gateway_walk."""
    return _struck("gateway, with privacy", GatewayWalk(folder, PRIVATE), chance, share)


def _struck(place: str, walk: GatewayWalk, chance: random.Random, share: float, first: int = 0) -> Struck:
    """Yield what came of a share of all faults at the points from ``first`` on."""
    for name in shim.KINDS:
        for point in range(first, walk.points):
            if chance.random() < share:
                yield place, name, walk.strike([shim.fault(name, point)])


def gateway_pairs(folder: Path, chance: random.Random, count: int) -> Iterator[tuple[str, str, Injection]]:
    """Yield (place, fault, what came of it) of ``count`` faults that are followed by another at the next start."""
    walk = GatewayWalk(folder)
    for _ in range(count):
        names = [chance.choice(list(shim.KINDS)) for _ in range(2)]
        faults = [shim.fault(name, chance.randrange(walk.points)) for name in names]
        yield "gateway, one fault and another at the next start", "two at random", walk.strike(faults)


def gateway_at_rest(folder: Path, chance: random.Random, count: int) -> Iterator[tuple[str, str, Injection]]:
    """Yield (place, fault, what came of it) of ``count`` damaged files: as it is, with a gate, with a liar.

    Not with a buffer: a merge does not wait for who is asked again, so it has other deltas then, and other bytes.
    """
    stories = {"": Story(), ", with a gate": GATED, ", with a liar": DIRECTED}
    walks = {name: GatewayWalk(folder / str(place), story) for place, (name, story) in enumerate(stories.items())}
    for number in range(count):
        name, kind = list(stories)[number % len(stories)], chance.choice(list(DAMAGES))
        yield f"gateway, files at rest{name}", kind, walks[name].at_rest(kind, chance)
