"""What the user asked for, checked; every fault is reported in one message."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from edge_runtime.wire.csv_header import Columns
from edge_runtime.wire.data_files import JSON_ENDINGS, TABLE_ENDINGS, Row, opened, read_rows
from edge_runtime.wire.errors import DataError
from edge_runtime.wire.labels import label_fault
from edge_runtime.wire.manifest_checks import CAUSAL_LM, CLASSIFICATION, RECOMPUTE
from edge_runtime.wire.text_lines import encoding_of, lines
from export.errors import ConfigError
from export.planning.lone_labels import lone_labels
from export.planning.memory_plan import AUTO

DEFAULT_LABELS: Final = Path(__file__).parents[1] / "labels" / "assistant.txt"
_COMMENT: Final = ("# ", "#\t")
_CHOICES: Final = {
    "held": ("all", "slots"),
    "gate": ("soft", "topk"),
    "quantize": ("int8", "int4", "none"),
    "task": (CLASSIFICATION, CAUSAL_LM),
}


@dataclass(frozen=True)
class ExportConfig:
    """One run of export.

    Args:
        device: name of a device profile, or path of a TOML file.
        model: folder or hub id of the backbone; None: MiniLM.
        labels: names of the C labels, in order.
        out: folder of the package.
        experts: M, experts in the bank of each adapted layer.
        train_slots: m of each tier (program size), experts that it trains at a time; None: what the device's budget
            allows.
        held: which experts a tier runs: ``all``, or only those in its ``slots``.
        rank: r, inner width of an expert.
        shared_rank: rs, inner width of the shared expert.
        gate: how a token weighs experts: ``soft`` (all of them) or ``topk`` (the best few).
        top_k: k, experts that a token uses, for ``topk``.
        layers: which have experts: ``all``, ``last:N``, or their numbers.
        seq_len: S of each tier, tokens of a row and so of a text at most; None: what suits ``texts``, or the profile's.
        tokens: N of each tier, token places of a step, in whole rows; None: what suits ``texts``, or a default.
        batch_size: B, texts of a step at most; None: the profile's.
        quantize: precision of the frozen weights: ``int8``, ``int4`` or ``none`` (float32).
        cache_dir: folder of compiled programs; None: no cache.
        texts: like those that devices will learn from; their lengths say how long rows are, and how many.
        tiers: (m, S, k) of every tier, in place of ``train_slots`` and ``seq_len``; it trains the k uppermost adapted
            layers, 0 for all.
        most_tiers: how many tiers at most; 0: no limit.
        recompute: how much a step computes again instead of keeping it: ``none``, ``light``, ``layers``, or ``auto``.
        micro_batches: a step is made in so many smaller batches, which saves memory; None: 1, or what fits.
        task: ``classification``, or ``causal-lm`` (a language model, without labels).
        trunk: make the layers below the lowest adapted one a method of its own, whose results a device can keep.

    Raises:
        ConfigError: naming every fault.
    """

    device: str
    model: str | None
    labels: tuple[str, ...]
    out: Path
    experts: int = 8
    train_slots: int | tuple[int, ...] | None = None
    held: str = "all"
    rank: int = 8
    shared_rank: int = 8
    gate: str = "soft"
    top_k: int = 2
    layers: str = "all"
    seq_len: int | tuple[int, ...] | None = None
    tokens: int | tuple[int, ...] | None = None
    batch_size: int | None = None
    quantize: str = "int8"
    cache_dir: Path | None = None
    texts: tuple[str, ...] = field(default=(), repr=False)
    tiers: tuple[tuple[int, int, int], ...] = ()
    most_tiers: int = 0
    task: str = CLASSIFICATION
    trunk: bool = True
    recompute: str = AUTO
    micro_batches: int | None = None

    def __post_init__(self) -> None:
        faults = self._faults()
        if faults:
            arguments = dict.fromkeys(name for fault in faults for name in fault.arguments)
            raise ConfigError("; ".join(map(str, faults))).about(*arguments)

    def _faults(self) -> list[ConfigError]:
        slots = [*self.slots, *(trained for trained, _, _ in self.tiers)]
        lengths = [*self.lengths, *(length for _, length, _ in self.tiers)]
        faults = [
            ConfigError(f"{name} {value}: must be between {low} and {high}").about(name)
            for name, values, low, high in (
                ("experts", [self.experts], 1, 256),
                ("train_slots", slots, 1, self.experts),
                ("rank", [self.rank], 1, 256),
                ("shared_rank", [self.shared_rank], 0, 1024),
                ("seq_len", lengths, 4, 4096),
                ("tokens", self.capacities, 4, 4096 * 1024),
                ("micro_batches", [] if self.micro_batches is None else [self.micro_batches], 1, 1024),
                ("batch_size", [] if self.batch_size is None else [self.batch_size], 1, 1024),
            )
            for value in values
            if not low <= value <= high
        ]
        faults += [
            ConfigError(f"{name} {getattr(self, name)}: must be one of {', '.join(allowed)}").about(name)
            for name, allowed in _CHOICES.items()
            if getattr(self, name) not in allowed
        ]
        if self.tiers and (self.slots or self.lengths):
            text = "tiers, slots and tokens of each, say all that train_slots and seq_len do; give one or the other"
            faults.append(ConfigError(text).about("tiers", "train_slots", "seq_len"))
        if any(layers for _, _, layers in self.tiers) and not self.has_depth:
            text = (
                "a tier of fewer layers: the layers below run in a method of their own, with all their experts; it"
                " needs the trunk, and all experts held"
            )
            faults.append(ConfigError(text).about("tiers", "trunk", "held"))
        if self.recompute not in (AUTO, *RECOMPUTE):
            text = f"recompute {self.recompute}: must be {AUTO} or one of {', '.join(RECOMPUTE)}"
            faults.append(ConfigError(text).about("recompute"))
        held = min(slots, default=self.experts) if self.held == "slots" else self.experts
        if self.gate == "topk" and not 1 <= self.top_k <= held:
            text = f"top_k {self.top_k}: must be between 1 and the {held} experts held"
            faults.append(ConfigError(text).about("top_k"))
        if self.task == CLASSIFICATION:
            fault = label_fault(self.labels, least=2)
            return [*faults, *([ConfigError(f"labels: {fault}").about("labels", "data")] if fault else [])]
        if self.capacities:
            text = (
                f"tokens {','.join(map(str, self.capacities))}: each window of a {self.task} fills a row of its own;"
                " say how long with seq_len and how many with batch_size"
            )
            faults.append(ConfigError(text).about("tokens", "seq_len", "batch_size"))
        if self.labels:
            text = f"task {self.task}: such a model has no labels; leave out labels and data"
            faults.append(ConfigError(text).about("task", "labels", "data"))
        return faults

    @property
    def slots(self) -> tuple[int, ...]:
        """The m that the user named."""
        return _several(self.train_slots)

    @property
    def lengths(self) -> tuple[int, ...]:
        """The S that the user named."""
        return _several(self.seq_len)

    @property
    def capacities(self) -> tuple[int, ...]:
        """The N that the user named."""
        return _several(self.tokens)

    @property
    def has_depth(self) -> bool:
        """Whether a tier may train the upper layers alone: the others, and every expert in them, run in a trunk."""
        return self.trunk and self.held == "all"

    @property
    def routed(self) -> int | None:
        """K in top-k mode, None with soft gates."""
        return self.top_k if self.gate == "topk" else None


def _several(value: int | tuple[int, ...] | None) -> tuple[int, ...]:
    return () if value is None else (value,) if isinstance(value, int) else value


def adapted_layers(text: str, depth: int) -> tuple[int, ...]:
    """Return the numbers of the adapted layers for ``all``, ``last:N`` or ``0,3,5`` in a backbone of ``depth`` layers.

    Raises:
        ConfigError: saying what is allowed.
    """
    if text == "all":
        return tuple(range(depth))
    try:
        if text.startswith("last:"):
            count = int(text.removeprefix("last:"))
            chosen = tuple(range(depth - count, depth)) if 1 <= count <= depth else ()
        else:
            numbers = [int(part) for part in text.split(",")]
            distinct = len(set(numbers)) == len(numbers) and all(0 <= number < depth for number in numbers)
            chosen = tuple(sorted(numbers)) if distinct else ()
    except ValueError:
        chosen = ()
    if not chosen:
        raise ConfigError(
            f"layers {text}: expected all, last:N with N from 1 to {depth},"
            f" or distinct numbers from 0 to {depth - 1} like 0,3,5"
        ).about("layers")
    return chosen


def read_examples(data: Path | None, columns: Columns, warn: Callable[[str], None]) -> list[Row]:
    """Return the rows of a file of examples, none without a file; ``warn`` takes a sentence about doubtful labels.

    Raises:
        DataError: for a file that cannot be used.
    """
    rows = read_rows(data, columns, labelled=True) if data else []
    if doubt := lone_labels(str(data), rows):
        warn(doubt)
    return rows


def read_labels(labels: str | None, examples: Sequence[Row] | None = None) -> tuple[str, ...]:
    """Return the labels that were named, those of examples, or the default list.

    Args:
        labels: a file with one a line, or names joined by commas.
        examples: rows of a file of them.

    Raises:
        ConfigError: saying which list lacks what.
    """
    if labels is not None:
        return tuple(_lines(Path(labels)) if _is_file(labels) else _names(labels))
    if examples:
        return tuple(sorted({row.label for row in examples}))
    if not DEFAULT_LABELS.is_file():
        text = "no labels: name them, or give data, a file with the columns text and label"
        raise ConfigError(text).about("labels", "data")
    return tuple(_lines(DEFAULT_LABELS))


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except (OSError, ValueError):  # too long for a name, or with a NUL: a list, then
        return False


def _names(labels: str) -> list[str]:
    names = [part.strip() for part in labels.split(",")]
    if len(names) == 1:
        text = f"labels {labels}: no such file, and no list either; expected names joined by commas"
        raise ConfigError(text).about("labels")
    return names


def _lines(path: Path) -> list[str]:
    """Return the lines of a labels file that are not blank; a label may begin with "#", so there are no comments.

    Raises:
        ConfigError: for a file that cannot be read, one of examples, and for what looks like a comment.
    """
    if path.suffix.lower() in TABLE_ENDINGS + JSON_ENDINGS:
        raise ConfigError(f"labels {path}: a file of examples by its name; give it as data").about("labels", "data")
    try:
        with opened(path) as file:
            encoding = encoding_of(file, str(path))
            filled = [line for line in lines(file, encoding, str(path), encoding.start) if line.text.strip()]
    except DataError as error:
        raise ConfigError(f"labels: {error}").about("labels") from error
    for line in filled:
        if line.text.startswith(_COMMENT):
            raise ConfigError(
                f"labels {path} line {line.number} begins with '# ': is it a comment or a label? A labels file has no"
                " comments; remove it, or name such a label in a list, or in data"
            ).about("labels", "data")
    return [line.text.strip() for line in filled]
