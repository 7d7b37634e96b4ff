"""Tokenizers of the kinds that Kotlin reads, learned from texts, with the parts that each family's tokenizer.json has.

What a family's parts are is taken from transformers: its conversions of SentencePiece models, and the tokenizers that
it builds for XLM-R, T5, ALBERT, Llama, Gemma, Qwen2 and GPT-2.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Regex, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Library

MARK: Final = "▁"
SPECIAL: Final = ("<unk>", "<s>", "</s>")
BYTES: Final = tuple(f"<0x{byte:02X}>" for byte in range(256))
QWEN2: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3: Final = QWEN2.replace(r"\p{N}|", r"\p{N}{1,3}|")
QWEN35: Final = QWEN2.replace(r"\p{L}+", r"[\p{L}\p{M}]+").replace(r"[^\s\p{L}", r"[^\s\p{L}\p{M}")
O200K: Final = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
DEEPSEEK: Final = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)


def save_all(folder: Path, texts: Sequence[str]) -> dict[str, Path]:
    """Learn every kind from texts; return the path of each tokenizer.json, by the name of a family that has it."""
    paths = {}
    for learn in (_sentencepiece_unigram, _sentencepiece_bpe, _byte_level):
        for name, library in learn(texts):
            paths[name] = folder / f"{name}.json"
            library.save(str(paths[name]))
    return paths


# --- Unigram ----------------------------------------------------------------------------------------------------------


def _table(rule: str) -> bytes:
    """Return SentencePiece's own table of characters, by the name of its rule."""
    normalizer = sentencepiece.SentencePieceNormalizer(rule_name=rule)
    proto = sentencepiece_model_pb2.ModelProto.FromString(normalizer.serialized_model_proto())
    return bytes(proto.normalizer_spec.precompiled_charsmap)


def _pieces(texts: Sequence[str]) -> list[tuple[str, float]]:
    """Learn pieces by SentencePiece itself; return them with their scores, without its three special tokens."""
    model = BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        vocab_size=3000,
        character_coverage=0.998,
        hard_vocab_limit=False,
        num_threads=1,
        minloglevel=2,
    )
    proto = sentencepiece_model_pb2.ModelProto.FromString(model.getvalue())
    return [(piece.piece, piece.score) for piece in proto.pieces[3:]]


