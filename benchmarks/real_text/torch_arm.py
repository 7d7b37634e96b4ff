"""The process of a PyTorch arm: ``python -m benchmarks.real_text.torch_arm --arm eager --work W --model DIR ...``."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.real_text import measured, work


def main() -> int:
    """Measure one arm."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arm", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--labels", type=int, required=True)
    measured.add_arguments(parser)
    arguments = parser.parse_args()
    set_threads(arguments.threads)
    step = _stepper(arguments)

    def warm_up() -> None:
        for _ in range(arguments.warm_up):
            step()

    return measured.report(step, arguments, warm_up)


def set_threads(threads: int) -> None:
    """Give torch its threads: before it loads, since its OpenMP pool and inductor's workers take them from here."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", str(threads))
    import torch  # noqa: PLC0415 - not before the lines above

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    logging.getLogger("transformers").setLevel(logging.ERROR)


def _stepper(arguments: argparse.Namespace) -> Callable[[], measured.Step]:
    import torch  # noqa: PLC0415

    from benchmarks import eager  # noqa: PLC0415
    from benchmarks.real_text import rivals  # noqa: PLC0415

    way = rivals.WAYS[arguments.arm]
    model = rivals.model(way, arguments.model, arguments.labels)
    train = eager.training(model, compiled=way.compiled, dynamic=True if way.compiled else None, bf16=way.bf16)
    texts = work.read(arguments.work)
    batches = work.Batches(len(texts.lengths), seed=0)

    def step() -> measured.Step:
        chosen = next(batches)
        ids, mask, labels = texts.padded(chosen)
        loss = train((torch.from_numpy(ids), torch.from_numpy(mask), torch.from_numpy(labels)))
        return measured.Step(loss, len(chosen), int(mask.sum()), mask.size)

    return step


if __name__ == "__main__":
    sys.exit(main())
