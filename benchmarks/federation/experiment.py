"""An experiment as its TOML says it: where, which arms, which seeds, and what a run is like.

Tables: `[run]` (Settings), `[fleet]` (words of `fleet.fleet`, and `attack`), `[[cells]]`, `[[arms]]`, and `[personal]`
(Tuning) where clients' own models are made after the last round. An arm may change any setting of `[run]` for itself;
what is neither a setting nor `name` or `arm` is an option of the arm.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

from benchmarks.federation.arms import ARMS
from benchmarks.federation.figures import Cell

TABLES: Final = {"name", "protocol", "seeds", "run", "fleet", "cells", "arms", "personal"}
CIRCUMSTANCES: Final = ("share", "drop", "straggle", "slow", "deadline_s")
"""Of a fleet, with words in a cell's name when they are told."""


class ExperimentError(ValueError):
    """An experiment's file that says something else than is expected."""


@dataclass(frozen=True)
class Settings:
    """What a run is like.

    Args:
        rounds: of the run.
        batch: texts of a step.
        steps: at most, at full depth.
        most_steps: at most, for who has time.
        enough_steps: as many have to fit before a device goes deeper.
        slowest_steps: time of a round, as steps through all layers on the slowest device; 0: no limit.
        rate: learning rate of the first round.
        final_share: of it in the last.
        codec: "int8" or "float32", both ways.
        most_epochs: passes over its own texts that a device makes in a round at most; 0: any number.
        version_gate: a version that is worse on validation texts than the best of the last ones by more than this is
            not served, as by the gateway's gate; below 0: every version is.
        evaluate_every: rounds between two evaluations; the curve says the last one's accuracy in between.
        depths: that the packages have tiers for, layers from the top; the largest is all.
    """

    rounds: int = 40
    batch: int = 16
    steps: int = 30
    most_steps: int = 90
    enough_steps: int = 20
    slowest_steps: float = 10.0
    rate: float = 4e-3
    final_share: float = 0.1
    codec: str = "int8"
    most_epochs: float = 0.0
    version_gate: float = -1.0
    evaluate_every: int = 1
    depths: tuple[int, ...] = (6, 2)


@dataclass(frozen=True)
class Attack:
    """What liars send.

    Args:
        share: of the clients.
        factor: that their deltas are multiplied with; -1 flips signs.
        start: the round from which on they lie; honest before.
    """

    share: float = 0.0
    factor: float = -1.0
    start: int = 1


@dataclass(frozen=True)
class Tuning:
    """How clients make the last merged model their own. Args: steps: of each; rates: validation chooses one."""

    steps: int = 60
    rates: tuple[float, ...] = (3e-4, 1e-3, 3e-3)


@dataclass(frozen=True)
class ArmPlan:
    """An arm of an experiment. Args: name: in results; arm: in ARMS; settings: of its runs; options: its own."""

    name: str
    arm: str
    settings: Settings
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """One run to be made. Args: as Experiment."""

    experiment: str
    cell: Cell
    arm: ArmPlan
    seed: int
    fleet: Mapping[str, Any]
    attack: Attack
    personal: Tuning | None = None

    @property
    def key(self) -> str:
        """Name of its state's file, and of the run among others of the experiment."""
        cell = self.cell
        words = (cell.texts, cell.split, str(cell.clients), cell.fleet, self.arm.name, f"s{self.seed}")
        return "-".join(word.replace(":", "").replace(" ", "_").replace("/", "_") for word in words if word)


