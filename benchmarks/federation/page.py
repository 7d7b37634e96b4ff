"""From kept runs to Markdown: the section of docs/results.md, and the tables inside docs/choosing.md."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from benchmarks import record
from benchmarks.federation import metrics, tables, verdicts
from benchmarks.federation.figures import Run, run_of
from benchmarks.federation.metrics import DENSE, OURS
from benchmarks.federation.verdicts import Verdict

NAME: Final = "federation"
"""Of the file in benchmarks/results."""
KEYS: Final = ("date", "command", "machine", "commit")
"""What a record adds to a run."""
ABOUT: Final = {
    "explore": "**Exploration**: plans by depth, and how unequal steps are merged. Others' choices were made here.",
    "explore2": "**Exploration**: training under the label prior, momentum, rates, very short rounds.",
    "explore3": "**Exploration**: widths, experts or one adapter, lengths of a round.",
    "explore4": "**Exploration**: one adapter or a bank without a shared expert, server rates, heads, short rounds.",
    "explore5": "**Exploration**: passes over few own texts.",
    "explore8": "**Exploration**: rates, their end, sizes of a batch; 25 rounds of those that keep to the time.",
    "explore14": "**Exploration**: a quarter of the bytes.",
    "epochs": "**Exploration**: passes over own texts in a round, where clients are persons with few texts each.",
    "grid": "**Quality under a budget of time**: every device trains as long as all others in a round. Fresh seeds.",
    "tight": "The same at a quarter of the bytes, where the smallest device can send an adapter 24 wide.",
    "hundred": "The same with 100 clients, a tenth of them in a round; some leave, some are slow.",
    "wide": "Further sets and splits, fewer arms and seeds; the bounds beside them.",
    "parts": "Ours minus each of its parts.",
    "bytes": "**Cost to a target, equal bytes**: every arm all layers and as many steps, bytes alone are short.",
    "robust": "**Robustness**: a fifth of the clients lies.",
    "robust_scaled": "**Robustness**: a fifth of the clients sends deltas 100 times as large; explored, 20 rounds.",
    "personal": "**Personal**: ways to make the last merged model a client's own.",
    "grid20": "The grid's first form: 20 rounds for all, eight narrow experts beside a wide shared one.",
    "robust20": "Likewise: before directions were compared.",
}
"""By experiment, in the order of the page; others follow."""
INTRODUCTION: Final = """
## Federations of unequal devices

Simulated (`python -m benchmarks.federation`): MiniLM-L6 in bf16 on a GPU, the product's own planner, merging, schedule
and codecs, int8 both ways with error feedback for every arm. Devices are as strong as the shipped profiles; what a step
takes at each depth is in `benchmarks/federation/devices.json`, from export's cost model held against what was measured.
Bandwidths are assumed. Arms of a seed have the same split, devices, luck and order of texts, so differences are taken
seed by seed. Accuracies are on test texts after the last round, the best of any round in brackets; choices were made on
validation texts. **Ours** is `ours`; `adapter_dense` trains as if every device were strong and lets the round wait.
"""
_BLOCK: Final = re.compile(
    r"(<!-- federation (\w+) (\w+): written by make results -->\n).*?(<!-- /federation -->)", re.DOTALL
)
NOT_KEPT: Final = "No run of this experiment is kept yet."


def keep(run: Run, command: str) -> None:
    """Add a run to the kept results."""
    figures = {key: value for key, value in json.loads(run.line()).items() if key != "where"}
    record.append(NAME, command, figures | dict(run.where), None if not run.where else dict(run.where))


def kept(lines: Sequence[dict[str, Any]]) -> list[Run]:
    """Return the runs of kept lines, the newest of each arm, cell and seed."""
    runs = []
    for line in lines:
        figures = {key: value for key, value in line.items() if key not in KEYS}
        runs.append(run_of(json.dumps(figures | {"where": {key: line[key] for key in KEYS}})))
    return metrics.newest(runs)


def section(lines: Sequence[dict[str, Any]]) -> str:
    """Return the section of docs/results.md."""
    runs = kept(lines)
    names = list(dict.fromkeys([*ABOUT, *(run.experiment for run in runs)]))
    held = {name: [run for run in runs if run.experiment == name] for name in names}
    return INTRODUCTION + "".join(experiment(name, own) for name, own in held.items() if own)


def experiment(name: str, runs: Sequence[Run]) -> str:
    """Return the part of one experiment: claims, tables, where it ran."""
    claims = claimed(name, runs)
    about = f"{ABOUT[name]}\n" if name in ABOUT else ""
    parts = [f"\n### {name}\n", about, verdicts.shown(claims) if claims else "", tables.page(runs)]
    return "\n".join(part for part in parts if part) + "\n" + _sources(runs)


def claimed(name: str, runs: Sequence[Run]) -> list[Verdict]:
    """Return the verdicts on what an experiment was to show; none where it has not the arms for it."""
    arms = metrics.arms(runs)
    both = OURS in arms and DENSE in arms
    if name in ("grid", "tight", "hundred") and both and metrics.rivals(runs, respectful=True):
        return verdicts.of_time(runs)
    if name == "bytes" and both:
        return verdicts.of_bytes(runs)
    if name.startswith("robust") and OURS in arms:
        return verdicts.of_attacks(runs)
    return []


def _sources(runs: Sequence[Run]) -> str:
    seen = dict.fromkeys(tuple(run.where.get(key, "?") for key in KEYS) for run in runs)
    minutes = sum(run.seconds for run in runs) / 60
    lines = [f"- `{command}`, {date}, {machine}, commit {commit}\n" for date, command, machine, commit in seen]
    return f"{len(runs)} runs, {minutes:,.0f} minutes of computing.\n\n" + "".join(lines)


TABLES: Final[dict[str, Callable[[str, Sequence[Run]], str]]] = {
    "claims": lambda name, runs: verdicts.shown(claimed(name, runs)),
    "quality": lambda _, runs: tables.quality(runs),
    "differences": lambda _, runs: tables.differences(runs),
    "costs": lambda _, runs: tables.costs(metrics.everywhere(runs)),
    "clients": lambda _, runs: tables.clients(runs),
    "personal": lambda _, runs: tables.personal(runs),
}
"""What docs/choosing.md may ask for: ``<!-- federation EXPERIMENT TABLE: written by make results -->``."""


def filled(text: str, lines: Sequence[dict[str, Any]]) -> str:
    """Return a document with the tables between its markers.

    Raises:
        ValueError: for a marker that asks for an unknown table.
    """
    runs = kept(lines)

    def block(match: re.Match[str]) -> str:
        begin, name, kind, end = match.groups()
        if kind not in TABLES:
            raise ValueError(f"no table {kind!r} of experiment {name!r}; known: {', '.join(TABLES)}")
        own = [run for run in runs if run.experiment == name]
        return f"{begin}\n{TABLES[kind](name, own) if own else NOT_KEPT + chr(10)}\n{end}"

    return _BLOCK.sub(block, text)
