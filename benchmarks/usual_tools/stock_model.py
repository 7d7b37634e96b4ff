"""What both PyTorch arms take from transformers: arguments, threads, ids of texts in padded batches."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from torch import Tensor

LONGEST: Final = 128
"""Tokens of a text; what is longer is cut, as all-MiniLM-L6-v2 was trained."""
Collate = Callable[[Sequence[str]], "dict[str, Tensor]"]


def parser(about: str | None) -> argparse.ArgumentParser:
    """Return a parser of what both take."""
    options = argparse.ArgumentParser(description=about)
    options.add_argument("--model", type=Path, required=True, help="folder of the backbone")
    options.add_argument("--train", type=Path, required=True)
    options.add_argument("--test", type=Path, required=True)
    options.add_argument("--seed", type=int, required=True)
    options.add_argument("--threads", type=int, required=True)
    return options


def set_threads(threads: int, seed: int) -> None:
    """Give every pool of this process its threads, before libraries load; seed torch."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # tokenizing is a moment here
    import torch  # noqa: PLC0415 - not before the lines above

    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    logging.getLogger("transformers").setLevel(logging.ERROR)


def collator(folder: Path) -> Collate:
    """Return a function from texts to ids and masks, padded to the longest of them."""
    from transformers import AutoTokenizer  # noqa: PLC0415 - torch takes its threads first

    tokenizer: Any = AutoTokenizer.from_pretrained(folder)

    def collate(texts: Sequence[str]) -> dict[str, Tensor]:
        batch = tokenizer(list(texts), padding=True, truncation=True, max_length=LONGEST, return_tensors="pt")
        return dict(batch)

    return collate


def chunks(count: int, size: int) -> Iterator[range]:
    """Yield the numbers below ``count``, in order, ``size`` at a time."""
    for first in range(0, count, size):
        yield range(first, min(first + size, count))
