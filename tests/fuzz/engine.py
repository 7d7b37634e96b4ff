"""One target in a process of its own: `python -m tests.fuzz.engine TARGET [libFuzzer's options and folders]`.

Coverage of our Python guides it (atheris over libFuzzer). The process ends with the first finding, which libFuzzer
writes beside the others as a file of the input.
"""

from __future__ import annotations

import importlib
import logging
import resource
import sys
import warnings
from collections.abc import Sequence
from random import Random
from typing import Final

import atheris

from tests.fuzz.memory import within_memory
from tests.fuzz.target import Target

_ADDRESSES: Final = 8 << 30
"""Bytes of address space: a decoder that asks for more gets a MemoryError, which none of ours documents."""
_SAMPLED: Final = 997
"""One input in so many is decoded under tracemalloc, which is slow."""


def main(arguments: Sequence[str]) -> None:
    """Fuzz until libFuzzer's options say that it is enough; ends the process."""
    name, *options = arguments
    logging.disable()
    warnings.simplefilter("error")  # as in the tests: what warns there is a finding here
    for kind in (DeprecationWarning, FutureWarning, UserWarning):
        warnings.simplefilter("ignore", kind)
    with atheris.instrument_imports(include=["edge_runtime", "broker_server"], enable_loader_override=False):
        target: Target = importlib.import_module("tests.fuzz.targets").TARGETS[name]
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESSES, _ADDRESSES))
    count = 0

    def one(data: bytes) -> None:
        nonlocal count
        count += 1
        if count % _SAMPLED:
            target.check(data)
        else:
            within_memory(target, data)

    def mutated(data: bytes, limit: int, seed: int) -> bytes:
        assert target.mutate is not None
        return target.mutate(data, Random(seed), atheris.Mutate, limit)

    options = [f"-max_len={target.longest}", *options]
    atheris.Setup([sys.argv[0], *options], one, **({"custom_mutator": mutated} if target.mutate else {}))
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
