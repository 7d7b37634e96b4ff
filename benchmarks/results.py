"""Write docs/results.md from benchmarks/results/*.jsonl: ``python -m benchmarks.results`` (``--check`` only compares).

For each benchmark and data set the newest line counts; its date, machine and commit stand beside it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks import record

PAGE: Final = Path(__file__).parent.parent / "docs" / "results.md"
HEADER: Final = """# Results

Written by `make results` from `benchmarks/results/*.jsonl`; do not edit. Each figure was printed by the command
beside it.
"""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; the first column is text, the others are numbers."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def newest(lines: Sequence[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    """Return the last line for each value of ``key``, in order of first appearance."""
    return list({line[key]: line for line in lines}.values())


def percent(share: float) -> str:
    """Return a share as per cent with one decimal."""
    return f"{100 * share:.1f}"


def source(run: dict[str, Any]) -> str:
    """Return where a figure comes from."""
    return f"`{run['command']}`, {run['date']}, {run['machine']}, commit {run['commit']}"


def federation(lines: Sequence[dict[str, Any]]) -> str:
    """Return the section on accuracy of the merged model against its bounds."""
    head = ("data", "labels", "devices", "rounds", "untrained", "class means", "merged", "centralized", "alone (mean)")
    keys = [f"accuracy_{name}" for name in ("untrained", "class_means", "final", "centralized", "local_mean")]
    runs = newest(lines, "data")
    rows = [
        [
            run["data"],
            *(str(run[k]) for k in ("labels", "devices", "rounds")),
            *(percent(run[k]) for k in keys),
        ]
        for run in runs
    ]
    sent = [
        [
            run["data"],
            f"{run['bytes_up'] / run['devices'] / 1e6:.2f}",
            f"{run['bytes_down'] / run['devices'] / 1e6:.2f}",
            f"{run['bytes_model'] / 1e6:.1f}",
            " → ".join(percent(value) for value in run["accuracy_by_round"]),
        ]
        for run in runs
    ]
    sources = [f"- {run['data']}: {source(run)}" for run in runs]
    return (
        "\n## The loop: accuracy on held-out text, %\n\n"
        "Devices alone: each trains the same number of steps on its own data. Centralized: the same experts on\n"
        "all data in one place. Accuracies of versions are computed by the gateway through ONNX Runtime, those of\n"
        "devices alone and centralized on the device runtime. One seed each. The learning rates were chosen by\n"
        "looking at the held-out text of the demo's own set (`assistant`), so its figures flatter a little; the\n"
        "other sets ran with what was found there.\n\n"
        + table(head, rows)
        + "\n"
        + table(("data", "MB up per device", "MB down per device", "package, MB", "merged model by round, %"), sent)
        + "\n"
        + "\n".join(sources)
        + "\n"
    )


def train_step(lines: Sequence[dict[str, Any]]) -> str:
    """Return the section on the training step."""
    run = lines[-1]
    rows = [
        [name, f"{arm['ms_median']:.1f}", f"{arm['peak_rss_mib']:.0f}", f"{run['ratios'].get(name, 1.0):.2f}"]
        for name, arm in run["arms"].items()
    ]
    return (
        "\n## One training step\n\n"
        f"{run['work']} Each arm in its own process, interleaved, medians.\n\n"
        + table(("arm", "ms", "peak RSS, MiB", "time ÷ ours"), rows)
        + f"\n- `{run['command']}`, {run['date']}, {run['machine']}, commit {run['commit']}\n"
    )


def page() -> str:
    """Return docs/results.md."""
    parts = [HEADER]
    for name, section in (("demo", federation), ("train_step", train_step)):
        lines = record.read(name)
        if lines:
            parts.append(section(lines))
    return "".join(parts)


def main(argv: Sequence[str] | None = None) -> int:
    """Write or compare the page; exit status 1 when ``--check`` finds another text."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.results", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when docs/results.md is not current")
    arguments = parser.parse_args(argv)
    text = page()
    if arguments.check:
        current = PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text
        if not current:
            sys.stderr.write("docs/results.md is not what benchmarks/results says; run: make results\n")
        return 0 if current else 1
    PAGE.write_text(text, encoding="utf-8")
    sys.stdout.write(f"wrote {PAGE}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
