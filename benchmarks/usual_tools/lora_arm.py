"""The process of LoRA: peft's sequence classification as its users run it, one epoch; prints one JSON object.

The defaults of peft's examples: q and v (or, with ``--everywhere``, each linear layer of the body), dropout, the
model's own pooler and a new head, which is trained whole; AdamW, a linear schedule with a short warm-up, batches padded
to their longest text.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

from benchmarks.quantization import texts
from benchmarks.quantization.texts import Row
from benchmarks.usual_tools import BATCH, RANK, stock_model
from edge_runtime.program.memory import peak_rss_mib

NO_PEFT: Final = "peft is not installed; the arm lora needs it: pip install -e '.[bench]'"
WARM_UP: Final = 0.06
"""Share of the steps in which the rate rises."""


def main() -> int:
    """Train an epoch, test."""
    parser = stock_model.parser(__doc__)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--everywhere", action="store_true", help="each linear layer, not q and v alone")
    options = parser.parse_args()
    stock_model.set_threads(options.threads, options.seed)
    train, test = texts.read(options.train), texts.read(options.test)
    labels = texts.labels(train)
    model, collate = _model(options, labels), stock_model.collator(options.model)
    ms = _train(model, list(_batches(train, labels, collate, options.seed)), options)
    memory = peak_rss_mib()  # testing comes after
    told = {"accuracy": _accuracy(model, collate, test, labels), "steps": len(ms), "examples": len(train)}
    told |= {"step_ms": statistics.median(ms), "texts_per_step": len(train) / len(ms)}
    sys.stdout.write(json.dumps(told | {"peak_rss_mib": round(memory, 1)}) + "\n")
    return 0


def _model(options: argparse.Namespace, labels: Sequence[str]) -> Any:  # noqa: ANN401 - peft has no types
    if importlib.util.find_spec("peft") is None:
        raise SystemExit(NO_PEFT)
    from peft import LoraConfig, TaskType, get_peft_model  # noqa: PLC0415 - only this arm needs it
    from transformers import AutoModelForSequenceClassification  # noqa: PLC0415

    stock = AutoModelForSequenceClassification.from_pretrained(options.model, num_labels=len(labels))
    layers = "all-linear" if options.everywhere else None  # None: peft's own choice for BERT
    config = LoraConfig(
        task_type=TaskType.SEQ_CLS, r=RANK, lora_alpha=2 * RANK, lora_dropout=0.1, target_modules=layers
    )
    return get_peft_model(stock, config)


def _batches(rows: Sequence[Row], labels: Sequence[str], collate: stock_model.Collate, seed: int) -> Iterator[Any]:
    """Yield the padded batches of one epoch in a drawn order."""
    import torch  # noqa: PLC0415 - torch takes its threads first

    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)).tolist()
    numbers = {label: number for number, label in enumerate(labels)}
    for places in stock_model.chunks(len(rows), BATCH):
        chosen = [rows[order[place]] for place in places]
        yield collate([text for text, _ in chosen]) | {"labels": torch.tensor([numbers[label] for _, label in chosen])}


def _train(model: Any, batches: Sequence[Any], options: argparse.Namespace) -> list[float]:  # noqa: ANN401
    """Return the ms of each step."""
    import torch  # noqa: PLC0415
    from transformers import get_linear_schedule_with_warmup  # noqa: PLC0415

    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=options.rate)
    schedule = get_linear_schedule_with_warmup(optimizer, int(WARM_UP * len(batches)), len(batches))
    model.train()
    ms = []
    for batch in batches:
        started = time.perf_counter()
        model(**batch).loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        ms.append(1e3 * (time.perf_counter() - started))
    return ms


def _accuracy(model: Any, collate: stock_model.Collate, rows: Sequence[Row], labels: Sequence[str]) -> float:  # noqa: ANN401
    """Return the share of texts that get their label."""
    import torch  # noqa: PLC0415

    model.eval()
    right = 0
    with torch.inference_mode():
        for places in stock_model.chunks(len(rows), BATCH):
            chosen = [rows[place] for place in places]
            predicted = model(**collate([text for text, _ in chosen])).logits.argmax(-1).tolist()
            right += sum(labels[number] == label for number, (_, label) in zip(predicted, chosen, strict=True))
    return right / len(rows)


if __name__ == "__main__":
    sys.exit(main())