@dataclass(frozen=True)
class Experiment:
    """All of a file.

    Args:
        name: of it.
        protocol: "quality", "cost" or "robustness".
        seeds: of the runs.
        cells: where.
        arms: what is compared.
        fleet: words of ``fleet.fleet``.
        attack: by some clients.
        personal: how clients' own models are made after the last round; None: there are none.
    """

    name: str
    protocol: str
    seeds: tuple[int, ...]
    cells: tuple[Cell, ...]
    arms: tuple[ArmPlan, ...]
    fleet: Mapping[str, Any] = field(default_factory=dict)
    attack: Attack = field(default_factory=Attack)
    personal: Tuning | None = None

    def tasks(self, only: Sequence[str] = (), seeds: Sequence[int] = ()) -> Iterator[Task]:
        """Yield the runs, seed by seed, so that what is there early is whole. Args: only: arms' names; none: all."""
        for seed in seeds or self.seeds:
            for cell in self.cells:
                for arm in self.arms:
                    if not only or arm.name in only:
                        yield Task(self.name, cell, arm, seed, self.fleet, self.attack, self.personal)


def read(file: Path) -> Experiment:
    """Read an experiment.

    Raises:
        ExperimentError: saying what is wrong and what was expected.
    """
    try:
        tree = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ExperimentError(f"{file}: {error}") from error
    _known(tree, TABLES, str(file))
    fleet = dict(tree.get("fleet", {}))
    attack = _made(Attack, fleet.pop("attack", {}), "[fleet] attack")
    settings = _made(Settings, tree.get("run", {}), "[run]")
    told = [f"{name} {fleet[name]}" for name in CIRCUMSTANCES if name in fleet]
    budgets = fleet.get("budgets", {})
    told += [f"{' / '.join(f'{size / 1e6:g}' for size in budgets.values())} MB up"] if budgets else []
    words = ", ".join(told)
    if attack.share:
        since = f" from round {attack.start}" if attack.start > 1 else ""
        words = ", ".join(filter(None, (words, f"{attack.share} lie by {attack.factor:g}{since}")))
    cells = [_made(Cell, {"fleet": words, **cell}, "[[cells]]") for cell in tree.get("cells", [])]
    arms = [_arm(arm, settings) for arm in tree.get("arms", [])]
    names = [arm.name for arm in arms]
    if not cells or not arms or len(set(names)) < len(names):
        raise ExperimentError(f"{file}: {len(cells)} cells, arms {names}; expected some of each, and no name twice")
    return Experiment(
        str(tree.get("name", file.stem)),
        str(tree.get("protocol", "quality")),
        tuple(tree.get("seeds", (1, 2, 3))),
        tuple(cells),
        tuple(arms),
        fleet,
        attack,
        _tuning(tree["personal"]) if "personal" in tree else None,
    )


def _tuning(table: Mapping[str, Any]) -> Tuning:
    tuning: Tuning = _made(Tuning, table, "[personal]")
    return replace(tuning, rates=tuple(tuning.rates))


def _arm(table: Mapping[str, Any], settings: Settings) -> ArmPlan:
    own = {one.name for one in fields(Settings)} & set(table)
    arm = str(table.get("arm", table.get("name", "")))
    if arm not in ARMS:
        raise ExperimentError(f"[[arms]] {dict(table)}: no arm {arm!r}; known: {', '.join(sorted(ARMS))}")
    options = {name: value for name, value in table.items() if name not in own | {"name", "arm"}}
    changed = replace(settings, **{name: _frozen(table[name]) for name in own})
    return ArmPlan(str(table.get("name", arm)), arm, changed, options)


def _made(kind: type[Any], table: Mapping[str, Any], where: str) -> Any:  # noqa: ANN401 - one of the classes above
    _known(table, {one.name for one in fields(kind)}, where)
    try:
        return kind(**{name: _frozen(value) for name, value in table.items()})
    except TypeError as error:
        raise ExperimentError(f"{where}: {error}") from error


def _frozen(value: Any) -> Any:  # noqa: ANN401 - a TOML value
    return tuple(value) if isinstance(value, list) else value


def _known(table: Mapping[str, Any], names: set[str], where: str) -> None:
    unknown = sorted(set(table) - names)
    if unknown:
        raise ExperimentError(f"{where}: unknown {', '.join(unknown)}; known: {', '.join(sorted(names))}")


def settings_of(task: Task) -> dict[str, Any]:
    """Return what a run's line says of its settings."""
    return {**dataclasses.asdict(task.arm.settings), "fleet": dict(task.fleet)}