def _sentencepiece_unigram(texts: Sequence[str]) -> Iterator[tuple[str, Library]]:
    pieces, table = _pieces(texts), _table("nmt_nfkc")
    front = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    xlmr = Library(models.Unigram([*front, *pieces, ("<mask>", 0.0)], 3, byte_fallback=False))
    xlmr.normalizer = normalizers.Precompiled(table)
    xlmr.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(MARK, prepend_scheme="always")]
    )
    xlmr.add_special_tokens([*(name for name, _ in front), AddedToken("<mask>", lstrip=True)])
    xlmr.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    yield "xlm-roberta", xlmr

    t5 = Library(models.Unigram([("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *pieces[3:]], 2, byte_fallback=False))
    t5.normalizer = normalizers.Sequence(
        [
            normalizers.Precompiled(table),
            normalizers.Strip(left=False, right=True),
            normalizers.Replace(Regex(" {2,}"), MARK),
        ]
    )
    t5.pre_tokenizer = pre_tokenizers.Metaspace(MARK, prepend_scheme="first")
    t5.add_special_tokens(["<pad>", "</s>", "<unk>"])
    t5.add_tokens([AddedToken("wake me", normalized=False)])
    t5.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    yield "t5", t5

    front = [(name, 0.0) for name in (*SPECIAL, *BYTES)]
    albert = Library(models.Unigram([*front, *pieces], 0, byte_fallback=True))
    albert.normalizer = normalizers.Sequence(
        [
            normalizers.Replace("``", '"'),
            normalizers.Replace("''", '"'),
            normalizers.NFKD(),
            normalizers.StripAccents(),
            normalizers.Precompiled(_table("nmt_nfkc_cf")),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
    albert.pre_tokenizer = pre_tokenizers.Metaspace(MARK, prepend_scheme="always")
    albert.add_special_tokens(list(SPECIAL))
    yield "albert", albert


# --- BPE of marks and bytes -------------------------------------------------------------------------------------------


def _with_parts(library: Library, **parts: Any) -> Library:  # noqa: ANN401 - as JSON has it
    """Return a tokenizer with other parts; ``model`` has settings of the model only."""
    tree = json.loads(library.to_str())
    model = {**tree["model"], **parts.pop("model", {})}
    return Library.from_str(json.dumps({**tree, **parts, "model": model}))


def _sentencepiece_bpe(texts: Sequence[str]) -> Iterator[tuple[str, Library]]:
    library = Library(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))  # noqa: S106 - no password
    library.pre_tokenizer = pre_tokenizers.Metaspace(MARK, prepend_scheme="first")
    trainer = trainers.BpeTrainer(
        vocab_size=3000, special_tokens=[*SPECIAL, *BYTES], limit_alphabet=120, show_progress=False
    )
    library.train_from_iterator(texts, trainer)
    tree = json.loads(library.to_str())
    special = [token for token in tree["added_tokens"] if token["content"] in SPECIAL]
    library = _with_parts(library, added_tokens=special)
    begin = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])

    legacy = _with_parts(library, pre_tokenizer=None)
    legacy.normalizer = normalizers.Sequence([normalizers.Prepend(MARK), normalizers.Replace(" ", MARK)])
    legacy.post_processor = begin
    yield "llama2", legacy

    llama = _with_parts(library)
    llama.pre_tokenizer = pre_tokenizers.Metaspace(MARK, prepend_scheme="first", split=False)
    llama.post_processor = begin
    yield "llama", llama

    gemma = _with_parts(library)
    gemma.normalizer = normalizers.Replace(" ", MARK)
    gemma.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    gemma.add_tokens([AddedToken(content, normalized=False) for content in ("\n", "\n\n", "<b>")])
    gemma.post_processor = begin
    yield "gemma", gemma

    lacking = {piece: at for at, piece in enumerate(name for name in library.get_vocab() if name != "<0xC3>")}
    unknown = _with_parts(library, model={"vocab": lacking, "fuse_unk": False}, added_tokens=[])
    yield "unknown-characters", unknown


# --- byte-level BPE ---------------------------------------------------------------------------------------------------


def _byte_level(texts: Sequence[str]) -> Iterator[tuple[str, Library]]:
    def learned(pre_tokenizer: Any, normalizer: Any = None) -> Library:  # noqa: ANN401 - the library's classes
        library = Library(models.BPE())
        library.normalizer = normalizer
        library.pre_tokenizer = pre_tokenizer
        trainer = trainers.BpeTrainer(
            vocab_size=4000,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
            show_progress=False,
        )
        library.train_from_iterator(texts, trainer)
        return library

    yield "gpt2", learned(pre_tokenizers.ByteLevel(add_prefix_space=False))
    roberta = learned(pre_tokenizers.ByteLevel(add_prefix_space=True))
    roberta.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    yield "roberta", roberta

    def split(pattern: str) -> pre_tokenizers.Sequence:
        cut = pre_tokenizers.Split(Regex(pattern), "isolated")
        return pre_tokenizers.Sequence([cut, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])

    qwen2 = learned(split(QWEN2), normalizers.NFC())
    qwen2.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    qwen2.add_tokens([AddedToken("<think>", normalized=False), AddedToken("im_end|>x", normalized=False)])
    qwen2.post_processor = processors.ByteLevel(trim_offsets=False)
    yield "qwen2", qwen2

    crossing = learned(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))  # so every cut shows
    digits = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    others: dict[str, Callable[[], Any]] = {
        "llama3": lambda: split(LLAMA3),
        "qwen3.5": lambda: split(QWEN35),
        "o200k": lambda: split(O200K),
        "deepseek": lambda: split(DEEPSEEK),
        "smollm": lambda: digits,
    }
    for name, pre_tokenizer in others.items():
        library = _with_parts(crossing, model={"ignore_merges": name == "llama3"})
        library.pre_tokenizer = pre_tokenizer()
        if name == "llama3":
            begin = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
            library.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), begin])
        yield name, library
