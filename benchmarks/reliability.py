"""docs/reliability.md: from the newest records of faults, attacks and fuzzing to Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from benchmarks import record
from benchmarks.markdown import source, table

HEADER: Final = """# Reliability

Written by `make results` from `benchmarks/results/*.jsonl`; do not edit. Each figure was printed by the command
beside it. What each part trusts, and what a stolen one can do, is in [security.md](security.md).
"""
KEPT: Final = (
    ("`HEAD`", "the newest version that may have been announced", "written again, as the others say"),
    (
        "`ledger.sqlite3`, its `-wal`",
        "devices, plans, deltas, verdicts, versions",
        "put back from `versions/`, `ROUND`, `spool/`; a damaged page stops a start: `restore` or `run --accept-loss`",
    ),
    ("`versions/N`", "what version N puts into the ledger", "written again"),
    ("`versions/N.bank`", "a copy of the newest bank", "written again with the next version"),
    (
        "`blobs/`",
        "blocks by digest",
        "from the package, the copy, memory, or the parent and the deltas of the newest merge",
    ),
    (
        "`spool/`",
        "accepted deltas: those that wait, and those of the newest merge; what was accepted together is one file",
        "it costs the deltas that it struck: their devices are asked for them again, or train again",
    ),
    ("`pieces/`", "pieces of bodies that are on their way, never flushed", "its devices send them again"),
    ("`ROUND`", "the open round's plans", "written again with the next round"),
)
STATE: Final = """
`broker_server verify` says what is damaged in a state directory or a copy, also while its gateway runs, and makes the
newest merge again from its deltas. `broker_server backup DEST` copies a running gateway's state;
`broker_server restore SRC` checks a copy before it changes anything, and gives an older bank a number that was never
announced.
"""
FAULTS: Final = """
## Faults

Each fault is put in on purpose, the process is started again as a service manager would, and the last version is
compared, byte by byte, with that of an undisturbed run. **Lost**: deltas that a device was told are accepted and that
no version holds. **Double**: deltas that count more than once. **Refused**: starts that named the damaged file and
the command that helps; a backup in its place, the story went on. Back: median time from the start until the gateway
or device works again.

Processes are of two kinds. *Forked*: the real rounds, rules, state and store, on real files, in processes that are
really killed; messages are handed over in memory. *Real*: `broker_server run` with its broker and two devices with
their links, over sockets; the devices' program is the test suite's. A commit point is a call that changes a file
(write, fsync, rename, unlink, mkdir, truncate, a new file): a preloaded library (`benchmarks/faults/shim.c`) counts
them, and each is struck. Deltas of odd rounds are accepted one by one, those of even rounds together. With a gate,
versions are measured before devices get them, and one of three is not served; with a liar, one of five devices turns
its updates and is left out of merges; with a buffer, two deltas are merged as soon as they came, from devices of which
one is more than twice as quick as another.

"""
REST: Final = """
Damage at rest: a bit is flipped, a file is truncated, 4 KB are garbage, or a file is gone, in each kind of file as
often as in another: ledger, its log, blocks, deltas, versions, HEAD, ROUND, records of a device. What is not
identical without being lost is on devices: a record of what int8 dropped (`feedback`, `residuals`, rarely `delta`)
cannot be had from anywhere, and the next delta rounds anew.
"""
ATTACKS: Final = """
## Attacks

Accuracy on held-out text, or another measure, of the same run undisturbed, attacked without the defence, and attacked
with it: `python -m benchmarks.attacks`. Rounds a minute include the first one, in which nobody has proven anything yet
and silent names hold it up to its deadline of half a minute.

"""
FUZZING: Final = """
## Fuzzing

Coverage-guided, one decoder a target; the committed corpus is decoded by the test suite (`tests/fuzz/README.md`).

"""


def page() -> str:
    """Return the page."""
    head = ("file in the state directory", "holds", "when it is damaged or gone")
    kept = "\n## What a gateway keeps, and what becomes of damage\n\n" + table(head, KEPT).replace("--:", "---")
    parts = [HEADER, kept, STATE]
    for name, section in (("faults", faults), ("attacks", attacks), ("fuzz", fuzzing)):
        lines = record.read(name)
        if lines:
            parts.append(section(lines))
    return "".join(parts)


def faults(lines: Sequence[dict[str, Any]]) -> str:
    """Return the section on faults: the newest record of each fault at each place, and their sums."""
    newest = list({(line["where"], line["fault"]): line for line in lines}.values())
    rows = [_fault(line) for line in sorted(newest, key=lambda line: (line["where"], line["fault"]))]
    sums = [sum(line[key] for line in newest) for key in ("injected", "lost", "double", "identical", "refused")]
    head = ("where", "fault", "process", "injected", "lost", "double", "identical", "refused", "back, ms")
    total = ["**all**", "", "", *(f"**{figure:,}**" for figure in sums), ""]
    sources = sorted({f"- {source(line)}\n" for line in newest})
    return FAULTS + table(head, [*rows, total]) + REST + "\n" + "".join(sources)


def _fault(line: dict[str, Any]) -> list[str]:
    figures = [f"{line[key]:,}" for key in ("injected", "lost", "double", "identical", "refused")]
    back = "" if line["recover_ms"] is None else f"{line['recover_ms']:,.0f}"
    return [line["where"], line["fault"], line["process"], *figures, back]


def attacks(lines: Sequence[dict[str, Any]]) -> str:
    """Return the section on attacks: the newest record of each."""
    newest = {line["attack"]: line for line in lines}.values()
    head = ("attack", "measure", "undisturbed", "undefended", "defended")
    keys = ("undisturbed", "undefended", "defended")
    rows = [
        [line.get("what", line["attack"]), line["unit"], *(_measured(line[key], line["unit"]) for key in keys)]
        for line in newest
    ]
    return ATTACKS + table(head, rows) + "\n" + "".join(sorted({f"- {source(line)}\n" for line in newest}))


def _measured(value: float | str | None, unit: str) -> str:
    return f"{100 * value:.1f} %" if unit == "accuracy" and isinstance(value, float) else _figure(value)


def _figure(value: float | str | None) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else f"{value:,.4g}"


def fuzzing(lines: Sequence[dict[str, Any]]) -> str:
    """Return the section on fuzzing: inputs and seconds of all runs, findings that were mended so far, by target."""
    targets: dict[str, list[float]] = {}
    for line in lines:
        sums = targets.setdefault(line["target"], [0, 0, 0])
        for place, key in enumerate(("inputs", "seconds")):
            sums[place] += line[key]
        sums[2] = max(sums[2], line["findings_mended"])  # a record has all that the corpus tells of until then
    rows = [
        [name, f"{inputs:,}", f"{seconds:,.0f}", f"{mended:,}"] for name, (inputs, seconds, mended) in targets.items()
    ]
    total = [f"**{sum(sums[place] for sums in targets.values()):,.0f}**" for place in range(3)]
    where = "".join(sorted({f"- {source(line)}\n" for line in lines}))
    head = ("target", "inputs", "seconds", "findings mended")
    return FUZZING + table(head, [*sorted(rows), ["**all**", *total]]) + "\n" + where
