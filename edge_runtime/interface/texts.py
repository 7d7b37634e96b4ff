"""Which texts are meant: those that a caller has in memory, or those of a file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from edge_runtime.data.batches import Source
from edge_runtime.data.examples import FileSource
from edge_runtime.data.lengths import SAMPLE, lengths_of
from edge_runtime.data.memory import MemorySource
from edge_runtime.data.windows import WindowSource, windows_of
from edge_runtime.errors import ConfigError
from edge_runtime.opened_package import Parts
from edge_runtime.training.watch import Watch
from edge_runtime.wire.csv_header import USUAL, Columns
from edge_runtime.wire.errors import DataError
from edge_runtime.wire.manifest import Tier
from edge_runtime.wire.manifest_checks import CAUSAL_LM

PathLike = str | os.PathLike[str]
Taken = FileSource | MemorySource | WindowSource


@dataclass(frozen=True)
class Texts:
    """Either texts, for a classifier with their labels, or a file.

    Args:
        texts: in memory.
        labels: of each; None: none came.
        file: in their place.
        columns: of the file.
    """

    texts: Sequence[str] = ()
    labels: Sequence[str] | None = None
    file: Path | None = None
    columns: Columns = USUAL

    @classmethod
    def of(
        cls, texts: Sequence[str] | None, labels: Sequence[str] | None, file: PathLike | None, columns: Columns
    ) -> Self:
        """Return what a caller gave.

        Raises:
            ConfigError: when it is both or neither, or one text where a sequence is expected.
            DataError: when one of the texts is no string.
        """
        if (texts is None) == (file is None) or (texts is None and labels is not None):
            raise ConfigError("give texts (for a classifier with their labels), or csv=FILE, and not both")
        if isinstance(texts, str) or isinstance(labels, str):
            raise ConfigError("texts and labels are sequences of one string each for every text; put them into lists")
        kept, named = tuple(texts or ()), None if labels is None else tuple(labels)
        for place, text in enumerate(kept):
            if not isinstance(text, str):
                raise DataError(f"text {place} is of type {type(text).__name__}, expected str")
        return cls(kept, named, Path(file) if file is not None else None, columns)

    def source(self, parts: Parts, tier: Tier) -> Taken:
        """Return them as a package learns from them: labelled texts, or windows as long as the tier's.

        Raises:
            ConfigError: for labels where the package continues texts, and texts without them where it labels texts.
            DataError: when the file, a text or a label cannot be used.
        """
        if self.file is not None:
            return parts.examples(self.file, tier, self.columns)
        architecture = parts.manifest.architecture
        if architecture.task == CAUSAL_LM:
            if self.labels is not None:
                raise ConfigError("labels came, and this package continues texts and has none; give the texts alone")
            return windows_of(self.texts, parts.tokenizer, architecture.end_token, tier.seq_len)
        if self.labels is None:
            raise ConfigError("texts came without labels, and this package labels texts; give one label for each text")
        return MemorySource.of(self.texts, self.labels, architecture.labels)


def suited(watch: Watch, parts: Parts, source: Source) -> Watch:
    """Return the watch without tiers of more rows than the first texts of the data need."""
    longest = watch.largest.seq_len
    return watch.for_texts(lambda: lengths_of(source, SAMPLE, parts.tokenizer, longest).tolist())
