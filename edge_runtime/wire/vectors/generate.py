"""Writes every shared vector: ``python -m edge_runtime.wire.vectors.generate [--check]``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from edge_runtime.wire.vectors import (
    banks,
    bodies,
    broker_urls,
    certified,
    conversation,
    enrolments,
    manifests,
    packings,
    priors,
    programs,
    secure_sums,
    signed,
    sites,
    training,
    updates,
    values,
)
from edge_runtime.wire.vectors.case import CASES, Case, tree_of


def all_cases() -> Iterator[Case]:
    """Yield every case."""
    messages = (conversation, training, sites, bodies, values, updates)
    files = (banks, manifests, programs, packings, priors, enrolments, broker_urls, signed)
    return chain.from_iterable(generator.cases() for generator in (*messages, *files, secure_sums, certified))


def differences(folder: Path = CASES) -> list[str]:
    """Return the paths under ``folder`` that are missing, extra or other than generated."""
    return _differences(folder, tree_of(all_cases()))


def _differences(folder: Path, generated: dict[str, bytes]) -> list[str]:
    there = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return sorted(path for path in generated.keys() | there.keys() if generated.get(path) != there.get(path))


def write(folder: Path = CASES) -> int:
    """Write the files of cases, remove what is none any more, and return the number of cases."""
    cases = list(all_cases())
    generated = tree_of(cases)
    for path in _differences(folder, generated):
        target = folder / path
        if path not in generated:
            target.unlink()
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(generated[path])
    return len(cases)


def main() -> int:
    """Write the vectors, or tell which are out of date."""
    parser = argparse.ArgumentParser(prog="python -m edge_runtime.wire.vectors.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file is out of date")
    if parser.parse_args().check:
        stale = differences()
        if stale:
            sys.stderr.write(f"{len(stale)} vector files are out of date, first {stale[0]}: run without --check\n")
        return 1 if stale else 0
    sys.stdout.write(f"{write()} vectors in {CASES}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
