"""A little backbone with random weights and the packages exported from it by the real export, two at a time.

The backbone has two layers of width 32 and knows the words of the sentences below. Small, because what these tests
look at is the loop; tests/export and the demo have the real one.
"""

from __future__ import annotations

import csv
import os
import random
import subprocess
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from loop_federation import command, environment

LABELS = ("alarm", "light", "music")
SENTENCES = {
    "alarm": ("wake me up at {}", "set an alarm for {}", "alarm at {} please", "get me up by {}"),
    "music": ("play some {}", "play {} music please", "put on {}", "i want to hear {}"),
    "light": ("turn the {} off", "dim the {} light", "switch on the {} lamp", "make the {} dark"),
}
FILLERS = {
    "alarm": ("six", "seven", "eight", "noon", "dawn"),
    "music": ("jazz", "rock", "blues", "piano", "folk"),
    "light": ("kitchen", "bedroom", "garden", "hall", "attic"),
}
WIDTH, LAYERS, EXPERTS, RANK = 32, 2, 4, 2
COMMON = (
    "--device", "pixel8", "--labels", ",".join(LABELS), "--experts", str(EXPERTS), "--rank", str(RANK),
    "--shared-rank", str(RANK), "--batch-size", "4", "--json",
)  # fmt: skip
LENGTH = ("--seq-len", "16")
VARIANTS = {
    "one": (*LENGTH, "--train-slots", "1"),
    "two": (*LENGTH, "--train-slots", "2", "--held", "slots"),
    "topk": (*LENGTH, "--train-slots", "2", "--gate", "topk", "--top-k", "2"),
    "float": ("--tiers", "2x16,2x16x1", "--quantize", "none"),
}
"""``one``, ``two`` and ``float`` make one federation: slots, number formats and depths are a device's own affair; the
last has a tier of the upper layer, too."""


def sentences() -> list[tuple[str, str]]:
    """Return every sentence with its label: 60 in all, 20 of each."""
    return [
        (shape.format(word), label) for label in LABELS for shape in SENTENCES[label] for word in FILLERS[label]
    ]  # fmt: skip


def write_data(path: Path, shares: dict[str, int], seed: int) -> Path:
    """Write a CSV with so many sentences of each label, drawn without repetition."""
    draw = random.Random(seed)
    rows = [
        row for label, count in shares.items() for row in draw.sample([r for r in sentences() if r[1] == label], count)
    ]
    draw.shuffle(rows)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label"))
        writer.writerows(rows)
    return path


def make_backbone(folder: Path) -> Path:
    """Write a stock BERT folder: config, weights drawn from a fixed seed, a word-level WordPiece tokenizer."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel

    words = sorted({word for text, _ in sentences() for word in text.split()})
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words]
    tokenizer = Tokenizer(models.WordPiece({name: place for place, name in enumerate(names)}, unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    with torch.random.fork_rng():
        torch.manual_seed(7)
        config = BertConfig(
            vocab_size=len(names), hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=2,
            intermediate_size=2 * WIDTH, max_position_embeddings=32, initializer_range=0.2,
        )  # fmt: skip
        BertModel(config).save_pretrained(folder)
    return folder


class Packages:
    """Packages by name of ``VARIANTS``, exported in the background in the order asked for; asking again is free."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._backbone: Path | None = None
        self._made: dict[str, Future[Path]] = {}
        self._lock = threading.Lock()
        self._workers = ThreadPoolExecutor(min(2, os.cpu_count() or 1))

    @property
    def backbone(self) -> Path:
        """The folder of the little backbone."""
        self.begin()
        return self.folder / "little-bert"

    def begin(self, *names: str) -> None:
        """Begin to make packages."""
        with self._lock:
            if self._backbone is None:
                self._backbone = make_backbone(self.folder / "little-bert")
            for name in names:
                if name not in self._made:
                    self._made[name] = self._workers.submit(self._make, name)

    def __getitem__(self, name: str) -> Path:
        """Return a package's folder, when it is there."""
        self.begin(name)
        return self._made[name].result()

    def _make(self, name: str) -> Path:
        out = self.folder / name
        line = command("export.build", "--model", self._backbone, *COMMON, *VARIANTS[name], "--out", out)
        done = subprocess.run(
            [*line, "--cache-dir", str(self.folder / "cache")], env=environment(), cwd=self.folder, capture_output=True,
            text=True, timeout=540, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return out

    def close(self) -> None:
        """Let the workers go."""
        self._workers.shutdown(cancel_futures=True)
