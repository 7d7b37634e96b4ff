"""The process of the PyTorch arms: ``python -m benchmarks.train_step.torch_step --arm eager --work work.json ...``.

Needs torch and transformers, and no part of this project but `benchmarks.eager`.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from benchmarks.train_step import timing

ARMS: Final = ("eager", "compile")


def write_work(path: Path, model: Path, sizes: Any) -> Path:  # noqa: ANN401 - benchmarks.eager.Sizes, which loads torch
    """Write what the process reads: the encoder's folder, and the sizes."""
    path.write_text(json.dumps({"model": str(model), "sizes": asdict(sizes)}, indent=1), encoding="utf-8")
    return path


def main() -> int:
    """Measure one arm."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arm", choices=ARMS, required=True)
    parser.add_argument("--work", type=Path, required=True)
    timing.add_arguments(parser)
    arguments = parser.parse_args()
    # Before torch loads: its OpenMP pool takes its size from here, inductor's compile workers theirs.
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", str(arguments.threads))

    import torch  # noqa: PLC0415

    from benchmarks.eager import Classifier, Sizes, batch_of, stepper  # noqa: PLC0415

    logging.getLogger("transformers").setLevel(logging.ERROR)
    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    work = json.loads(arguments.work.read_text(encoding="utf-8"))
    sizes = Sizes(**{**work["sizes"], "layers": tuple(work["sizes"]["layers"])})
    folder = arguments.work.parent / work["model"]
    step = stepper(Classifier(folder, sizes), batch_of(sizes), compiled=arguments.arm == "compile")
    return timing.report(step, arguments)


if __name__ == "__main__":
    sys.exit(main())
