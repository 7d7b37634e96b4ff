"""The process of logistic regression: every text is encoded once, then scikit-learn fits; prints one JSON object.

Features: the mean of the last hidden states over a text's tokens, to unit length, as sentence-transformers and our
packages have them. The strength of regularization is chosen on texts held back from the training set.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.quantization import texts
from benchmarks.usual_tools import choosing, stock_model
from edge_runtime.program.memory import peak_rss_mib

STRENGTHS: Final = (1.0, 10.0, 100.0)
"""scikit-learn's C: the inverse of regularization."""
_BATCH: Final = 32
Array = npt.NDArray[Any]


def main() -> int:
    """Choose C, fit on all training texts, test."""
    options = stock_model.parser(__doc__).parse_args()
    stock_model.set_threads(options.threads, options.seed)
    train, test = texts.read(options.train), texts.read(options.test)
    encode = _encoder(options)
    started = time.perf_counter()
    features = encode([text for text, _ in train])
    encoded_s = time.perf_counter() - started
    labels = np.array([label for _, label in train])
    accuracies = _choices(features, labels)
    chosen = choosing.best(accuracies)
    started = time.perf_counter()
    model = _fitted(float(chosen), features, labels)
    seconds = encoded_s + time.perf_counter() - started
    memory = peak_rss_mib()
    right = float(model.score(encode([text for text, _ in test]), np.array([label for _, label in test])))
    told = {"accuracy": right, "choices": accuracies, "chosen": chosen, "examples": len(train)}
    told |= {"epoch_s": seconds, "texts_s": len(train) / seconds, "peak_rss_mib": round(memory, 1)}
    sys.stdout.write(json.dumps(told) + "\n")
    return 0


def _encoder(options: Any) -> Any:  # noqa: ANN401 - argparse's own; a function from texts to [N, d]
    import torch  # noqa: PLC0415 - torch takes its threads first
    from transformers import AutoModel  # noqa: PLC0415

    model, collate = AutoModel.from_pretrained(options.model).eval(), stock_model.collator(options.model)

    def encode(lines: Sequence[str]) -> Array:
        parts = []
        with torch.inference_mode():
            for rows in stock_model.chunks(len(lines), _BATCH):
                batch = collate([lines[row] for row in rows])
                mask = batch["attention_mask"][..., None]
                pooled = (model(**batch).last_hidden_state * mask).sum(1) / mask.sum(1)
                parts.append(torch.nn.functional.normalize(pooled, dim=-1).numpy())
        return np.concatenate(parts)

    return encode


def _choices(features: Array, labels: Array) -> dict[str, float]:
    """Return the accuracy of every C on texts held back from training."""
    numbered = [(str(number), "") for number in range(len(labels))]
    kept, held = ([int(number) for number, _ in part] for part in choosing.hold_back(numbered))
    fits = {f"{strength:g}": _fitted(strength, features[kept], labels[kept]) for strength in STRENGTHS}
    return {strength: float(model.score(features[held], labels[held])) for strength, model in fits.items()}


def _fitted(strength: float, features: Array, labels: Array) -> Any:  # noqa: ANN401 - scikit-learn has no types
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - only this arm needs it

    return LogisticRegression(C=strength, max_iter=2000).fit(features, labels)


if __name__ == "__main__":
    sys.exit(main())
