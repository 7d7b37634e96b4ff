"""Write docs/results.md, docs/reliability.md, tables of README and docs/choosing.md: ``python -m benchmarks.results``.

All of it comes from benchmarks/results/*.jsonl.

For each benchmark and data set the newest line counts; its date, machine and commit stand beside it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks import record, reliability
from benchmarks.federation import page as federations
from benchmarks.markdown import newest, source
from benchmarks.sections import SECTIONS, loop_table, step_table
from benchmarks.usual_tools import page as usual_tools

PAGE: Final = Path(__file__).parent.parent / "docs" / "results.md"
RELIABILITY: Final = PAGE.with_name("reliability.md")
CHOOSING: Final = PAGE.with_name("choosing.md")
README: Final = Path(__file__).parent.parent / "README.md"
HEADER: Final = """# Results

Written by `make results` from `benchmarks/results/*.jsonl`; do not edit. Each figure was printed by the command
beside it.
"""

LOOP: Final = (
    "`make demo DATA=FILE`, one seed each, real processes on one machine: merged is the gateway's last version,\n"
    "centralized the same experts on all texts in one place, alone the mean of devices that learn by themselves. Each\n"
    "set's command, date, machine and commit, and what the rates were chosen on: [docs/results.md](docs/results.md)."
)
"""Conditions of README's table of the loop."""


def filled(text: str, name: str, content: str) -> str:
    """Return README's text with new content between the markers of a benchmark.

    Raises:
        ValueError: when the markers are not there.
    """
    begin, end = f"<!-- {name}: written by make results -->", f"<!-- /{name} -->"
    if begin not in text or end not in text:
        msg = f"README.md lacks the lines {begin} and {end}; put them back"
        raise ValueError(msg)
    before, after = text.split(begin, maxsplit=1)[0], text.split(end)[1]
    return f"{before}{begin}\n\n{content}\n{end}{after}"


def readme(text: str) -> str:
    """Return README's text with the newest tables of the benchmarks that it shows."""
    step = record.read("train_step")[-1]
    text = filled(text, "train_step", f"{step['work']}\n\n{step_table(step)}\n{source(step)}.\n")
    loops = newest(record.read("demo"), "data")
    text = filled(text, "loop", f"{loop_table(loops)}\n{LOOP}\n")
    if beside := record.read(usual_tools.NAME):
        text = filled(text, usual_tools.NAME, f"{usual_tools.readme(beside[-1])}\n{source(beside[-1])}.\n")
    return text


def page() -> str:
    """Return docs/results.md."""
    parts = [HEADER]
    for name, section in SECTIONS.items():
        lines = record.read(name)
        if lines:
            parts.append(section(lines))
    return "".join(parts)


def main(argv: Sequence[str] | None = None) -> int:
    """Write or compare the page; exit status 1 when ``--check`` finds another text."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.results", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a page is not current")
    arguments = parser.parse_args(argv)
    written = {
        PAGE: page(),
        RELIABILITY: reliability.page(),
        CHOOSING: federations.filled(CHOOSING.read_text(encoding="utf-8"), record.read(federations.NAME)),
        README: readme(README.read_text(encoding="utf-8")),
    }
    if arguments.check:
        stale = [path.name for path, text in written.items() if not path.is_file() or path.read_text("utf-8") != text]
        if stale:
            sys.stderr.write(f"{', '.join(stale)}: not what benchmarks/results says; run: make results\n")
        return 1 if stale else 0
    for path, text in written.items():
        path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"wrote {path}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
