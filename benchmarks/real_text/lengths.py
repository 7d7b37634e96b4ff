"""Write lengths.json from the data sets: ``python -m benchmarks.real_text.lengths [DIR]``, DIR as ``--data`` has it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.quantization import texts
from benchmarks.real_text.sets import DATA, LENGTHS, SETS, distribution
from edge_runtime.data.tokenizer import Tokenizer
from export.source import backbone as backbones


def main(data: Path) -> None:
    """Count the tokens of every training text with the default tokenizer."""
    tokenizer = Tokenizer(backbones.find(None).folder / "tokenizer.json")
    record = {}
    for name, files in SETS.items():
        rows = texts.read(data / name / files.train)
        lengths = [len(tokenizer.tokens(text)) for text, _ in rows]
        record[name] = distribution(lengths, len(texts.labels(rows)))
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(about)}" for name, about in record.items())
    LENGTHS.write_text("{\n" + lines + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DATA)
