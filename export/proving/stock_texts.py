"""Proof that a package reads a text as its model's folder says: ids and hidden states on texts, against transformers.

Axes: B texts, S tokens, d width.

The other proof (``proof``) compares a program with the same model in PyTorch, on random ids. What both leave out is not
seen there: a rule of the tokenizer that stands in tokenizer_config.json alone, positions that begin elsewhere. So here
the ids of tokenizer.json are held against AutoTokenizer's, and the hidden states of the frozen stand-ins, called as
programs call them, against the stock model called as its users do, on texts in many scripts, short and long, with what
tokenizers stumble over.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

import torch
from torch import Tensor

from edge_runtime.wire.manifest_checks import CAUSAL_LM
from export.errors import ProofError, UnsupportedModelError
from export.model.graft import Graft
from export.source import backbone as backbones
from export.source.backbone import BackboneInfo
from export.source.tokenizer_file import FILE

HIDDEN_LIMIT: Final = 1e-3
"""Relative error of a text's hidden states in float32."""
BATCH: Final = 8
CONFIG: Final = "tokenizer_config.json"
Ids = Sequence[int]


@dataclass(frozen=True)
class TextProof:
    """What was compared. Args: texts: how many; hidden_error: the largest relative error of a text's hidden states."""

    texts: int
    hidden_error: float


def texts() -> tuple[str, ...]:
    """Return the texts that ship with export."""
    return tuple(json.loads((resources.files("export") / "texts" / "proof.json").read_text(encoding="utf-8")))


def prove_texts(info: BackboneInfo, task: str, length: int) -> TextProof:
    """Compare ids, then hidden states.

    Args:
        info: the backbone.
        task: what the package is for.
        length: S of the longest tier.

    Raises:
        UnsupportedModelError: when ids differ.
        ProofError: when hidden states differ; the text has the numbers.
    """
    sentences = texts()
    ids = own_ids(info, sentences, length)
    compare_ids(info, task, sentences, length)
    return TextProof(len(sentences), compare_hidden(info, task, sentences, ids))


def own_ids(info: BackboneInfo, sentences: Sequence[str], length: int | None) -> list[list[int]]:
    """Return the ids of texts as a device computes them, from tokenizer.json alone, cut to ``length`` if given."""
    from tokenizers import Tokenizer  # noqa: PLC0415 - only in the process that proves

    path = info.folder / FILE
    try:
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # the library raises bare Exception
        raise UnsupportedModelError(f"{path} is no tokenizer ({str(error)[:200]}); copy the model again") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if length is not None:
        tokenizer.enable_truncation(max_length=length)
    return [encoding.ids for encoding in tokenizer.encode_batch(list(sentences))]


def compare_ids(info: BackboneInfo, task: str, sentences: Sequence[str], length: int) -> None:
    """Hold the ids of tokenizer.json against those of transformers' AutoTokenizer.

    A folder without tokenizer_config.json says nothing beside tokenizer.json: there is nothing to compare.

    Raises:
        UnsupportedModelError: with the number of texts, the first of them and both its ids.
    """
    if not (info.folder / CONFIG).is_file():
        return
    cut = None if task == CAUSAL_LM else length  # a language model's texts are cut into windows by the device
    pairs = list(zip(sentences, own_ids(info, sentences, cut), _stock_ids(info, sentences, cut), strict=True))
    differing = [(text, ours, theirs) for text, ours, theirs in pairs if ours != theirs]
    if differing:
        text, ours, theirs = differing[0]
        folder = str(info.folder)
        raise UnsupportedModelError(
            f"{info.name}: on {len(differing)} of {len(pairs)} texts the ids of {FILE} are not those of transformers'"
            f" AutoTokenizer, first {text[:40]!r}: {ours[:8]}, expected {theirs[:8]}. A device reads {FILE} alone,"
            f" and {CONFIG} says more: AutoTokenizer.from_pretrained({folder!r}).save_pretrained({folder!r}) writes"
            f' both alike; if {FILE} is right, say "tokenizer_class": "PreTrainedTokenizerFast" in {CONFIG}'
        )


def _stock_ids(info: BackboneInfo, sentences: Sequence[str], length: int | None) -> list[list[int]]:
    from transformers import AutoTokenizer  # noqa: PLC0415 - heavy

    backbones.quiet()
    try:
        tokenizer = AutoTokenizer.from_pretrained(info.folder, local_files_only=True)
        options: dict[str, Any] = {} if length is None else {"truncation": True, "max_length": length}
        ids: list[list[int]] = tokenizer(list(sentences), **options)["input_ids"]
    except (OSError, ValueError, ImportError, AttributeError, TypeError, KeyError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UnsupportedModelError(
            f"{info.folder}: transformers cannot load the tokenizer that {CONFIG} names ({reason})"
        ) from error
    return ids


def compare_hidden(info: BackboneInfo, task: str, sentences: Sequence[str], ids: Sequence[Ids]) -> float:
    """Return the largest relative error of a text's hidden states, frozen stand-ins against the stock model.

    Raises:
        ProofError: when it is over its limit, with the text.
    """
    graft = Graft(backbones.load(info, task), info.family, (), quantize_embedding=False)
    stock: Any = backbones.with_head(backbones.load(info, task))[0]
    worst, where = 0.0, ""
    with torch.no_grad():
        for rows in _batches(ids):
            batch, mask = _padded([ids[row] for row in rows], int(stock.config.pad_token_id or 0))
            ours = graft.hidden(batch, *_places(mask), None)
            theirs = stock(input_ids=batch, attention_mask=mask.to(torch.int64)).last_hidden_state
            for place, row in enumerate(rows):
                real = mask[place].bool()
                error = _distance(ours[place][real], theirs[place][real])
                if not error <= worst:  # not a number counts as the worst
                    worst, where = error, sentences[row]
    if not worst <= HIDDEN_LIMIT:
        raise ProofError(
            f"{info.name}: on {len(ids)} texts hidden states differ from the stock model's by up to {worst:.1e} (limit"
            f" {HIDDEN_LIMIT:.0e}), most on {where[:40]!r}; nothing was written"
        )
    return worst


def _places(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``positions`` [B, S] and ``attend`` [B, S, S] of one text a row."""
    positions = torch.arange(mask.shape[1]) * mask.to(torch.int64)
    return positions, mask.unsqueeze(2) * mask.unsqueeze(1)


def _distance(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).norm() / theirs.norm().clamp(min=1e-12))


def _batches(ids: Sequence[Ids]) -> Iterator[list[int]]:
    """Yield the numbers of texts that have a token, those of about the same length together."""
    order = sorted((row for row in range(len(ids)) if ids[row]), key=lambda row: len(ids[row]))
    for first in range(0, len(order), BATCH):
        yield order[first : first + BATCH]


def _padded(rows: Sequence[Ids], pad: int) -> tuple[Tensor, Tensor]:
    """Return ids [B, S] and mask [B, S] (1 token, 0 padding at the end)."""
    size = max(map(len, rows))
    ids = torch.tensor([[*row, *[pad] * (size - len(row))] for row in rows])
    mask = torch.tensor([[1.0] * len(row) + [0.0] * (size - len(row)) for row in rows])
    return ids, mask
