"""Fuzzes the decoders: `make fuzz`, or `python -m tests.fuzz`."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks import record
from tests.fuzz import corpus
from tests.fuzz.slices import Slice, State, run
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS

_EXAMPLES: Final = """examples:
  python -m tests.fuzz                              all targets, ten minutes in all; a second run goes on
  python -m tests.fuzz --seconds 3600 --record      an hour, and a line for each target in benchmarks/results/fuzz.jsonl
  python -m tests.fuzz --target Delta --target Plan --seconds 60
  python -m tests.fuzz --replay runs/fuzz/findings/Delta-crash-0a1b --target Delta
  python -m tests.fuzz --mended runs/fuzz/findings/Bank-crash-1b32 "metadata null" --target Bank
  python -m tests.fuzz --corpus                     write tests/fuzz/corpus from all that was found so far
"""


def parser() -> argparse.ArgumentParser:
    """Return the command's options."""
    options = argparse.ArgumentParser(
        prog="python -m tests.fuzz",
        description="Give every decoder mutated bytes, guided by coverage. Needs pip install '.[fuzz]'.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("--seconds", type=float, default=600.0, help="in all, shared by the targets (default: 600)")
    options.add_argument(
        "--target", action="append", choices=sorted(TARGETS), metavar="NAME", help="one of --list (default: all)"
    )
    options.add_argument(
        "--slice", type=float, default=20.0, metavar="SECONDS", help="length of a target's turn (default: 20)"
    )
    options.add_argument(
        "--state", type=Path, default=Path("runs/fuzz"), help="what was found so far (default: runs/fuzz)"
    )
    options.add_argument("--list", action="store_true", help="print the targets and end")
    options.add_argument("--replay", type=Path, metavar="FILE", help="decode one input by --target and end")
    options.add_argument("--corpus", action="store_true", help="write the committed corpus and end")
    options.add_argument("--mended", nargs=2, metavar=("FILE", "WHAT"), help="put a mended finding into the corpus")
    options.add_argument("--record", action="store_true", help="add the inputs to benchmarks/results/fuzz.jsonl")
    options.add_argument("--json", action="store_true", help="print one JSON object a turn")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns: 0 nothing was found, 1 there is a finding, 2 bad usage, or no atheris here."""
    options = parser().parse_args(arguments)
    targets = [TARGETS[name] for name in options.target or TARGETS]
    if options.list:
        print("\n".join(target.name for target in targets))
        return 0
    if options.replay or options.mended:
        if len(targets) != 1:
            parser().error("--replay and --mended need one --target")
        return _one(targets[0], options)
    state = State(options.state)
    if importlib.util.find_spec("atheris") is None and not options.corpus:
        print("error: atheris is not installed; run: pip install '.[fuzz]' (Linux on x86-64)", file=sys.stderr)
        return 2
    if options.corpus:
        return _write_corpus(targets, state, as_json=options.json)
    return _fuzz(targets, state, options)


def _one(target: Target, options: Any) -> int:
    """Decode one input; keep it when it was a finding and is none any more."""
    data = Path(options.replay or options.mended[0]).read_bytes()
    print(target.check(data))
    if options.mended:
        kept = [one for one in corpus.read(target.name) if one.data != data]
        corpus.write(target.name, [*kept, corpus.Input(data, options.mended[1])])
    return 0


def _fuzz(targets: list[Target], state: State, options: Any) -> int:
    ends, slices = time.monotonic() + options.seconds, []
    try:
        while (left := ends - time.monotonic()) > 0:
            for target in targets:
                turn = min(options.slice, max(left / len(targets), 2.0))
                slices.append(run(target, state, turn))
                _say(slices[-1], sum(one.inputs for one in slices), as_json=options.json)
                if time.monotonic() >= ends:
                    break
    except KeyboardInterrupt:
        print("interrupted; run it again to go on", file=sys.stderr)
    if options.record:
        _record(slices, options.seconds)
    return int(any(one.finding for one in slices))


def _say(one: Slice, total: int, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(one.tree()), flush=True)
        return
    finding = f"  FINDING {one.finding}" if one.finding else ""
    line = f"{one.target:16} {one.inputs:>10,} inputs in {one.seconds:5.1f} s, corpus {one.corpus:>5}"
    print(f"{line}; {total:,} in all{finding}", flush=True)


def _record(slices: list[Slice], seconds: float) -> None:
    for name in dict.fromkeys(one.target for one in slices):
        mine = [one for one in slices if one.target == name]
        figures = {
            "target": name,
            "inputs": sum(one.inputs for one in mine),
            "seconds": round(sum(one.seconds for one in mine), 1),
            "findings": sum(bool(one.finding) for one in mine),
            "findings_mended": len(corpus.findings(name)),
        }
        record.append("fuzz", f"python -m tests.fuzz --seconds {seconds:g} --record", figures)


def _write_corpus(targets: list[Target], state: State, *, as_json: bool) -> int:
    for target in targets:
        before = corpus.read(target.name)
        findings = [one for one in before if one.finding]
        inputs = {*(one.data for one in before), *target.seeds(), *state.inputs(target.name)}
        kept = corpus.smallest(target, [data for data in inputs if len(data) <= target.longest])
        listed = {one.data: one for one in (*map(corpus.Input, kept), *findings)}
        corpus.write(target.name, listed.values())
        size = sum(map(len, listed))
        tree = {"target": target.name, "inputs": len(listed), "bytes": size, "of": len(inputs)}
        print(json.dumps(tree) if as_json else f"{target.name:16} {len(listed):>4} of {len(inputs):>5}, {size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
